"""A log in memory, and the facts that a gateway and a trainer would write into it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation.events import (
    AuditRecordedEvent,
    CertificateDecidedEvent,
    Event,
    ModelDeployedEvent,
)
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.students.certificate import Certificate

TOOLS = ("track", "refund", "cancel", "address", "invoice", "quote", "close")


class World:
    """Writes facts, one clock for all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.store = self.open()
        self._numbers = itertools.count()

    def open(self) -> SqliteEventStore:
        protection = Protection(self.folder, redact="off", encrypt=False)
        return SqliteEventStore(self.folder / "log.db", protection=protection)

    def clock(self) -> datetime:
        return self.now

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)

    def deploy(self, model_id: str = "m", target: float = 0.93, **certificate: Any) -> None:
        issued = Certificate(
            certified=True, model_id=model_id, target=target, thresholds=dict.fromkeys(TOOLS, 0.5), **certificate
        )
        facts = msgspec.to_builtins(issued)
        figures = {"model_size": 1, "accuracy_vs_teacher": 1.0, "latency_ms": 1.0, "cost_per_request_usd": 0.0}
        self.store.append(
            [
                CertificateDecidedEvent.record(model_id=model_id, certified=True, certificate=facts, clock=self.clock),
                ModelDeployedEvent.record(
                    model_id=model_id, model_name="m", training_duration_hours=0.1, clock=self.clock, **figures
                ),
            ]
        )

    def audit(
        self, agrees: bool | None, action: str = "track", *, p: float = 0.05, agent: str = "bot", **of: Any
    ) -> Event:
        return AuditRecordedEvent.record(
            decision_id=f"d{next(self._numbers)}",
            model_id=of.pop("model_id", "m"),
            action=action,
            agrees=agrees,
            sampling_probability=p,
            agent_id=agent,
            clock=self.clock,
            **of,
        )

    def audits(self, pattern: str, action: str = "track", **of: Any) -> None:
        """`+` agrees, `-` does not, `?` has no label."""
        self.store.append([self.audit({"+": True, "-": False, "?": None}[mark], action, **of) for mark in pattern])

    def of(self, kind: type[Event]) -> list[Any]:
        return list(self.store.read(types=[kind.event_type]))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()
