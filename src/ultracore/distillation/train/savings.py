"""What a year would save, at the user's own prices and net of audits.

What this file does not know: whether anything is certified; it is told the share of calls saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["price_from_rows", "savings"]

REQUESTS_PER_DAY = 1000.0
"""Only where the user names no number; the basis says so."""

DAYS = 365


def price_from_rows(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """Mean price of a teacher's decision in US dollars, from what the log says of costs; `None` where it is silent.

    Example:
        >>> price_from_rows([{"outcome": {"cost_usd": 0.02}}, {"outcome": {"cost_usd": 0.04}}, {}])
        0.03
    """
    costs = [cost for row in rows if (cost := _cost(row)) is not None]
    return sum(costs) / len(costs) if costs else None


def savings(
    level: Mapping[str, Any],
    audit_rate: float,
    price_per_call: float | None = None,
    measured_price: float | None = None,
    requests_per_day: float | None = None,
) -> dict[str, Any]:
    """The `savings` entry of a result.

    Args:
        level: The entry of `levels` that would be served; tuned coverage where it is not certified.
        audit_rate: Share of the sent calls that also go to the teacher (0..1).
        price_per_call: US dollars of one teacher request, as the user says.
        measured_price: The same, as the traces say.
        requests_per_day: Teacher requests a day.

    Example:
        >>> savings({"coverage": 0.5}, 0.0, price_per_call=0.01, requests_per_day=100)["yearly_usd"]
        182.5
    """
    price = measured_price if price_per_call is None else price_per_call
    calls_saved = level["calls_saved"] if level.get("certified") else level["coverage"] * (1.0 - audit_rate)
    known = {"calls_saved": calls_saved, "audit_rate": audit_rate}
    if price is None:
        return {**known, "basis": "give --price-per-call (and --requests-per-day) to see a sum"}
    per_day = REQUESTS_PER_DAY if requests_per_day is None else requests_per_day
    source = "the cost recorded in the traces" if price_per_call is None else "your price per call"
    assumed = f"; {per_day:,.0f} requests a day assumed, give --requests-per-day" if requests_per_day is None else ""
    return {
        **known,
        "requests_per_day": per_day,
        "teacher_cost_usd": price,
        "yearly_usd": per_day * DAYS * calls_saved * price,
        "basis": source + assumed,
    }


def _cost(row: Mapping[str, Any]) -> float | None:
    cost = (row.get("outcome") or {}).get("cost_usd")
    return float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else None
