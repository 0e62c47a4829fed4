"""The promised figures: of the last day, by the events' own clock, and unknown where they are not known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.events import (
    AgentDecisionEvent,
    AuditRecordedEvent,
    DecisionOutcomeEvent,
    Event,
    ModelTrainedEvent,
    TrainingDataCuratedEvent,
    UpstreamAttemptedEvent,
)
from ultracore.distillation.watch.latency import Latencies
from ultracore.distillation.watch.metrics import HOURS, Metrics

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@given(st.lists(st.floats(0.01, 600_000), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_suffices_for_that_share_and_is_at_most_one_bucket_off(values: list[float], share: float) -> None:
    found = Latencies()
    for value in values:
        found.add(value)
    quantile, exact = found.quantile(share), float(np.quantile(values, share, method="inverted_cdf"))
    assert quantile is not None
    assert exact * (1 - 1e-9) <= quantile <= exact * 2 ** (1 / 8) * (1 + 1e-9)


def test_latencies_add_up_and_odd_ones_count_too() -> None:
    one, other = Latencies(), Latencies()
    for value in (-5.0, 0.0, 10.0):
        one.add(value)
    other.add(10**9)
    one += other
    assert (one.count, one.slower(11.0), other.count) == (4, 1, 1)
    assert Latencies().quantile(0.5) is None


def served(source: str, at: datetime, ms: float, cost: float | None = 0.01) -> list[Event]:
    decision = AgentDecisionEvent.record(agent_id="a", source=source, serving={}, timestamp=at)
    identity = decision.metadata.event_id
    outcome = DecisionOutcomeEvent.record(decision_id=identity, success=True, execution_time_ms=ms, timestamp=at)
    asked = UpstreamAttemptedEvent.record(
        decision_id=identity, role="answer", model="t", status="ok", duration_ms=ms, cost_usd=cost, timestamp=at
    )
    return [decision, outcome] if source == "student" else [decision, outcome, asked]


def fed(*events: Event) -> Metrics:
    metrics = Metrics()
    for event in events:
        metrics.apply(event)
    return metrics


def test_nothing_makes_no_figures() -> None:
    found = fed().snapshot("m")
    assert (found.decisions, found.decisions_per_hour, found.student.p95, found.cost_per_request_usd) == (
        0,
        None,
        None,
        None,
    )
    assert (found.curation_efficiency, found.trained_at) == (None, None)
    assert fed().last_hour().count == 0


def test_students_and_teachers_are_kept_apart() -> None:
    events = [
        e for k in range(100) for e in served("student", NOON, 10.0) + served("teacher", NOON, 800.0 if k else 9000.0)
    ]
    found = fed(*events).snapshot(None)
    assert (found.decisions, found.student.count, found.teacher.count) == (200, 100, 100)
    assert found.student.p99 == pytest.approx(10.0, rel=0.1)
    assert found.teacher.p50 == pytest.approx(800.0, rel=0.1)
    assert found.decisions_per_hour == 200.0


def test_cost_of_a_request_and_of_a_correct_one() -> None:
    audits = [
        AuditRecordedEvent.record(
            decision_id="d", model_id="m", action="x", agrees=agrees, sampling_probability=p, timestamp=NOON
        )
        for agrees, p in ((True, 0.1), (False, 0.5))
    ]  # weighted: 10 of 12 agree
    events = [*served("student", NOON, 1.0), *served("teacher", NOON, 1.0, cost=0.03), *audits]
    found = fed(*events).snapshot(None)
    assert found.cost_per_request_usd == pytest.approx(0.015)
    assert found.cost_per_correct_usd == pytest.approx(0.03 / (1 + 10 / 12))
    unknown = fed(*events, *served("teacher", NOON, 1.0, cost=None)).snapshot(None)
    assert (unknown.cost_per_request_usd, unknown.cost_per_correct_usd) == (None, None)


def test_a_day_ends_as_it_goes_on_and_a_clock_set_back_loses_nothing() -> None:
    hours = [e for k in range(HOURS + 10) for e in served("student", NOON + timedelta(hours=k), 5.0)]
    metrics = fed(*hours)
    assert metrics.snapshot(None).decisions == HOURS
    assert metrics.snapshot(None).decisions_per_hour == 1.0
    assert metrics.last_hour().count == 1
    for event in served("student", NOON + timedelta(hours=30), 5.0):
        metrics.apply(event)
    assert metrics.snapshot(None).decisions == HOURS + 1
    for event in served("student", NOON - timedelta(days=400), 5.0):
        metrics.apply(event)
    assert metrics.snapshot(None).decisions == HOURS + 1


def test_imported_decisions_and_outcomes_of_unknown_ones_count_for_nothing() -> None:
    imported = AgentDecisionEvent.record(agent_id="a", origin={"file": "x"}, timestamp=NOON)
    stray = DecisionOutcomeEvent.record(decision_id="nobody", success=True, execution_time_ms=5.0, timestamp=NOON)
    found = fed(imported, stray).snapshot(None)
    assert (found.decisions, found.student.count, found.teacher.count) == (0, 0, 0)


def test_curation_and_training() -> None:
    curated = TrainingDataCuratedEvent.record(
        dataset_id="d", source_event_count=100, curated_count=20, deduplication_rate=0.5, cluster_count=3
    )
    figures: dict[str, Any] = {
        "model_name": "m",
        "dataset_id": "d",
        "decisions": 1,
        "episodes": 1,
        "training_seconds": 1.0,
    }
    trained = ModelTrainedEvent.record(model_id="m", seed=0, timestamp=NOON, **figures)
    found = fed(curated, trained)
    assert found.snapshot("m").curation_efficiency == pytest.approx(0.8)
    assert found.snapshot("m").trained_at == NOON.isoformat()
    assert found.snapshot("other").trained_at is None
