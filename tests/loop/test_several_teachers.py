"""Traces of several teachers: one is stood in for, and the others are learned from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ultracore.distillation import loop
from ultracore.distillation.events import CertificateDecidedEvent, TrainingDataCuratedEvent
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.replay import replay, trainings
from ultracore.distillation.report.words import taught
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.teachers.scripted.traces import conversations

SHARED = 4
"""Tasks that both teachers worked on."""


def of(teacher: str, first: int, n: int, seed: int) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(conversations(n, seed=seed), start=first):
        named = {"teacher": teacher, "task": f"task {number}", "episode": f"{teacher} {number}"}
        yield {**line, "metadata": {**line["metadata"], **named}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teachers") / "home"


@pytest.fixture(scope="module")
def result(home: Path) -> dict[str, Any]:
    lines = [*of("older", 20 - SHARED, 12, seed=5), *of("newer", 0, 20, seed=3)]
    traces = home.parent / "traces.jsonl"
    traces.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return loop.run([traces], home, options=loop.Options(seed=1))


def test_the_result_speaks_of_the_teacher_that_is_stood_in_for(result: dict[str, Any]) -> None:
    assert (result["data"]["teacher"], result["data"]["tasks"]) == ("newer", 20)
    held = result["split"]["calibration"] + result["split"]["test"]
    assert result["data"]["others"] == result["split"]["train"] - (result["data"]["decisions"] - held) > 0
    assert f"newer ({result['data']['others']} decisions of others" in taught(result["data"])


def test_others_decisions_about_tasks_held_back_are_left_out_and_it_is_said(result: dict[str, Any]) -> None:
    said = [problem for problem in result["errors"] if "other teachers" in problem["reason"]]
    assert len(said) == 1
    assert "held back" in said[0]["reason"]
    assert said[0]["n"] > 0


def test_the_student_and_its_certificate_name_the_teacher(result: dict[str, Any], home: Path) -> None:
    store = open_store(home)
    assert ModelRegistry(home, store).load(result["model_id"]).teacher == "newer"  # type: ignore[attr-defined]
    (decided,) = store.read(types=[CertificateDecidedEvent.event_type])
    assert isinstance(decided, CertificateDecidedEvent)
    assert decided.certificate["teacher"] == "newer"


def test_the_data_set_lists_what_others_decided(result: dict[str, Any], home: Path) -> None:
    (curated,) = open_store(home).read(types=[TrainingDataCuratedEvent.event_type])
    assert isinstance(curated, TrainingDataCuratedEvent)
    assert curated.parameters["teacher"] == "newer"
    assert curated.source_event_count == result["split"]["train"]


def test_it_is_rebuilt_from_the_log_with_the_same_bytes(result: dict[str, Any], home: Path) -> None:
    store = open_store(home)
    found = replay(store, home, trainings(store)[-1])
    assert {check.what: check.verdict for check in found.checks if check.verdict != "same"} == {}
    assert found.model_id == result["model_id"]
