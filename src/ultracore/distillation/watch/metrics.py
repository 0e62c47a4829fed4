"""The promised figures of the last day: rate, latency, cost, and what was curated last.

Hours of the events' own clock are kept apart, so that a day ends as it goes on and a clock that was set back
loses nothing. What this file does not know: agreement and drift (`audits`, `traffic`), and which values are alarming.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from ultracore.distillation.events import (
    AgentDecisionEvent,
    AuditRecordedEvent,
    DecisionOutcomeEvent,
    Event,
    ModelTrainedEvent,
    TrainingDataCuratedEvent,
    UpstreamAttemptedEvent,
)
from ultracore.distillation.watch.costs import Tally
from ultracore.distillation.watch.latency import Latencies

__all__ = ["Latency", "Metrics", "Snapshot"]

HOURS = 24
MAX_PENDING = 10_000
"""Decisions whose end is awaited; one that never ends is forgotten."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long answers took, in milliseconds; `None` without any."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of the last 24 hours in which anything was decided.

    Attributes:
        decisions: How many.
        decisions_per_hour: Over the hours since the first of them; `None` without any.
        student: Latency of the answers of students.
        teacher: Latency of the answers of teachers.
        cost_per_request_usd: Retries and audits included; `None` where a cost is unknown.
        cost_per_correct_usd: For one decision that agrees with the teacher.
        curation_efficiency: Share of its decisions that the last curation could leave out; `None` before one.
        trained_at: When the model that answers was trained.
    """

    decisions: int
    decisions_per_hour: float | None
    student: Latency
    teacher: Latency
    cost_per_request_usd: float | None
    cost_per_correct_usd: float | None
    curation_efficiency: float | None
    trained_at: str | None


class _Hour:
    def __init__(self) -> None:
        self.decisions = 0
        self.tally = Tally()
        self.latencies = {"student": Latencies(), "teacher": Latencies()}


class Metrics:
    """Reads events of `facts` from the start of the log, and of `types` from wherever a day begins."""

    types = (
        AgentDecisionEvent.event_type,
        AuditRecordedEvent.event_type,
        DecisionOutcomeEvent.event_type,
        UpstreamAttemptedEvent.event_type,
    )
    facts = (ModelTrainedEvent.event_type, TrainingDataCuratedEvent.event_type)

    def __init__(self) -> None:
        self._hours: dict[str, _Hour] = {}
        self._sources: dict[str, str] = {}
        self._trained: dict[str, str] = {}
        self._curated: TrainingDataCuratedEvent | None = None

    def apply(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case ModelTrainedEvent():
                self._trained[event.model_id] = event.metadata.timestamp
            case TrainingDataCuratedEvent():
                self._curated = event
            case _:
                self._count(event)

    def snapshot(self, model_id: str | None) -> Snapshot:
        """The figures now.

        Args:
            model_id: The model that answers.
        """
        kept = [self._hours[hour] for hour in sorted(self._hours)]
        costs, latencies = Tally(), {"student": Latencies(), "teacher": Latencies()}
        for hour in kept:
            costs += hour.tally
            for source, counted in hour.latencies.items():
                latencies[source] += counted
        decisions = sum(hour.decisions for hour in kept)
        return Snapshot(
            decisions=decisions,
            decisions_per_hour=decisions / self._span() if decisions else None,
            student=_latency(latencies["student"]),
            teacher=_latency(latencies["teacher"]),
            cost_per_request_usd=costs.costs.per_decision,
            cost_per_correct_usd=costs.costs.per_correct_decision,
            curation_efficiency=self._efficiency(),
            trained_at=None if model_id is None else self._trained.get(model_id),
        )

    def last_hour(self) -> Latencies:
        """The students' answers in the newest hour."""
        return self._hours[max(self._hours)].latencies["student"] if self._hours else Latencies()

    def _count(self, event: Event) -> None:
        hour = self._hour(event.metadata.timestamp)
        if hour is None:
            return
        hour.tally.add(event)
        if isinstance(event, AgentDecisionEvent) and event.origin is None:
            hour.decisions += 1
            self._sources[event.metadata.event_id] = event.source
            if len(self._sources) > MAX_PENDING:
                self._sources.pop(next(iter(self._sources)))
        elif isinstance(event, DecisionOutcomeEvent):
            source = self._sources.pop(event.decision_id, "")
            if source in hour.latencies and event.execution_time_ms is not None:
                hour.latencies[source].add(event.execution_time_ms)

    def _hour(self, timestamp: str) -> _Hour | None:
        name = timestamp[:13]
        found = self._hours.setdefault(name, _Hour())
        while len(self._hours) > HOURS:
            del self._hours[min(self._hours)]
        return found if name in self._hours else None

    def _span(self) -> float:
        first, last = (datetime.fromisoformat(f"{hour}:00") for hour in (min(self._hours), max(self._hours)))
        return (last - first).total_seconds() / 3600 + 1.0

    def _efficiency(self) -> float | None:
        curated = self._curated
        if curated is None or not curated.source_event_count:
            return None
        return 1.0 - curated.curated_count / curated.source_event_count


def _latency(found: Latencies) -> Latency:
    p50, p95, p99 = (found.quantile(share) for share in (0.5, 0.95, 0.99))
    return Latency(count=found.count, p50=p50, p95=p95, p99=p99)
