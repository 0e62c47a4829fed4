"""How many events of what kind, by whom and how they ended, as a projection.

What this file does not know: how the figures are printed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import apsw

from ultracore.distillation.events import (
    AgentDecisionEvent,
    DecisionOutcomeEvent,
    Event,
    UpstreamAttemptedEvent,
)

__all__ = ["Count", "Statistics", "counts"]


class Count(NamedTuple):
    """Events that are alike.

    Attributes:
        type: Event type.
        detail: Who decided and why (`teacher low_confidence`), or how it ended (`ok`); "" for other events.
        n: How many.
        first: Time of the earliest.
        last: Time of the latest.
    """

    type: str
    detail: str
    n: int
    first: str
    last: str


class Statistics:
    """A projection, see `events.projection`."""

    name = "statistics"
    version = 1
    types: Collection[str] | None = None
    schema = """
    CREATE TABLE counts (
        tenant TEXT NOT NULL, agent TEXT NOT NULL, type TEXT NOT NULL, detail TEXT NOT NULL,
        n INT NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL, PRIMARY KEY (tenant, agent, type, detail)
    ) WITHOUT ROWID
    """

    def apply(self, event: Event, state: apsw.Connection) -> None:
        """Count one event."""
        metadata, agent = event.metadata, getattr(event, "agent_id", "") or ""
        state.execute(
            "INSERT INTO counts VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5) ON CONFLICT DO UPDATE SET n = n + 1, "
            "first = min(first, excluded.first), last = max(last, excluded.last)",
            (metadata.tenant_id, agent, metadata.event_type, _detail(event), metadata.timestamp),
        )


def counts(state: apsw.Connection, tenant: str | None = None, agent: str | None = None) -> list[Count]:
    """The figures, the most frequent type first; of one tenant or agent on request.

    Args:
        state: Of `Statistics`.
        tenant: Only this tenant's events.
        agent: Only this agent's decisions and sessions.
    """
    query = """
    SELECT type, detail, sum(n), min(first), max(last) FROM counts
    WHERE tenant = coalesce(?1, tenant) AND agent = coalesce(?2, agent)
    GROUP BY type, detail ORDER BY sum(sum(n)) OVER (PARTITION BY type) DESC, type, sum(n) DESC, detail
    """
    return [Count(*row) for row in state.execute(query, (tenant, agent))]


def _detail(event: Event) -> str:
    if isinstance(event, AgentDecisionEvent):
        reason = (event.serving or {}).get("reason") or ""
        return f"{event.source} {reason}".strip()
    return event.status if isinstance(event, DecisionOutcomeEvent | UpstreamAttemptedEvent) else ""
