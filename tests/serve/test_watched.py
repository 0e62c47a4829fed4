"""End to end: a gateway audits its student, a watcher reads the log, and a bad student answers no more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ultracore.distillation.events import (
    AuditRecordedEvent,
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    ModelDeployedEvent,
)
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.serve.control import Control
from ultracore.distillation.serve.deployment import DEPLOYMENT_EVENTS, Deployment
from ultracore.distillation.serve.gate import Gate
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.tools import ToolCall
from ultracore.distillation.watch.watcher import Watcher

REQUESTS = 220


class Home:
    """A log, and a registry whose one student agrees with the teacher as often as a test wants."""

    def __init__(self, folder: Path, fakes: Any, agreement: float, seed: int) -> None:
        self.store = SqliteEventStore(folder / "log.db", protection=Protection(folder, redact="off", encrypt=False))
        self.student = fakes.RuleStudent("student-1")
        rng = np.random.default_rng(seed)

        def rule(state: Any) -> Proposal:
            city = "Rome" if rng.random() < agreement else "Oslo"  # the scripted teacher says Rome
            return Proposal((ToolCall("weather", {"city": city}),), 0.99)

        self.student.rule = rule
        self.registry = ModelRegistry(folder, self.store, lambda _: self.student)
        self.registry.folder_of("student-1").mkdir(parents=True)
        issued = fakes.certificate(model_id="student-1")
        self.registry.save_certificate(issued)
        figures = {"model_size": 1, "accuracy_vs_teacher": 1.0, "latency_ms": 1.0, "cost_per_request_usd": 0.0}
        certificate = msgspec.to_builtins(issued)
        self.store.append(
            [
                CertificateDecidedEvent.record(model_id="student-1", certified=True, certificate=certificate),
                ModelDeployedEvent.record(model_id="student-1", model_name="m", training_duration_hours=0.1, **figures),
            ]
        )

    def deployment(self) -> Deployment:
        return Deployment(self.registry, "default", lambda model: Gate(model.student, model.certificate))


def served(folder: Path, fakes: Any, teacher_url: str, agreement: float, seed: int = 0) -> tuple[Home, list[str]]:
    """Who answered each request, while a watcher looks after every fifth."""
    home = Home(folder, fakes, agreement, seed)
    world, deployment = fakes.World(audit_rate=1.0), home.deployment()
    watcher = Watcher(home.store, world.settings)
    control = Control(home.store, DEPLOYMENT_EVENTS, [deployment.apply])  # the gateway's own looks at the times of day

    async def ask() -> list[str]:
        seen = []
        app_upstream = Upstream(teacher_url)
        async with world.client(app_upstream, store=home.store, gate=None, deployment=deployment) as client:
            for number in range(REQUESTS):
                reply = await client.post("/v1/chat/completions", json=fakes.chat())
                seen.append(reply.headers["x-distill-source"] + reply.headers.get("x-distill-reason", ""))
                if number % 5 == 4:
                    await asyncio.to_thread(watcher.look)
                    control.look()
        return seen

    return home, asyncio.run(ask())


def found_out(folder: Path, fakes: Any, teacher_url: str, seed: int) -> int:
    """After how many labelled audits the gateway obeys."""
    home, seen = served(folder, fakes, teacher_url, 0.80, seed)
    home.store.close()
    first = seen.index("teacherrevoked")
    assert set(seen[:first]) == {"student"}
    assert set(seen[first:]) == {"teacherrevoked"}
    return first


def test_a_student_13_points_below_its_floor_answers_no_more(
    tmp_path: Path, fakes: Any, teacher: Any, teacher_url: str
) -> None:
    assert found_out(tmp_path, fakes, teacher_url, 1) <= 200


def test_a_good_student_goes_on(tmp_path: Path, fakes: Any, teacher: Any, teacher_url: str) -> None:
    home, seen = served(tmp_path, fakes, teacher_url, 0.96)
    assert set(seen) == {"student"}
    assert list(home.store.read(types=[CertificateRevokedEvent.event_type])) == []
    audits = list(home.store.read(types=[AuditRecordedEvent.event_type]))
    assert len(audits) >= REQUESTS - 20
    assert {audit.tier for audit in audits} == {"model"}
    home.store.close()


@pytest.mark.slow
def test_so_it_is_in_at_least_19_of_20_runs(tmp_path: Path, fakes: Any, teacher: Any, teacher_url: str) -> None:
    def within(seed: int) -> bool:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            return found_out(folder, fakes, teacher_url, seed) <= 200
        except ValueError:  # not revoked at all
            return False

    assert sum(within(seed) for seed in range(20)) >= 19
