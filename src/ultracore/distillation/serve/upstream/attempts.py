"""What asking the teacher came to, as facts: each attempt once, with its tokens and its cost.

An attempt that never left, or that was answered with an error status, costs nothing; one that left
and was not answered may have cost something, so its cost is unknown. What this file does not know:
how attempts are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ultracore.distillation.events import UpstreamAttemptedEvent
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.upstream.calls import Attempt
from ultracore.distillation.serve.upstream.prices import Prices

__all__ = ["asked", "total"]


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
    model = exchange.request.model
    return [
        UpstreamAttemptedEvent.record(
            decision_id=exchange.receipt,
            role=role,
            upstream=attempt.upstream,
            model=model,
            attempt=attempt.number,
            status=attempt.status,
            http_status=attempt.http_status,
            error=attempt.error,
            usage=dict(usage) if usage and place == last else None,
            duration_ms=round(attempt.duration_ms, 3),
            cost_usd=_cost(attempt, model, usage if place == last else None, prices),
            subject=exchange.user_id,
            causation_id=exchange.receipt,
            tenant_id=exchange.tenant,
            clock=exchange.clock,
        )
        for place, attempt in enumerate(attempts, 1)
    ]


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
