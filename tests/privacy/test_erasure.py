"""Whoever is erased is in no file any more; everybody else is untouched, and the log still verifies."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.privacy.stored import everything

from ultracore.distillation.cli import main
from ultracore.distillation.erasure import Erasure, Plan, erase, erase_again, plan
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import (
    AgentDecisionEvent,
    CertificateRevokedEvent,
    DatasetManifestEvent,
    DecisionOutcomeEvent,
    Event,
    ModelTrainedEvent,
    RetrainTriggeredEvent,
    SubjectErasedEvent,
)
from ultracore.distillation.events.privacy import tombstones
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.privacy.tombstones import Tombstone, append_tombstone, read_tombstones
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.ledger import SqliteLedger
from ultracore.distillation.events.verify import verify
from ultracore.distillation.log import rows_from_log


class World:
    """A home with a log, a keyring and models."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / ".distill"
        self.tombstones = self.home / "erased.jsonl"
        self.open()

    def open(self) -> None:
        self.store = SqliteEventStore(self.home / "log.db", protection=Protection(self.home / "keys"))

    def erase(
        self, tenant: str | None = None, person: str | None = None, before: str | None = None, **options: Any
    ) -> Plan:
        planned = plan(self.store, self.home, Erasure(tenant, person, before), self.tombstones)
        erase(self.store, planned, self.tombstones, **options)
        return planned

    def model(self, name: str, event_ids: Iterable[str] | None, text: str, tenant: str = "default") -> None:
        common: dict[str, Any] = {"tenant_id": tenant}
        if event_ids is not None:
            ids = list(event_ids)
            self.store.append(
                [
                    DatasetManifestEvent.record(
                        dataset_id=f"data-{name}", chunk=1, chunks=1, event_ids=ids,
                        parts=["train"] * len(ids), weights=[1.0] * len(ids), **common,
                    )
                ]
            )  # fmt: skip
        self.store.append(
            [
                ModelTrainedEvent.record(
                    model_id=name, model_name="compact", dataset_id=f"data-{name}", decisions=1, episodes=1,
                    training_seconds=1.0, seed=0, **common,
                )
            ]
        )  # fmt: skip
        folder = self.home / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(text)

    def events(self, kind: type[Event]) -> list[Any]:
        return list(self.store.read(types=[kind.event_type]))

    def verifies(self) -> bool:
        ledger = SqliteLedger(self.home / "log.db")
        report = verify(ledger, [])
        ledger.close()
        return not report.findings


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def decision(
    person: str | None, text: str = "x", tenant: str = "default", day: str | None = None, **data: Any
) -> Event:
    import datetime

    when = None if day is None else datetime.datetime.fromisoformat(f"{day}T12:00:00+00:00")
    return AgentDecisionEvent.record(
        agent_id="a", user_id=person, context={"text": text}, tool_selected="f", tool_parameters={"v": text},
        tenant_id=tenant, timestamp=when, **data,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("people", "gone", "events"), [(50, 5, 1_000), pytest.param(500, 50, 10_000, marks=pytest.mark.slow)]
)
def test_a_tenth_of_all_people_are_erased(world: World, people: int, gone: int, events: int) -> None:
    rng = random.Random(0)
    canary = {f"person-{n:04d}": f"canary{n:04d}{rng.randrange(10**9)}" for n in range(people)}
    names = list(canary)
    made = [
        decision(names[n % people], f"said {canary[names[n % people]]}", session_id=names[n % people])
        for n in range(events)
    ]
    outcomes = [
        DecisionOutcomeEvent.record(
            decision_id=event.metadata.event_id, success=False, error=f"for {event.context['text']}", subject=event.user_id  # type: ignore[attr-defined]
        )
        for event in made[:people]
    ]  # fmt: skip
    for start in range(0, events, 500):
        world.store.append(made[start : start + 500])
    world.store.append(outcomes)
    ids = {name: [e.metadata.event_id for e in made if e.user_id == name] for name in names}  # type: ignore[attr-defined]
    victims = names[:gone]
    world.model("learned-from-a-victim", ids[victims[0]] + ids[names[-1]], canary[victims[0]])
    world.model("learned-from-others", ids[names[-1]], canary[names[-1]])
    for name in victims:
        world.erase("default", name)
    world.store.close()
    left = everything(world.home)
    assert not [name for name in victims if canary[name].encode() in left or name.encode() in left]
    assert world.verifies()
    world.open()
    rows = rows_from_log(world.store)
    assert len(rows) == events - sum(len(ids[name]) for name in victims)
    assert {row["user_id"] for row in rows} == set(names[gone:])
    assert all(row["context"]["text"] == f"said {canary[row['user_id']]}" for row in rows)
    assert sum(event.metadata.erased for event in world.events(DecisionOutcomeEvent)) == gone
    assert {event.model_id for event in world.events(RetrainTriggeredEvent)} == {"learned-from-a-victim"}
    assert {event.model_id for event in world.events(CertificateRevokedEvent)} == {"learned-from-a-victim"}
    assert {path.name for path in (world.home / "models").iterdir()} == {"learned-from-others"}
    assert [event.subject for event in world.events(SubjectErasedEvent)] == [
        world.store.protection.pseudonym("default", name) for name in victims
    ]


def test_what_is_said_of_an_erasure(world: World) -> None:
    world.store.append([decision("alice"), decision("alice"), decision("bob"), decision("alice", tenant="other")])
    planned = world.erase("default", "alice")
    assert (planned.keys, len(planned.events), planned.readable, planned.models) == (1, 2, 0, {})
    (told,) = world.events(SubjectErasedEvent)
    assert (told.events, told.models, told.metadata.tenant_id) == (2, [], "default")
    assert "alice" not in str(told)
    assert [event.metadata.erased for event in world.events(AgentDecisionEvent)] == [True, True, False, False]


def test_erased_twice_is_erased_once(world: World) -> None:
    world.store.append([decision("alice")])
    world.erase("default", "alice")
    again = plan(world.store, world.home, Erasure("default", "alice"), world.tombstones)
    assert again.is_empty
    world.store.append([decision("alice", "back again")])
    assert [row["context"] for row in rows_from_log(world.store)] == [{"text": "back again"}]
    assert not plan(world.store, world.home, Erasure("default", "alice"), world.tombstones).is_empty


@pytest.mark.parametrize("where", ["before the keys", "before the events"])
def test_an_interrupted_erasure_is_finished(world: World, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store.append([decision("alice")])
    event_id = world.events(AgentDecisionEvent)[0].metadata.event_id
    world.model("m", [event_id], "alice's")

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    target = world.store.protection.keyring if where == "before the keys" else world.store
    with monkeypatch.context() as patch:
        patch.setattr(target, "destroy" if where == "before the keys" else "append", cut)
        with pytest.raises(KeyboardInterrupt):
            world.erase("default", "alice")
    assert world.events(SubjectErasedEvent) == []
    planned = world.erase("default", "alice")
    assert planned.unfinished
    assert (len(world.events(SubjectErasedEvent)), len(list(read_tombstones(world.tombstones)))) == (1, 1)
    assert not (world.home / "models" / "m").exists()
    assert rows_from_log(world.store) == []


@pytest.mark.parametrize("erasure", [{"tenant": "acme"}, {"before": "2024-02-01"}])
@pytest.mark.parametrize("where", ["before the events", "before the files"])
def test_an_interrupted_erasure_of_a_tenant_or_of_days_is_finished(
    world: World, where: str, erasure: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = decision(None, tenant="acme", day="2024-01-31")
    world.store.append([event])
    world.model("m", [event.metadata.event_id], "acme's", tenant="acme")

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "before the events":
            patch.setattr(world.store, "append", cut)
        else:
            patch.setattr(shutil, "rmtree", cut)
        with pytest.raises(KeyboardInterrupt):
            world.erase(**erasure)
    planned = world.erase(**erasure)
    assert planned.unfinished
    assert (set(planned.models), len(planned.events)) == ({"m"}, 1)
    assert not (world.home / "models" / "m").exists()
    assert [e.model_id for e in world.events(CertificateRevokedEvent)] == ["m"]
    assert not plan(world.store, world.home, Erasure(**erasure), world.tombstones).unfinished


def test_a_model_of_another_tenant_that_learned_from_the_data_is_revoked_too(world: World) -> None:
    event = decision("alice", tenant="acme")
    world.store.append([event])
    world.model("m", [event.metadata.event_id], "acme's", tenant="default")
    assert world.erase("acme").models == {"m": "default"}
    assert [e.metadata.tenant_id for e in world.events(CertificateRevokedEvent)] == ["default"]


def test_files_that_come_and_go_meanwhile_do_not_stop_an_erasure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store.append([decision("alice")])
    (world.home / "projections").mkdir()
    remove, calls = shutil.rmtree, []

    def once(path: Path) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise OSError("Directory not empty")  # a gateway made a file in it
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", once)
    world.erase("default", "alice")
    assert not (world.home / "projections").exists()


def test_a_model_without_a_list_of_its_data_is_counted_among_those_that_learned(world: World) -> None:
    world.model("before", None, "")
    world.store.append([decision("alice")])
    world.model("after", None, "", tenant="other")
    assert set(world.erase("default", "alice").models) == {"before"}


def test_files_may_stay_but_the_models_are_marked(world: World) -> None:
    (event,) = [decision("alice")]
    world.store.append([event])
    world.model("m", [event.metadata.event_id], "alice's")
    (world.home.parent / "report.html").write_text("alice's")
    planned = world.erase("default", "alice", keep_files=True)
    assert {path.name for path in planned.files} == {"m", "report.html"}
    assert all(path.exists() for path in planned.files)
    assert world.events(CertificateRevokedEvent) == []
    assert [event.reason for event in world.events(RetrainTriggeredEvent)] == ["subject_erased"]


def test_report_pages_go_with_the_model_that_they_are_about(world: World) -> None:
    event = decision("alice")
    world.store.append([event])
    world.model("m", [event.metadata.event_id], "")
    page = world.home.parent / "report.html"
    page.write_text("alice's")
    world.erase("default", "alice")
    assert not page.exists()


def test_what_is_made_again_from_the_log_goes_too(world: World) -> None:
    world.store.append([decision("alice")])
    (world.home / "projections").mkdir()
    (world.home / "projections" / "x.db").write_text("alice's")
    world.erase("default", "alice", keep_files=True)
    assert not (world.home / "projections").exists()


def test_days_and_tenants_expire_also_where_no_person_is_named(world: World) -> None:
    days = ("2024-01-31", "2024-02-01")
    world.store.append(
        [
            decision(person, f"{day} {person} {tenant}", tenant, day)
            for day in days
            for person in ("alice", None)
            for tenant in ("default", "acme")
        ]
    )
    assert world.erase(before="2024-02-01").keys == 2
    assert sorted(row["context"]["text"] for row in rows_from_log(world.store)) == [
        "2024-02-01 None acme", "2024-02-01 None default", "2024-02-01 alice acme", "2024-02-01 alice default",
    ]  # fmt: skip
    assert len(world.erase("acme").events) == 2
    assert {row["tenant_id"] for row in rows_from_log(world.store)} == {"default"}
    world.store.close()
    assert world.verifies()


def test_what_lies_open_is_said_to_be_out_of_reach(world: World) -> None:
    plain = SqliteEventStore(world.home / "log.db", protection=Protection(world.home / "keys", encrypt=False))
    plain.append([decision("alice", "readable")])
    world.store.append([decision("alice")])
    planned = plan(world.store, world.home, Erasure("default", "alice"), world.tombstones)
    assert (planned.readable, len(planned.events)) == (1, 1)


@pytest.mark.parametrize("erasure", [Erasure(), Erasure(None, "alice"), Erasure(reason="because")])
def test_nobody_is_erased_by_mistake(world: World, erasure: Erasure) -> None:
    with pytest.raises(DataError):
        plan(world.store, world.home, erasure, world.tombstones)


def test_a_keyring_from_before_the_erasure_forgets_again(world: World) -> None:
    world.store.append([decision("alice"), decision("bob")])
    world.store.protection.keyring.copy_to(world.home.parent / "old.db")
    world.erase("default", "alice")
    world.store.append([decision("alice", "after")])
    world.store.protection.persist()
    late = world.store.protection.keyring
    assert erase_again(world.store, world.home, world.tombstones) == []
    assert late.key_for(next(scope for scope, _ in late.scopes() if not scope.is_day)) is not None
    world.store.close()
    late.close()
    shutil.copy(world.home.parent / "old.db", world.home / "keys" / "keyring.db")
    world.open()
    assert [planned.keys for planned in erase_again(world.store, world.home, world.tombstones)] == [1]
    assert [row["user_id"] for row in rows_from_log(world.store)] == ["bob"]
    assert world.events(SubjectErasedEvent)[-1].reason == "a backup was restored"


def test_the_file_of_erasures(tmp_path: Path) -> None:
    file = tmp_path / "erased.jsonl"
    assert list(read_tombstones(file)) == []
    stones = [Tombstone(at="2026-01-01", tenant="t", subject="sub_1"), Tombstone(at="2026-01-02", before="2025-01-01")]
    for stone in stones:
        append_tombstone(file, stone)
    with file.open("ab") as out:
        out.write(b'{"at": "20')
    assert list(read_tombstones(file)) == stones
    append_tombstone(file, later := Tombstone(at="2026-01-03", tenant="t"))  # after a crash cut the line before
    assert list(read_tombstones(file)) == [*stones, later]
    file.write_bytes(b"{}\n")
    with pytest.raises(tombstones.LogError, match="line 1"):
        list(read_tombstones(file))


def _command(world: World, *words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["erase", "--home", str(world.home), *words])
    return int(stop.value.code or 0)


def test_the_command_asks_first_and_can_only_say_what_it_would_do(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = decision("alice")
    world.store.append([event])
    world.model("m", [event.metadata.event_id], "")
    assert _command(world, "--subject", "alice", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "1 events, 1 keys" in out
    assert "model m learned from them" in out
    assert "Nothing was changed" in out
    assert _command(world, "--subject", "alice") != 0  # nobody answers
    assert len(rows_from_log(world.store)) == 1
    assert _command(world, "--subject", "nobody", "--yes") == 0
    assert "nothing to erase" in capsys.readouterr().out
    assert _command(world, "--subject", "alice", "--yes") == 0
    world.store.protection.keyring.refresh(now=True)
    assert rows_from_log(world.store) == []


@pytest.mark.parametrize(
    "words", [["--older-than", "400"], ["--older-than", "999999d"], ["--older-than", "1d", "--subject", "a"], []]
)
def test_the_command_refuses_what_it_does_not_understand(world: World, words: list[str]) -> None:
    world.store.append([decision("alice")])
    assert _command(world, *words, "--yes") == 2
    assert len(rows_from_log(world.store)) == 1


def test_old_days_expire_by_command(world: World) -> None:
    world.store.append([decision(None, day="2020-01-01"), decision(None)])
    assert _command(world, "--older-than", "400d", "--yes") == 0
    world.store.protection.keyring.refresh(now=True)
    assert len(rows_from_log(world.store)) == 1
