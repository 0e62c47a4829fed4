"""How large a share of the student's answers is audited: the configured one, falling as evidence grows.

The share is a pure function of the labelled audits that the log holds of an agent's action since the model was
deployed, so that every worker comes to the same one. It goes into each event, and every estimate weights by its
inverse. What this file does not know: what agreement is good enough (`watch`).
"""

from __future__ import annotations

from collections import Counter

from ultracore.distillation.events import AuditRecordedEvent, Event, ModelDeployedEvent
from ultracore.distillation.settings import Settings

__all__ = ["SHARE_EVENTS", "AuditShares", "audit_share"]

SHARE_EVENTS = (AuditRecordedEvent.event_type, ModelDeployedEvent.event_type)
ENOUGH = 200
"""Labelled audits within which a student 13 points below its floor is found out (`python -m benchmarks watching`)."""


def audit_share(labelled: int, start: float, least: float) -> float:
    """The share of an action's calls to audit.

    It stays at the start until `ENOUGH` are labelled, then falls as one over their number.

    Args:
        labelled: Audits with a label so far.
        start: Share without any (0..1).
        least: Never below this, nor above the start (0..1).

    Example:
        >>> [audit_share(n, start=0.05, least=0.01) for n in (0, 200, 400, 100_000)]
        [0.05, 0.05, 0.025, 0.01]
    """
    return max(min(start, least), start * min(1.0, ENOUGH / max(labelled, 1)))


class AuditShares:
    """The share of each agent's actions, from the log.

    Args:
        settings: `audit_rate`, `audit_floor` and the tenant.
        possible: Whether there is a teacher to ask.
    """

    def __init__(self, settings: Settings, *, possible: bool) -> None:
        self._start = settings.audit_rate if possible else 0.0
        self._least = settings.audit_floor
        self._tenant = settings.tenant
        self._labelled: Counter[tuple[str, str, str]] = Counter()

    def apply(self, event: Event) -> None:
        """Take notice of an event."""
        if event.metadata.tenant_id != self._tenant:
            return
        if isinstance(event, ModelDeployedEvent):  # a new certificate: what was learned of the old one is void
            self._labelled = Counter({key: n for key, n in self._labelled.items() if key[0] != event.model_id})
        elif isinstance(event, AuditRecordedEvent) and event.agrees is not None:
            self._labelled[event.model_id, event.agent_id, event.action] += 1

    def of(self, model_id: str, agent_id: str, action: str) -> float:
        """How likely a call is to be audited (0..1)."""
        return audit_share(self._labelled.get((model_id, agent_id, action), 0), self._start, self._least)
