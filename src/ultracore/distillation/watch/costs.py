"""What the calls cost, retries and audits included, and what a correct one cost; from the log alone.

A cost that nobody knows is counted as unknown, and no figure that needs it is given. What this file
does not know: prices (each attempt was priced when it was made).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Self

import msgspec

from ultracore.distillation.events import AgentDecisionEvent, AuditRecordedEvent, Event, UpstreamAttemptedEvent

__all__ = ["COST_EVENTS", "Costs", "Tally", "tally"]

COST_EVENTS = tuple(e.event_type for e in (AgentDecisionEvent, AuditRecordedEvent, UpstreamAttemptedEvent))


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over a log.

    Attributes:
        teacher: Decisions that the teacher made; correct by definition.
        student: Calls that the student sent.
        attempts: Requests to the teacher's servers, by role: `answer`, `audit` ...
        dollars: What those cost as far as it is known, by role.
        unknown: How many of those have a cost that is not known, by role.
        labelled: Audits that brought a label.
        unlabelled: Audits that brought none.
        agreement: Share of the student's calls that agree with the teacher, each audit weighted by the
            inverse of its probability; `None` without a label.
    """

    teacher: int
    student: int
    attempts: dict[str, int]
    dollars: dict[str, float]
    unknown: dict[str, int]
    labelled: int
    unlabelled: int
    agreement: float | None

    @property
    def total(self) -> float | None:
        """Dollars in all; `None` where a cost is unknown."""
        return None if sum(self.unknown.values()) else sum(self.dollars.values())

    @property
    def per_decision(self) -> float | None:
        """Dollars for one decision, whoever made it."""
        return _over(self.total, self.teacher + self.student)

    @property
    def correct(self) -> float | None:
        """Decisions that agree with the teacher, as far as the audits tell."""
        if not self.student:
            return float(self.teacher)
        return None if self.agreement is None else self.teacher + self.student * self.agreement

    @property
    def per_correct_decision(self) -> float | None:
        """Dollars for one decision that agrees with the teacher, audits and retries included."""
        return _over(self.total, self.correct)


def tally(events: Iterable[Event]) -> Costs:
    """Add up the events of types `COST_EVENTS`; others do not count.

    Example:
        >>> tally([]).per_decision is None
        True
    """
    found = Tally()
    for event in events:
        found.add(event)
    return found.costs


class Tally:
    """Sums that go on: one event after the other, or one tally onto another."""

    def __init__(self) -> None:
        self._sources: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._dollars: dict[str, float] = {}
        self._labelled = self._unlabelled = 0
        self._agreeing = self._weights = 0.0

    def add(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, AgentDecisionEvent):
            self._sources[event.source] += event.serving is not None  # those that passed a gateway
        elif isinstance(event, AuditRecordedEvent):
            self._audited(event)
        elif isinstance(event, UpstreamAttemptedEvent):
            self._attempts[event.role] += 1
            self._unknown[event.role] += event.cost_usd is None
            self._dollars[event.role] = self._dollars.get(event.role, 0.0) + (event.cost_usd or 0.0)

    def __iadd__(self, other: Self) -> Self:
        self._sources += other._sources
        self._attempts += other._attempts
        self._unknown += other._unknown
        for role, dollars in other._dollars.items():
            self._dollars[role] = self._dollars.get(role, 0.0) + dollars
        self._labelled += other._labelled
        self._unlabelled += other._unlabelled
        self._agreeing += other._agreeing
        self._weights += other._weights
        return self

    @property
    def costs(self) -> Costs:
        """The sums so far."""
        return Costs(
            teacher=self._sources["teacher"],
            student=self._sources["student"],
            attempts=dict(self._attempts),
            dollars=dict(self._dollars),
            unknown={role: self._unknown[role] for role in self._attempts},
            labelled=self._labelled,
            unlabelled=self._unlabelled,
            agreement=_over(self._agreeing, self._weights),
        )

    def _audited(self, event: AuditRecordedEvent) -> None:
        if event.agrees is None or event.sampling_probability <= 0.0:
            self._unlabelled += 1
            return
        self._labelled += 1
        self._weights += 1.0 / event.sampling_probability
        self._agreeing += event.agrees / event.sampling_probability


def _over(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None
