"""A home with students whose whole weight is a table, and a log that says what the teacher did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation.decisions import State
from ultracore.distillation.events import (
    AgentDecisionEvent,
    AuditRecordedEvent,
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    Event,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelStagedEvent,
    ModelTrainedEvent,
)
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.tools import ToolCall, parse_tool

TOOLS = [{"name": "track"}, {"name": "refund"}, {"name": "cancel"}]
TENANT = "default"
FIGURES = {"accuracy_vs_teacher": 0.97, "latency_ms": 1.0, "cost_per_request_usd": 0.0, "training_duration_hours": 0.1}


class TableStudent:
    """Says for each thing that a user says which tool to call; `habit` is what it does otherwise."""

    def __init__(self, model_id: str, table: dict[str, str], habit: str = "") -> None:
        self.model_id, self.table, self.habit = model_id, table, habit

    def save(self, folder: Path) -> str:
        (folder / "weights").write_bytes(msgspec.json.encode([self.model_id, self.table, self.habit]))
        return self.model_id

    def propose(self, state: State) -> Proposal:
        said = str(state.messages[-1]["content"]).split()[0]
        if self.habit == "raise":
            raise ValueError("weights are broken")
        tool = self.table.get(said)
        confidence = float("nan") if self.habit == "nan" else 0.9
        return Proposal((ToolCall(tool, {}),), confidence) if tool else Proposal((), confidence)

    def propose_batch(self, states: Sequence[State]) -> list[Proposal]:
        return [self.propose(state) for state in states]


def load(folder: Path) -> TableStudent:
    return TableStudent(*msgspec.json.decode((folder / "weights").read_bytes()))


class Home:
    """A log, a registry, and a clock that goes on by a second with each event."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.store = SqliteEventStore(folder / "log.db")
        self.registry = ModelRegistry(folder, self.store, load)
        self.tools = [parse_tool(tool) for tool in TOOLS]

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def pass_time(self, **time: float) -> None:
        self.now += timedelta(**time)

    def add(self, *events: Event) -> None:
        self.store.append(events)

    def certificate(self, model_id: str) -> Certificate:
        return Certificate(
            certified=True, model_id=model_id, thresholds={t.name: 0.5 for t in self.tools}, coverage=0.5,
            tools={t.name: t.fingerprint for t in self.tools}, sent=4, agreeing=4,
        )  # fmt: skip

    def train(self, model_id: str, table: dict[str, str], habit: str = "") -> list[Event]:
        """Publish a model; the facts that say so."""
        self.registry.publish(TableStudent(model_id, table, habit))
        issued = self.certificate(model_id)
        self.registry.save_certificate(issued)
        about: dict[str, Any] = {"model_id": model_id, "clock": self.clock}
        facts = msgspec.to_builtins(issued)
        return [
            ModelTrainedEvent.record(
                model_name="table", dataset_id="d", decisions=100, episodes=10, training_seconds=1.0, seed=0, **about
            ),
            ModelEvaluatedEvent.record(data_id="d", decisions=10, metrics=FIGURES, **about),
            CertificateDecidedEvent.record(certified=True, certificate=facts, **about),
        ]

    def deploy(self, model_id: str, table: dict[str, str], **more: Any) -> None:
        deployed = ModelDeployedEvent.record(
            model_id=model_id, model_name="table", model_size=1, clock=self.clock, **FIGURES
        )
        self.add(*self.train(model_id, table, **more), deployed)

    def shadow(self, model_id: str, table: dict[str, str], against: str, rules: Any, habit: str = "") -> None:
        staged = ModelStagedEvent.record(
            model_id=model_id, stage="shadow", reason="certified", against=against, clock=self.clock,
            rules=msgspec.to_builtins(rules), model_size=1,
        )  # fmt: skip
        self.add(*self.train(model_id, table, habit), staged)

    def revoke(self, model_id: str, *actions: str) -> None:
        about = {"actions": list(actions)} if actions else {}
        self.add(CertificateRevokedEvent.record(model_id=model_id, reason="audits", clock=self.clock, **about))

    def decision(
        self, said: str, tool: str | None, *, session: str, source: str = "teacher", model: str = "", **more: Any
    ) -> Event:
        return AgentDecisionEvent.record(
            agent_id="support", session_id=session, source=source, clock=self.clock,
            context={"messages": [{"role": "user", "content": said}]}, tools_available=TOOLS, tool_selected=tool,
            tool_calls=[{"name": tool, "arguments": {}}] if tool else [], teacher_model="teacher-1",
            serving={"model_id": model}, **more,
        )  # fmt: skip

    def audit(self, decision: Event, teacher: str | None, agrees: bool | None, p: float = 0.5) -> Event:
        return AuditRecordedEvent.record(
            decision_id=decision.metadata.event_id, model_id="m1", action="track", agrees=agrees,
            sampling_probability=p, teacher_calls=[{"name": teacher, "arguments": {}}] if teacher else [],
            clock=self.clock,
        )  # fmt: skip

    def talk(self, n: int, teacher: dict[str, str], *, start: int = 0) -> None:
        """Conversations of one decision of the teacher for each thing that may be said."""
        said = sorted(teacher)
        self.add(
            *(
                self.decision(f"{w} {i}", teacher[w] or None, session=f"s{i}")
                for i in range(start, start + n)
                for w in said
            )
        )

    def types(self) -> list[str]:
        return [event.event_type for event in self.store.read()]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.store.close()
