"""The tables of the live figures as one JSON-ready answer: what the page and `distill top` show.

Shares are fractions, times ISO 8601 in UTC, money US dollars; what is not known is `null`, never 0. What this file
does not know: HTTP, terminals, and how the tables are filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import apsw

from ultracore.distillation.dashboard.figures import UNITS
from ultracore.distillation.students.models import states_in
from ultracore.distillation.watch.latency import Latencies

__all__ = ["WINDOWS", "Window", "overview"]

Json = dict[str, Any]

SHOWN = 50
"""Rows of a list: latest decisions, alerts, steps of the timeline, tools, agents."""


class Window(NamedTuple):
    """How far back to look, and in which steps.

    Attributes:
        length: `None` for the whole log.
        unit: What a step is, a name from `UNITS`.
    """

    length: timedelta | None
    unit: str

    @property
    def digits(self) -> int:
        """So many characters of a time name its step."""
        return UNITS[self.unit]

    def since(self, now: datetime) -> str:
        """The first step."""
        return "" if self.length is None else (now - self.length).isoformat()[: self.digits]

    def steps(self, now: datetime) -> list[str]:
        """Every step up to now, also those in which nothing happened; none for the whole log."""
        if self.length is None:
            return []
        step = timedelta(**{f"{self.unit}s": 1})
        return [(now - i * step).isoformat()[: self.digits] for i in range(self.length // step, -1, -1)]


WINDOWS = {
    "1h": Window(timedelta(hours=1), "minute"),
    "24h": Window(timedelta(hours=24), "hour"),
    "7d": Window(timedelta(days=7), "hour"),
    "30d": Window(timedelta(days=30), "day"),
    "all": Window(None, "day"),
}


def overview(state: apsw.Connection, tenant: str, window: str, now: datetime, floor: float) -> Json:
    """Everything at a glance, of one tenant.

    Args:
        state: Of `LiveFigures`.
        tenant: Whose.
        window: A name from `WINDOWS`.
        now: The end of the window, in UTC.
        floor: The agreement that is wanted where no certificate names one.
    """
    view = _View(state, tenant, WINDOWS[window], now)
    models = [model._asdict() for model in states_in(state, tenant)]
    active = next((model for model in models if model["active"]), None)
    return {
        "window": {"name": window, "since": view.since, "until": now.isoformat(), "step": view.window.digits},
        "model": active,
        "floor": (active or {}).get("target") or floor,
        "totals": view.totals(),
        "series": view.series(),
        "latency": view.latency(),
        "reasons": view.reasons(),
        "tools": view.tools(),
        "agents": view.agents(),
        "models": models[-SHOWN:],
        "timeline": view.listed("story", "position, time, type, model, words"),
        "drift": view.rows("SELECT * FROM drift WHERE tenant = :tenant ORDER BY time DESC"),
        "alerts": view.alerts(),
        "recent": view.listed("recent", "position, id, time, agent, source, reason, tool, model, confidence"),
    }


class _View:
    """One tenant's rows within a window."""

    def __init__(self, state: apsw.Connection, tenant: str, window: Window, now: datetime) -> None:
        self.window = window
        self.since = window.since(now)
        self._now = now
        self._state = state
        self._values = {"tenant": tenant, "unit": window.unit, "since": self.since}

    def rows(self, query: str) -> list[Json]:
        """The rows as dicts, without the tenant's name."""
        return list(self._rows(query))

    def _rows(self, query: str) -> Iterator[Json]:
        cursor = self._state.execute(query, self._values)
        for row in cursor:
            yield {
                name[0]: value for name, value in zip(cursor.get_description(), row, strict=True) if name[0] != "tenant"
            }

    def _sums(self, table: str, by: str, sums: str) -> list[Json]:
        where = "tenant = :tenant AND unit = :unit AND slot >= :since"
        return self.rows(f"SELECT {by}, {sums} FROM {table} WHERE {where} GROUP BY 1, 2 ORDER BY 1, 2")  # noqa: S608 - our own names

    def totals(self) -> Json:
        """What it all comes to, net of audits."""
        by_source = {row["source"]: row["n"] for row in self._sums("decided", "source, ''", "sum(n) AS n")}
        sent, teacher = by_source.get("student", 0), by_source.get("teacher", 0)
        audits = _agreement(self._sums("audited", "'', ''", AUDIT_SUMS))
        saved = sent - audits["audits"]
        return {
            "decisions": sent + teacher,
            "sent": sent,
            "teacher": teacher,
            "coverage": _over(sent, sent + teacher),
            **audits,
            "calls_saved": saved,
            "calls_saved_share": _over(saved, sent + teacher),
            **self._money(sent),
        }

    def _money(self, sent: int) -> Json:
        """At the mean price of the teacher's answers in the window; unknown where any audit's price is."""
        roles = {
            row["role"]: row
            for row in self._sums("asked", "role, ''", "sum(n) AS n, sum(priced) AS priced, sum(dollars) AS dollars")
        }
        answers, audits = roles.get("answer", NOTHING), roles.get("audit", NOTHING)
        price = _over(answers["dollars"], answers["priced"])
        known = price is not None and audits["priced"] == audits["n"]
        return {
            "price": price,
            "priced": answers["priced"],
            "spent": sum(row["dollars"] for row in roles.values()) if roles else None,
            "unpriced": sum(row["n"] - row["priced"] for row in roles.values()),
            "dollars_saved": sent * price - audits["dollars"] if known and price is not None else None,
        }

    def series(self) -> list[Json]:
        """Step by step: who answered, and what audits said."""
        found: dict[str, Json] = {slot: {} for slot in self.window.steps(self._now)}
        for row in self._sums("decided", "slot, source", "sum(n) AS n"):
            found.setdefault(row["slot"], {})[row["source"]] = row["n"]
        audits = {row["slot"]: row for row in self._sums("audited", "slot, ''", AUDIT_SUMS)}
        for slot in audits:
            found.setdefault(slot, {})
        return [
            {"slot": slot, "sent": n.get("student", 0), "teacher": n.get("teacher", 0)}
            | _agreement([audits[slot]] if slot in audits else [])
            for slot, n in sorted(found.items())
        ]

    def latency(self) -> Json:
        """Percentiles of the answers that ended well, by who answered."""
        counts: dict[str, dict[int, int]] = {}
        for row in self._sums("took", "CASE status WHEN 'ok' THEN source END AS source, bucket", "sum(n) AS n"):
            counts.setdefault(row["source"], {})[row["bucket"]] = row["n"]
        return {source: _percentiles(Latencies(n)) for source, n in counts.items() if source}

    def reasons(self) -> list[Json]:
        """Why the teacher answered, the most frequent first."""
        found = [row for row in self._sums("decided", "source, reason", "sum(n) AS n") if row["source"] == "teacher"]
        total = sum(row["n"] for row in found)
        shares = [{"reason": row["reason"] or "unknown", "n": row["n"], "share": row["n"] / total} for row in found]
        return sorted(shares, key=lambda row: -row["n"])

    def tools(self) -> list[Json]:
        """Each tool, the most frequent first: who called it how often, and what audits said."""
        audits = {row["tool"]: row for row in self._sums("audited", "tool, ''", AUDIT_SUMS)}
        tools: dict[str, Json] = {tool: {} for tool in audits}
        for row in self._sums("decided", "tool, source", "sum(n) AS n"):
            tools.setdefault(row["tool"], {})[row["source"]] = row["n"]
        found = [
            {"tool": tool, **_shares(n), **_agreement([audits[tool]] if tool in audits else [])}
            for tool, n in tools.items()
        ]
        return sorted(found, key=lambda row: (-row["decisions"], row["tool"]))[:SHOWN]

    def agents(self) -> list[Json]:
        """Each agent, the busiest first."""
        agents: dict[str, Json] = {}
        for row in self._sums("decided", "agent, source", "sum(n) AS n"):
            agents.setdefault(row["agent"], {})[row["source"]] = row["n"]
        found = [{"agent": agent, **_shares(n)} for agent, n in agents.items()]
        return sorted(found, key=lambda row: (-row["decisions"], row["agent"]))[:SHOWN]

    def listed(self, table: str, columns: str) -> list[Json]:
        """The latest rows of a list, the newest first."""
        return self.rows(f"SELECT {columns} FROM {table} WHERE tenant = :tenant ORDER BY position DESC LIMIT {SHOWN}")  # noqa: S608 - our own names

    def alerts(self) -> list[Json]:
        """The open ones first, then the newest."""
        where = "WHERE tenant = :tenant ORDER BY resolved IS NOT NULL, raised DESC"
        return self.rows(f"SELECT * FROM alerts {where} LIMIT {SHOWN}")  # noqa: S608 - our own words


AUDIT_SUMS = ", ".join(f"sum({name}) AS {name}" for name in ("n", "labelled", "agreeing", "weight", "agreeing_weight"))
NOTHING: Json = {"n": 0, "priced": 0, "dollars": 0.0}


def _percentiles(took: Latencies) -> Json:
    return {"n": took.count, "p50": took.quantile(0.5), "p95": took.quantile(0.95), "p99": took.quantile(0.99)}


def _shares(n: Json) -> Json:
    sent, teacher = n.get("student", 0), n.get("teacher", 0)
    return {"decisions": sent + teacher, "sent": sent, "teacher": teacher, "coverage": _over(sent, sent + teacher)}


def _agreement(rows: list[Json]) -> Json:
    """Of audited calls, each weighted by the inverse of its chance to be drawn."""
    row = rows[0] if rows and rows[0]["n"] else {}
    return {
        "audits": row.get("n", 0),
        "labelled": row.get("labelled", 0),
        "agreeing": row.get("agreeing", 0),
        "weight": row.get("weight", 0.0),
        "agreeing_weight": row.get("agreeing_weight", 0.0),
        "agreement": _over(row.get("agreeing_weight", 0.0), row.get("weight", 0.0)),
    }


def _over(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None
