"""What the log says can be done again from the log alone, and what was altered is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation import replay as module
from ultracore.distillation.agents import DataCuratorAgent, ModelTrainerAgent
from ultracore.distillation.autonomy.backend import CompactBackend
from ultracore.distillation.autonomy.rules import PromotionRules
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import AgentDecisionEvent, AuditRecordedEvent, Event
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log import rows_from_log
from ultracore.distillation.replay import Replay, replay, trainings
from ultracore.distillation.settings import load_settings

Value = dict[str, Any]
Rewritten = Callable[[Callable[[Value], Value | None]], tuple[SqliteEventStore, Path]]


def as_it_was(value: Value) -> Value:
    return value


def verdicts(found: Replay) -> dict[str, str]:
    return {check.what: check.verdict for check in found.checks}


def of_type(name: str, change: Callable[[Value], Value]) -> Callable[[Value], Value]:
    def apply(value: Value) -> Value:
        if value["metadata"]["event_type"] == name:
            value["data"] |= change(value["data"])
        return value

    return apply


def again(rewritten: Rewritten, change: Callable[[Value], Value | None] = as_it_was) -> Replay:
    store, home = rewritten(change)
    (trained,) = trainings(store)
    return replay(store, home, trained)


def test_a_run_is_rebuilt_from_the_log_alone_with_the_same_bytes(rewritten: Rewritten, run: Any) -> None:
    found = again(rewritten)
    assert found.environment == []
    assert [check.what for check in found.checks] == [
        "data set", "files at hand", "model", "decisions", "certificate", "verdict",
    ]  # fmt: skip
    assert set(verdicts(found).values()) == {"same"}
    assert found.model_id == run.result["model_id"]
    assert found.reproduced


def test_neither_the_log_nor_the_home_is_changed(rewritten: Rewritten) -> None:
    store, home = rewritten(as_it_was)
    before = store.last_position(), sorted(home.rglob("*"))
    replay(store, home, trainings(store)[0])
    assert (store.last_position(), sorted(home.rglob("*"))) == before


def test_a_tampered_artefact_is_found(rewritten: Rewritten, monkeypatch: pytest.MonkeyPatch) -> None:
    store, home = rewritten(as_it_was)
    (trained,) = trainings(store)
    monkeypatch.setattr(module, "_model_checks", lambda *_: iter(()))  # tested above
    weights = home / "models" / trained.model_id / "weights.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[len(raw) // 2] ^= 1
    weights.write_bytes(raw)
    found = replay(store, home, trained)
    assert verdicts(found)["files at hand"] == "different"
    assert "weights.safetensors" in found.checks[1].note
    assert not found.reproduced


def test_a_changed_seed_is_found(rewritten: Rewritten) -> None:
    found = again(rewritten, of_type("MODEL_TRAINED", lambda data: {"seed": data["seed"] + 1}))
    assert verdicts(found)["model"] == "different"
    assert not found.reproduced


def renamed(kernel: str | None) -> Callable[[Value], Value | None]:
    """The model as if its bytes had come out otherwise: here, or on a machine with another BLAS kernel."""

    def environment(data: Value) -> Value:
        blas = [{**library, "kernel": kernel or library["kernel"]} for library in data["environment"]["blas"]]
        return {"environment": {**data["environment"], "blas": blas}}

    def change(value: Value) -> Value | None:
        value = of_type("MODEL_TRAINED", environment)(value)
        if value["metadata"]["aggregate_type"] == "model":
            value["metadata"]["aggregate_id"] = value["data"]["model_id"] = "another"
        return value

    return change


def test_elsewhere_identical_decisions_are_enough_and_said(rewritten: Rewritten) -> None:
    found = again(rewritten, renamed("Haswell-1"))
    assert (verdicts(found)["model"], verdicts(found)["decisions"]) == ("identical decisions", "same")
    assert any("Haswell-1" in line for line in found.environment)
    assert found.reproduced


def test_in_the_same_environment_only_the_same_bytes_are(rewritten: Rewritten) -> None:
    found = again(rewritten, renamed(None))
    assert found.environment == []
    assert (verdicts(found)["model"], verdicts(found)["decisions"]) == ("different", "same")
    assert not found.reproduced


def test_a_release_that_splits_otherwise_uses_the_manifest(
    rewritten: Rewritten, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_model_checks", lambda *_: iter(()))
    monkeypatch.setattr("ultracore.distillation.train.parts.WITHOUT_TEST", (0.2, 0.4, 0.4))
    assert verdicts(again(rewritten))["data set"] == "different", "nothing explains it"
    monkeypatch.setattr(module, "environment", lambda: {"source": "another"})
    found = again(rewritten)
    assert (found.checks[0].verdict, "manifest" in found.checks[0].note) == ("same", True)


def test_what_the_agents_trained_is_rebuilt_too(tmp_path: Path) -> None:
    def row(i: int) -> Value:
        name = ("track", "cancel")[i % 2]
        return {"tools_available": [{"name": "track"}, {"name": "cancel"}], "tool_selected": name,
                "tool_parameters": {"order": i}, "context": {"said": f"{name} order {i}"}}  # fmt: skip

    store = SqliteEventStore(tmp_path / "log.db")
    store.append([AgentDecisionEvent.record(agent_id="a", **row(i)) for i in range(110)])
    settings = load_settings(home=str(tmp_path))
    curator, trainer = (cls(store=store, settings=settings) for cls in (DataCuratorAgent, ModelTrainerAgent))
    curated = asyncio.run(curator.execute({"raw_decisions": rows_from_log(store)}))
    asyncio.run(trainer.execute({"training_data": curated}))
    found = replay(store, tmp_path, trainings(store)[0])
    assert set(verdicts(found).values()) == {"same"}
    assert "manifest" in found.checks[0].note
    store.close()


def test_what_learned_from_audits_is_rebuilt_from_the_teachers_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decision(i: int) -> list[Event]:
        right, wrong = (("track", "cancel"), ("cancel", "track"))[i % 2]
        is_sent = i % 3 == 0
        said = wrong if is_sent else right
        made = AgentDecisionEvent.record(
            agent_id="a", session_id=f"s{i}", source="student" if is_sent else "teacher", tool_selected=said,
            tools_available=[{"name": "track"}, {"name": "cancel"}], tool_parameters={"order": i},
            tool_calls=[{"name": said, "arguments": {"order": i}}], context={"said": f"{right} order {i}"},
            label_probability=1.0 if is_sent else 0.5, teacher_model="t",
        )  # fmt: skip
        audit = AuditRecordedEvent.record(
            decision_id=made.metadata.event_id, model_id="m", action=wrong, agrees=False, sampling_probability=0.25,
            teacher_calls=[{"name": right, "arguments": {"order": i}}],
        )  # fmt: skip
        return [made, audit] if is_sent else [made]

    store = open_store(tmp_path)
    store.append([event for i in range(110) for event in decision(i)])
    store.close()
    shop = CompactBackend(tmp_path, load_settings(home=str(tmp_path)), PromotionRules())
    shop.train()
    trained = trainings(shop.store)[0]
    found = replay(shop.store, tmp_path, trained)
    assert set(verdicts(found).values()) == {"same"}
    monkeypatch.setattr(module, "audits_of", lambda *_, **__: {})
    without = replay(shop.store, tmp_path, trained)
    shop.store.close()
    assert [(check.what, check.verdict) for check in without.checks] == [("data set", "not possible")]
    assert "37 answer(s) of a student" in without.checks[0].note


DATA_FAULTS: list[tuple[str, Callable[[Value], Value | None], str]] = [
    ("seed of the split", of_type("TRAINING_DATA_CURATED", lambda data: {"seed": data["seed"] + 1}), "different"),
    ("a part", of_type("DATASET_MANIFEST_RECORDED", lambda d: {"parts": ["other", *d["parts"][1:]]}), "different"),
    ("a weight", of_type("DATASET_MANIFEST_RECORDED", lambda d: {"weights": [9.0, *d["weights"][1:]]}), "different"),
    ("what was said", of_type("AGENT_TOOL_SELECTED", lambda data: {"tool_calls": []}), "different"),
    ("the hash", of_type("TRAINING_DATA_CURATED", lambda data: {"content_hash": "0" * 64}), "different"),
    ("no manifest", lambda v: None if v["metadata"]["event_type"].startswith("DATASET") else v, "not possible"),
]


@pytest.mark.parametrize(("fault", "change", "verdict"), DATA_FAULTS, ids=[fault for fault, _, _ in DATA_FAULTS])
def test_a_falsified_data_set_is_found(
    rewritten: Rewritten, monkeypatch: pytest.MonkeyPatch, fault: str, change: Any, verdict: str
) -> None:
    monkeypatch.setattr(module, "_model_checks", lambda *_: iter(()))
    assert verdicts(again(rewritten, change))["data set"] == verdict


def test_a_dropped_source_event_is_named(rewritten: Rewritten) -> None:
    dropped: list[str] = []

    def drop_the_fifth(value: Value) -> Value | None:
        metadata = value["metadata"]
        if metadata["event_type"] != "AGENT_TOOL_SELECTED" or metadata["position"] != 5:
            return value
        dropped.append(metadata["event_id"])
        return None

    found = again(rewritten, drop_the_fifth)
    assert verdicts(found) == {"data set": "different"}
    assert dropped[0] in found.checks[0].note


class Erased:
    """A log in which a person was erased: one decision is there, but cannot be read."""

    def __init__(self, store: SqliteEventStore, position: int) -> None:
        self.store, self.position = store, position

    def read(self, **filters: Any) -> Iterator[Event]:
        for event in self.store.read(**filters):
            is_it = event.metadata.position == self.position
            metadata = msgspec.structs.replace(event.metadata, erased=True)
            yield msgspec.structs.replace(event, metadata=metadata, context={}) if is_it else event


def test_erased_decisions_cannot_be_replayed_and_it_is_said(rewritten: Rewritten) -> None:
    store, home = rewritten(as_it_was)
    found = replay(Erased(store, 5), home, trainings(store)[0])  # type: ignore[arg-type]
    assert verdicts(found) == {"data set": "not possible"}
    assert "1 source decision(s) were erased" in found.checks[0].note
    assert not found.reproduced


def test_an_unknown_model_and_an_empty_log_say_what_to_do(tmp_path: Path, rewritten: Rewritten) -> None:
    with pytest.raises(DataError, match="distill run"):
        trainings(SqliteEventStore(tmp_path / "log.db"))
    store, _ = rewritten(as_it_was)
    with pytest.raises(DataError, match="no training of model m"):
        trainings(store, "m")
