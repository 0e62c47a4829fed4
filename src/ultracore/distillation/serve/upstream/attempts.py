"""What asking the teacher came to, as facts: each attempt once, with its tokens and its cost.

An attempt that never left, or that was answered with an error status, costs nothing; one that left
and was not answered may have cost something, so its cost is unknown. What this file does not know:
how attempts are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ultracore.distillation.events import UpstreamAttemptedEvent
from ultracore.distillation.events.base import new_event_id
from ultracore.distillation.events.pattern import Pattern
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.upstream.calls import Attempt
from ultracore.distillation.serve.upstream.prices import Prices

__all__ = ["asked", "total"]

DEPTH = 1
"""Levels of objects in a teacher's usage; OpenAI's `prompt_tokens_details` is one."""

MOST = 10**12
"""Tokens; a number with more digits could be a card's, and is looked at."""

_Counts = tuple[Any, ...]


def asked(
    exchange: Exchange, role: str, attempts: Sequence[Attempt], usage: Mapping[str, Any] | None, prices: Prices
) -> list[UpstreamAttemptedEvent]:
    """One event for each attempt.

    Args:
        exchange: For which the teacher was asked.
        role: Why: `answer` or `audit`.
        attempts: In order; `usage` is that of the last one.
        usage: The tokens billed, where the teacher told.
        prices: What they cost.
    """
    last = len(attempts)
    return [
        _event(exchange, role, attempt, usage if place == last else None, prices)
        for place, attempt in enumerate(attempts, 1)
    ]


def _event(
    exchange: Exchange, role: str, attempt: Attempt, usage: Mapping[str, Any] | None, prices: Prices
) -> UpstreamAttemptedEvent:
    receipt, model = exchange.receipt, exchange.request.model
    fixed: dict[str, Any] = {
        "role": role,
        "upstream": attempt.upstream,
        "model": model,
        "attempt": attempt.number,
        "status": attempt.status,
        "http_status": attempt.http_status,
        "error": attempt.error,
        "tenant_id": exchange.tenant,
    }
    own: dict[str, Any] = {
        "decision_id": receipt,
        "usage": dict(usage) if usage else None,
        "duration_ms": round(attempt.duration_ms, 3),
        "cost_usd": _cost(attempt, model, usage, prices),
    }
    counts = _counts(usage or {})
    if counts is None:
        return UpstreamAttemptedEvent.record(
            subject=exchange.user_id, causation_id=receipt, clock=exchange.clock, **fixed, **own
        )
    return _attempts(counts, **fixed).again(
        new_event_id(), receipt, exchange.clock(), receipt, subject=exchange.user_id, **own
    )


@lru_cache(maxsize=256)
def _attempts(counts: _Counts, **fixed: Any) -> Pattern[UpstreamAttemptedEvent]:
    """Attempts that differ in numbers and ids; usage in which something else is counted is another pattern."""
    first = UpstreamAttemptedEvent.record(decision_id="", duration_ms=0.0, **fixed)
    return Pattern(first, ("decision_id", "usage", "duration_ms", "cost_usd"))


def _counts(usage: Mapping[str, Any], depth: int = 0) -> _Counts | None:
    """What is counted; `None` where there is anything but small numbers in it, which must be searched each time."""
    names: list[Any] = []
    for name, value in usage.items():
        if value.__class__ is dict and depth < DEPTH:
            inner = _counts(value, depth + 1)
            if inner is None:
                return None
            names.append((name, inner))
        elif value is None or (value.__class__ is int and abs(value) < MOST):
            names.append(name)
        else:
            return None
    return tuple(names)


def total(events: Sequence[UpstreamAttemptedEvent]) -> float | None:
    """Dollars for all of them; `None` where one is unknown.

    Example:
        >>> total([])
        0.0
    """
    costs = [event.cost_usd for event in events]
    return None if None in costs else float(sum(cost for cost in costs if cost is not None))


def _cost(attempt: Attempt, model: str, usage: Mapping[str, Any] | None, prices: Prices) -> float | None:
    if not attempt.sent or (attempt.http_status or 0) >= 400:
        return 0.0
    return prices.cost(model, usage)
