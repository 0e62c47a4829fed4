"""The model that answers changes with the log, and no request notices."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from ultracore.distillation.errors import ArtefactError
from ultracore.distillation.events import (
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    ModelDeployedEvent,
    ModelRejectedEvent,
    ModelRolledBackEvent,
    ModelStagedEvent,
)
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.serve.app import create_app
from ultracore.distillation.serve.deployment import Deployment
from ultracore.distillation.serve.gate import Gate
from ultracore.distillation.settings import Settings
from ultracore.distillation.students.compact.artefact import load_student
from ultracore.distillation.students.registry import ModelRegistry


class Home:
    """A log and a registry of students that know one rule, each under its own name."""

    def __init__(self, folder: Path, fakes: Any) -> None:
        self.fakes = fakes
        self.store = SqliteEventStore(folder / "log.db")
        self.registry = ModelRegistry(folder, self.store, self.load)

    def load(self, folder: Path) -> Any:
        weights = (folder / "weights").read_text()
        if weights == "broken":
            raise ArtefactError("the weights are broken")
        return self.fakes.RuleStudent(weights)

    def publish(self, model_id: str, weights: str | None = None) -> None:
        folder = self.registry.folder_of(model_id)
        folder.mkdir(parents=True)
        (folder / "weights").write_text(weights or model_id)
        self.certify(model_id)

    def certify(self, model_id: str, **changes: Any) -> None:
        issued = self.fakes.certificate(model_id=model_id, **changes)
        self.registry.save_certificate(issued)
        facts = msgspec.to_builtins(issued)
        self.store.append([CertificateDecidedEvent.record(model_id=model_id, certified=True, certificate=facts)])

    def deploy(self, model_id: str) -> None:
        figures = {"model_size": 1, "accuracy_vs_teacher": 1.0, "latency_ms": 1.0, "cost_per_request_usd": 0.0}
        event = ModelDeployedEvent.record(model_id=model_id, model_name="m", training_duration_hours=0.1, **figures)
        self.store.append([event])

    def revoke(self, model_id: str, *actions: str) -> None:
        event = CertificateRevokedEvent.record(model_id=model_id, reason="live agreement", actions=list(actions))
        self.store.append([event])

    def deployment(self) -> Deployment:
        return Deployment(self.registry, "default", lambda model: Gate(model.student, model.certificate))


@pytest.fixture
def home(tmp_path: Path, fakes: Any) -> Iterator[Home]:
    home = Home(tmp_path, fakes)
    yield home
    home.store.close()


class Clients:
    """Ask all the time, and keep who answered."""

    def __init__(self, url: str, fakes: Any) -> None:
        self.seen: list[str] = []
        self._url, self._fakes, self._stop = url, fakes, threading.Event()
        self._pool = ThreadPoolExecutor(4)
        self._asking = [self._pool.submit(self._ask) for _ in range(4)]

    def _ask(self) -> None:
        with httpx2.Client(timeout=20) as client:
            while not self._stop.is_set():
                reply = client.post(f"{self._url}/chat/completions", json=self._fakes.chat())
                assert reply.status_code == 200, reply.text
                self.seen.append(reply.headers["x-distill-model"] + reply.headers.get("x-distill-reason", ""))

    def until(self, name: str, within: float = 10.0) -> bool:
        end = time.monotonic() + within
        while time.monotonic() < end:
            if self.seen and self.seen[-1] == name:
                return True
            time.sleep(0.02)
        return False

    def close(self) -> None:
        self._stop.set()
        for asking in self._asking:
            asking.result(20)
        self._pool.shutdown()


def test_models_change_under_load_without_a_dropped_request(
    home: Home, world: Any, fakes: Any, teacher: Any, teacher_url: str
) -> None:
    from ultracore.distillation.serve.upstream import Upstream

    for name in ("one", "two"):
        home.publish(name)
    home.publish("three", weights="broken")
    home.deploy("one")
    app = world.app(Upstream(teacher_url), store=home.store, gate=None, deployment=home.deployment())
    with fakes.Running(app) as url:
        clients = Clients(url, fakes)
        try:
            assert clients.until("one")
            home.deploy("two")
            assert clients.until("two")
            home.deploy("three")
            time.sleep(1.0)
            assert clients.seen[-1] == "two"  # what cannot be loaded leaves the old one answering
            home.revoke("two")
            assert clients.until("teacher-1revoked")  # but not once that was revoked
            home.store.append([ModelRolledBackEvent.record(model_id="two", to_model_id="one", reason="revoked")])
            assert clients.until("one")
        finally:
            clients.close()
    assert set(clients.seen) == {"one", "two", "teacher-1revoked"}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_candidate_of_a_gigabyte_is_refused_and_the_model_before_it_goes_on(
    home: Home, world: Any, fakes: Any, teacher: Any, teacher_url: str
) -> None:
    from ultracore.distillation.serve.upstream import Upstream

    rule = home.registry._load
    home.registry._load = lambda folder: load_student(folder) if (folder / "manifest.json").exists() else rule(folder)
    home.publish("one")
    home.publish("large")
    large = home.registry.folder_of("large")
    files = dict.fromkeys(("config.json", "weights.safetensors"), "0" * 64)
    (large / "config.json").write_text("{}")
    (large / "manifest.json").write_bytes(msgspec.json.encode({"format": 1, "kind": "compact", "files": files}))
    with (large / "weights.safetensors").open("wb") as file:
        file.truncate(2**30)  # takes no room on the disk, and would take all of it in memory
    home.deploy("one")
    deployment = home.deployment()
    with fakes.Running(world.app(Upstream(teacher_url), store=home.store, gate=None, deployment=deployment)) as url:
        clients = Clients(url, fakes)
        try:
            assert clients.until("one")
            before = resident()
            home.deploy("large")
            until = time.monotonic() + 15
            while deployment.failed != "large" and time.monotonic() < until:
                assert resident() - before < 64 * 2**20
                time.sleep(0.01)
            count = len(clients.seen)
            while len(clients.seen) < count + 20 and time.monotonic() < until:
                time.sleep(0.01)
        finally:
            clients.close()
    assert deployment.failed == "large"
    assert len(clients.seen) >= count + 20
    assert set(clients.seen) == {"one"}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def settled(deployment: Deployment, home: Home, then: Callable[[], None]) -> list[Gate]:
    """The gates that are published after something was written."""
    after, published = home.store.last_position(), []
    then()
    for event in home.store.read(after=after):
        deployment.apply(event)
    deployment.settle(published.append)
    return published


def test_what_the_log_says_is_what_decides(home: Home) -> None:
    home.publish("one")
    deployment = home.deployment()
    assert deployment.gate is None
    (first,) = settled(deployment, home, lambda: home.deploy("one"))
    assert first is deployment.gate
    assert settled(deployment, home, lambda: home.deploy("one")) == []  # nothing is new
    (again,) = settled(
        deployment, home, lambda: (home.certify("one", thresholds={"weather": 0.99}), home.deploy("one"))
    )  # type: ignore[func-returns-value]
    assert again.certificate.thresholds == {"weather": 0.99}
    assert settled(deployment, home, lambda: home.revoke("one")) == []
    assert again.revoked
    (back,) = settled(deployment, home, lambda: home.deploy("one"))
    assert not back.revoked


def test_some_actions_are_revoked_before_any_model_is_looked_up(home: Home) -> None:
    home.publish("one")
    home.deploy("one")
    deployment = home.deployment()
    gate, after = deployment.gate, home.store.last_position()
    assert gate is not None
    home.revoke("one", "weather")
    home.revoke("one", "ping")
    home.revoke("another", "track")
    for event in home.store.read(after=after):
        deployment.apply(event)
    assert (gate.revoked_actions, gate.revoked) == ({"weather", "ping"}, False)
    assert home.registry.active_id() == "one"  # the rest goes on being answered
    assert settled(deployment, home, lambda: None) == []  # type: ignore[arg-type, return-value]
    assert deployment.gate is gate
    assert settled(deployment, home, lambda: home.deploy("one")) == []
    assert gate.revoked_actions == frozenset()  # deployed anew: its certificate holds again
    home.revoke("one", "weather")
    home.revoke("one")
    for event in home.store.read(after=after):
        deployment.apply(event)
    assert gate.revoked


def test_a_revocation_is_obeyed_by_the_next_request_after_it_was_read(
    home: Home, world: Any, fakes: Any, teacher: Any, teacher_url: str
) -> None:
    from ultracore.distillation.serve.upstream import Upstream

    home.publish("one")
    home.deploy("one")
    with fakes.Running(
        world.app(Upstream(teacher_url), store=home.store, gate=None, deployment=home.deployment())
    ) as url:
        ask = lambda: httpx2.post(f"{url}/chat/completions", json=fakes.chat(), timeout=20).headers  # noqa: E731
        assert ask()["x-distill-source"] == "student"
        home.revoke("one", "weather")
        time.sleep(0.6)  # two looks into the log
        assert (ask()["x-distill-source"], ask()["x-distill-reason"]) == ("teacher", "revoked")


def test_a_model_that_cannot_be_loaded_is_named_and_the_next_one_is_tried(home: Home) -> None:
    home.publish("one")
    home.publish("bad", weights="broken")
    home.publish("two")
    home.deploy("one")
    deployment = home.deployment()
    assert settled(deployment, home, lambda: home.deploy("bad")) == []
    assert deployment.failed == "bad"
    assert deployment.gate is not None
    assert not deployment.gate.revoked
    (two,) = settled(deployment, home, lambda: home.deploy("two"))
    assert (two.student.model_id, deployment.failed) == ("two", None)


def test_another_tenants_deployment_changes_nothing(home: Home) -> None:
    home.publish("one")
    home.deploy("one")
    deployment = home.deployment()
    event = CertificateRevokedEvent.record(model_id="one", reason="x", tenant_id="another")
    assert settled(deployment, home, lambda: home.store.append([event])) == []  # type: ignore[arg-type, return-value]
    assert deployment.gate is not None
    assert not deployment.gate.revoked


def test_a_student_that_is_disabled_raises_an_alert(world: Any, fakes: Any, teacher: Any, teacher_url: str) -> None:
    from ultracore.distillation.serve.upstream import Upstream

    world.student.rule = lambda state: None
    with fakes.Running(world.app(Upstream(teacher_url))) as url:
        for _ in range(7):
            reply = httpx2.post(f"{url}/chat/completions", json=fakes.chat(), timeout=20)
            assert (reply.status_code, reply.headers["x-distill-reason"]) == (200, "student_error")
        (alert,) = world.store.of("ALERT_RAISED")
    assert (alert.name, alert.model_id, world.student.asked) == ("student_disabled", "student-1", 5)


def staged(model_id: str, stage: str = "canary", share: float = 0.3) -> ModelStagedEvent:
    return ModelStagedEvent.record(model_id=model_id, stage=stage, reason="compared", against="student-1", share=share)


def told(home: Home, deployment: Deployment, *events: Any) -> list[str]:
    """Append, tell the deployment, and give the models whose gates were published."""
    published: list[str] = []
    if events:
        home.store.append(events)
    for event in list(home.store.read())[-len(events) :] if events else home.store.read():
        deployment.apply(event)
    deployment.settle(lambda gate: published.append(gate.student.model_id))
    return published


def test_a_canary_takes_its_share_of_the_conversations_and_each_one_whole(home: Home) -> None:
    for name in ("student-1", "student-2"):
        home.publish(name)
    home.deploy("student-1")
    deployment = home.deployment()
    told(home, deployment, staged("student-2", "shadow"))
    assert deployment.canary is None
    told(home, deployment, staged("student-2"))
    assert deployment.canary is not None
    assert deployment.gate is not None
    assert deployment.gate.student.model_id == "student-1"
    taken = [deployment.canary.takes(f"s{i}") for i in range(1000)]
    assert 250 <= sum(taken) <= 350
    assert taken == [deployment.canary.takes(f"s{i}") for i in range(1000)]


@pytest.mark.parametrize("end", ["rejected", "revoked", "deployed"])
def test_a_canary_ends_with_the_next_fact_about_it(home: Home, end: str) -> None:
    for name in ("student-1", "student-2"):
        home.publish(name)
    home.deploy("student-1")
    deployment = home.deployment()
    told(home, deployment, staged("student-2"))
    assert deployment.canary is not None
    gate = deployment.canary.gate
    if end == "rejected":
        told(home, deployment, ModelRejectedEvent.record(model_id="student-2", reason="worse"))
    elif end == "revoked":
        told(home, deployment, CertificateRevokedEvent.record(model_id="student-2", reason="audits"))
        assert gate.revoked
    else:
        home.deploy("student-2")
        assert told(home, deployment) == ["student-2"]
        assert deployment.gate is gate  # it was warm
    assert deployment.canary is None


def test_a_canary_that_is_revoked_for_an_action_goes_on_without_it(home: Home) -> None:
    for name in ("student-1", "student-2"):
        home.publish(name)
    home.deploy("student-1")
    deployment = home.deployment()
    told(home, deployment, staged("student-2"))
    told(home, deployment, CertificateRevokedEvent.record(model_id="student-2", reason="audits", actions=["weather"]))
    assert deployment.canary is not None
    assert deployment.canary.gate.revoked_actions == {"weather"}


def test_a_canary_that_cannot_be_loaded_is_none_and_the_model_that_answers_stays(home: Home) -> None:
    home.publish("student-1")
    home.publish("student-2", weights="broken")
    home.deploy("student-1")
    deployment = home.deployment()
    told(home, deployment, staged("student-2"))
    assert deployment.canary is None
    assert deployment.gate is not None
    assert not deployment.gate.revoked


def test_a_roll_back_needs_no_file(home: Home) -> None:
    """The model before is kept warm, with its certificate."""
    for name in ("student-1", "student-2"):
        home.publish(name)
    home.deploy("student-1")
    deployment = home.deployment()
    first = deployment.gate
    home.deploy("student-2")
    assert told(home, deployment) == ["student-2"]
    home.load = lambda folder: pytest.fail("a file was read")  # type: ignore[method-assign]
    home.registry._load = home.load
    event = ModelRolledBackEvent.record(model_id="student-2", to_model_id="student-1", reason="audits")
    assert told(home, deployment, event) == ["student-1"]
    assert deployment.gate is first


def test_the_gateway_lets_a_canary_answer_its_conversations(home: Home, fakes: Any) -> None:
    for name in ("student-1", "student-2"):
        home.publish(name)
    home.deploy("student-1")
    home.store.append([staged("student-2", share=0.5)])
    deployment = home.deployment()
    app = create_app(store=home.store, upstream=None, gate=None, settings=Settings(), deployment=deployment, env={})
    with fakes.Running(app) as url, httpx2.Client() as client:

        def ask(session: int) -> str:
            headers = {"x-distill-session": f"s{session}"}
            return client.post(f"{url}/chat/completions", json=fakes.chat(), headers=headers).headers["x-distill-model"]

        deadline = time.monotonic() + 10
        while {ask(i) for i in range(20)} != {"student-1", "student-2"} and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [ask(i) for i in range(12)] == [ask(i) for i in range(12)]
        assert {ask(i) for i in range(20)} == {"student-1", "student-2"}
