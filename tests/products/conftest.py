"""A log of two tenants' decisions: a teacher that repeats itself, a student, outcomes, people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ultracore.distillation.events import AgentDecisionEvent, AuditRecordedEvent, DecisionOutcomeEvent, Event
from ultracore.distillation.events.sqlite import SqliteEventStore

START = datetime(2026, 11, 1, tzinfo=UTC)
TOOLS = [
    {"name": "refund", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
    {"name": "track", "parameters": {"type": "object", "properties": {}}},
]


def decided(i: int, **told: Any) -> AgentDecisionEvent:
    """The i-th decision; every context comes twice, in two conversations, with the same call."""
    values = {
        "agent_id": f"agent-{i % 4 // 2}", "context": {"query": f"secret words {i // 2}"}, "tools_available": TOOLS,
        "tool_selected": "refund", "tool_parameters": {"n": i // 2}, "confidence": 0.5, "teacher_model": "t-1",
        "session_id": f"s-{i}", "user_id": f"person-{i % 5}", "subject": f"person-{i % 5}",
        "timestamp": START + timedelta(minutes=i),
    }  # fmt: skip
    return AgentDecisionEvent.record(**{**values, **told})


def ended(decision: Event, **told: Any) -> DecisionOutcomeEvent:
    """Its outcome, a second later."""
    at = datetime.fromisoformat(decision.metadata.timestamp) + timedelta(seconds=1)
    values = {"success": True, "execution_time_ms": 20.0, "cost_usd": 0.01, "timestamp": at}
    tenant = decision.metadata.tenant_id
    return DecisionOutcomeEvent.record(
        **{"decision_id": decision.metadata.event_id, "tenant_id": tenant, **values, **told}
    )


class World(NamedTuple):
    """The log, its folder, and the decisions of tenant `default`."""

    store: SqliteEventStore
    home: Path
    decisions: list[AgentDecisionEvent]


@pytest.fixture
def empty(home: Path) -> Iterator[SqliteEventStore]:
    store = SqliteEventStore(home / "log.db")
    yield store
    store.close()


@pytest.fixture
def world(empty: SqliteEventStore, home: Path) -> World:
    teacher = [decided(i) for i in range(20)]
    student = [
        decided(i, source="student", session_id=f"z-{i}", teacher_model=None, serving={"model_id": "m-1"})
        for i in range(20, 26)
    ]
    other = [decided(i, tenant_id="acme", agent_id="theirs") for i in range(3)]
    empty.append([*teacher, *student, *other])
    empty.append([ended(d, success=i % 4 > 0) for i, d in enumerate(teacher[:12])] + [ended(d) for d in other])
    audits = [
        AuditRecordedEvent.record(decision_id=d.metadata.event_id, model_id="m-1", action="refund", agrees=i > 0, sampling_probability=0.5)
        for i, d in enumerate(student[:2])
    ]  # fmt: skip
    empty.append(audits)
    return World(empty, home, [*teacher, *student])
