from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation.decisions import State
from ultracore.distillation.errors import ArtefactError
from ultracore.distillation.events import (
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    Event,
    ModelDeployedEvent,
    ModelRolledBackEvent,
)
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.students.models import model_states
from ultracore.distillation.students.registry import ModelRegistry


class FileStudent:
    """A student whose only weight is its name."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id

    def save(self, folder: Path) -> str:
        (folder / "weights").write_text(self.model_id)
        return self.model_id

    def propose(self, state: State) -> Proposal:
        return Proposal()

    def propose_batch(self, states: Any) -> list[Proposal]:
        return [self.propose(state) for state in states]


class Killed(BaseException):
    """Stands for a process that ends at once: nothing catches it."""


def load(folder: Path) -> FileStudent:
    return FileStudent((folder / "weights").read_text())


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = SqliteEventStore(tmp_path / "log.db")
    yield store
    store.close()


@pytest.fixture
def registry(tmp_path: Path, store: SqliteEventStore) -> ModelRegistry:
    return ModelRegistry(tmp_path, store, load)


def certificate(model_id: str, **fields: Any) -> Certificate:
    known = {"certified": True, "thresholds": {"f": 0.5}, "coverage": 0.4, "sent": 4, "agreeing": 4}
    return Certificate(model_id=model_id, **(known | fields))


def decided(issued: Certificate, tenant: str = "default") -> Event:
    return CertificateDecidedEvent.record(
        model_id=issued.model_id,
        certified=issued.certified,
        certificate=msgspec.to_builtins(issued),
        tenant_id=tenant,
    )


def deployed(model_id: str, tenant: str = "default") -> Event:
    return ModelDeployedEvent.record(
        model_id=model_id, model_name="m", model_size=1, accuracy_vs_teacher=1.0, latency_ms=1.0,
        cost_per_request_usd=0.0, training_duration_hours=0.1, tenant_id=tenant,
    )  # fmt: skip


def deploy(registry: ModelRegistry, store: SqliteEventStore, model_id: str, tenant: str = "default") -> Certificate:
    registry.publish(FileStudent(model_id))
    issued = certificate(model_id)
    registry.save_certificate(issued)
    store.append([decided(issued, tenant), deployed(model_id, tenant)])
    return issued


def test_a_deployed_model_comes_back_with_its_certificate(registry, store):
    issued = deploy(registry, store, "m1")
    found = registry.active()
    assert found is not None
    assert (found.model_id, found.certificate, found.folder) == ("m1", issued, registry.folder_of("m1"))
    assert found.student.model_id == "m1"


def test_nothing_is_active_in_an_empty_log_and_for_another_tenant(registry, store):
    assert registry.active() is None
    deploy(registry, store, "m1", tenant="acme")
    assert registry.active() is None
    assert registry.active_id("acme") == "m1"


def revoked(model_id: str, *actions: str) -> Event:
    return CertificateRevokedEvent.record(model_id=model_id, reason="audit", actions=list(actions))


def rolled_back(model_id: str, to: str | None) -> Event:
    return ModelRolledBackEvent.record(model_id=model_id, to_model_id=to, reason="audit")


@pytest.mark.parametrize(
    ("events", "active"),
    [
        ([deployed("a")], "a"),
        ([deployed("a"), deployed("b")], "b"),
        ([deployed("a"), deployed("b"), revoked("b")], None),
        ([deployed("a"), deployed("b"), revoked("a")], "b"),
        ([deployed("a"), deployed("b"), revoked("b"), rolled_back("b", "a")], "a"),
        ([deployed("a"), deployed("b"), rolled_back("b", "a"), revoked("b")], "a"),
        ([deployed("a"), deployed("b"), rolled_back("b", None)], None),
        ([deployed("a"), revoked("a"), deployed("b"), rolled_back("b", "a")], None),
        ([deployed("a"), revoked("a"), deployed("a")], "a"),
        ([deployed("a"), revoked("a", "track")], "a"),
        ([deployed("a"), revoked("a", "track"), deployed("b"), rolled_back("b", "a")], "a"),
    ],
)
def test_the_log_alone_says_what_is_active(registry, store, events, active):
    store.append([msgspec.structs.replace(e, metadata=_fresh(e, i)) for i, e in enumerate(events)])
    assert registry.active_id() == active


def _fresh(event: Event, number: int) -> Any:
    return msgspec.structs.replace(event.metadata, event_id=f"e{number}")


def test_publishing_twice_changes_nothing(registry):
    first = registry.publish(FileStudent("m1"))
    before = (registry.folder_of("m1") / "weights").stat().st_mtime_ns
    assert registry.publish(FileStudent("m1")) == first
    assert (registry.folder_of("m1") / "weights").stat().st_mtime_ns == before
    assert [path.name for path in registry.models.iterdir()] == ["m1"]


def test_a_kill_while_writing_leaves_no_model(registry):
    class Dies(FileStudent):
        def save(self, folder: Path) -> str:
            super().save(folder)
            raise Killed

    with pytest.raises(Killed):
        registry.publish(Dies("m1"))
    assert list(registry.models.iterdir()) == []
    registry.publish(FileStudent("m1"))
    assert registry.load("m1").model_id == "m1"


def test_a_draft_that_a_dead_process_left_is_no_model(registry):
    (registry.models / ".draft-dead").mkdir(parents=True)
    with pytest.raises(ArtefactError):
        registry.load(".draft-dead")


def test_a_full_disk_is_an_artefact_error(registry):
    class NoSpace(FileStudent):
        def save(self, folder: Path) -> str:
            raise OSError(28, "No space left on device")

    with pytest.raises(ArtefactError, match="No space left"):
        registry.publish(NoSpace("m1"))


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", ".hidden"])
def test_an_id_never_leads_out_of_the_folder(registry, name):
    with pytest.raises(ArtefactError, match="no model id"):
        registry.folder_of(name)


def test_files_of_another_model_are_refused(registry, store):
    deploy(registry, store, "m1")
    (registry.folder_of("m1") / "weights").write_text("m2")
    with pytest.raises(ArtefactError, match="hold model 'm2'"):
        registry.active()


def test_missing_files_are_named(registry, store):
    store.append([decided(certificate("m1")), deployed("m1")])
    with pytest.raises(ArtefactError, match="train again"):
        registry.active()


def test_an_altered_certificate_is_refused(registry, store):
    deploy(registry, store, "m1")
    (file,) = registry.models.glob("m1.certificate-*.json")
    file.write_bytes(file.read_bytes().replace(b'"f":0.5', b'"f":0.1'))
    with pytest.raises(ArtefactError, match="not the one in the log"):
        registry.active()


def test_a_certificate_needs_its_model_first(registry):
    with pytest.raises(ArtefactError, match="not published"):
        registry.save_certificate(certificate("m1"))


def test_a_later_refusal_does_not_hide_the_certificate_that_was_deployed(registry, store):
    issued = deploy(registry, store, "m1")
    store.append([decided(certificate("m1", certified=False))])
    assert registry.load_certificate("m1") == issued


def test_a_deployment_without_a_certificate_serves_nothing(registry, store):
    registry.publish(FileStudent("m1"))
    store.append([deployed("m1")])
    with pytest.raises(ArtefactError, match="no certificate"):
        registry.active()


def test_the_projection_reads_the_same_after_a_restart(registry, store, tmp_path):
    deploy(registry, store, "m1")
    deploy(registry, store, "m2")
    store.close()
    again = SqliteEventStore(tmp_path / "log.db")
    found = ModelRegistry(tmp_path, again, load).active()
    assert found is not None
    assert found.model_id == "m2"
    again.close()


def test_the_model_of_any_moment(registry: ModelRegistry, store: SqliteEventStore) -> None:
    before = store.last_position()
    assert registry.active_id() is None
    deploy(registry, store, "one")
    first = store.last_position()
    deploy(registry, store, "two")
    second = store.last_position()
    store.append([ModelRolledBackEvent.record(model_id="two", to_model_id="one", reason="worse")])
    assert [registry.active_id(as_of=at) for at in (before, first, second, None)] == [None, "one", "two", "one"]
    assert registry.active_id(as_of="2020-01-01") is None
    assert registry.active_id(as_of="2999-01-01") == "one"
    one, two = model_states(store, "default")
    assert (one.model_id, one.status, one.active, one.reason) == ("one", "deployed", True, "worse")
    assert (two.model_id, two.status, two.active, two.coverage) == ("two", "rolled back", False, 0.4)
    assert [m.status for m in model_states(store, "default", second)] == ["replaced", "deployed"]
    assert model_states(store, "nobody") == []
