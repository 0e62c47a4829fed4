from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation import loop
from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.students.mix import Mix
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.teachers.scripted.traces import conversations

Result = dict[str, Any]


def write(file: Path, lines: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def result(folder: Path, said: list[str]) -> Result:
    """One run on 26 conversations."""
    traces = write(folder / "traces.jsonl", list(conversations(26, seed=3)))
    return loop.run([traces], folder / "home", options=loop.Options(price_per_call=0.01), say=said.append)


def test_result_has_every_promised_key(result: Result) -> None:
    assert {"id", "decisions", "episodes", "tasks", "teacher"} <= set(result["data"])
    assert {"tool", "whole_call", "pairs"} <= set(result["ceiling"])
    agreements = {"whole_call", "whole_call_tolerant", "tool", "call_or_reply", "whole_call_on_calls"}
    assert agreements | {"n", "episodes", "interval", "ece"} <= set(result["test"])
    assert set(result["baselines"]) == {"majority", "nearest_neighbour", "tfidf_logistic_regression"}
    assert set(result["levels"]) == {"0.93", "0.95", "0.98"}
    figures = {"coverage", "agreement", "n", "calls_saved", "certified", "certified_coverage", "certified_agreement"}
    assert all(figures | {"by_action"} <= set(level) for level in result["levels"].values())
    assert {"p50", "p99"} <= set(result["latency_ms"])
    assert {"train_seconds", "versions", "savings", "recurring", "per_tool", "split"} <= set(result)


def test_result_is_plain_json(result: Result) -> None:
    assert json.loads(json.dumps(result))["data"] == result["data"]


def test_stages_are_announced_and_counted(result: Result, said: list[str]) -> None:
    assert len(said) == loop.STAGES


def test_parts_hold_every_decision_once(result: Result) -> None:
    split = result["split"]
    assert split["train"] + split["calibration"] + split["test"] == result["data"]["decisions"]


def test_student_learned_something(result: Result) -> None:
    assert result["test"]["tool"] > result["baselines"]["majority"]["tool"]


def test_learning_curve_ends_with_the_whole_training(result: Result) -> None:
    tasks = [point["tasks"] for point in result["learning_curve"]]
    assert len(tasks) == 3
    assert tasks == sorted(tasks)


def test_the_facts_are_in_the_log_in_their_order(result: Result, folder: Path) -> None:
    types = [event.event_type for event in open_store(folder / "home").read()]
    facts = [name for name in types if name != "AGENT_TOOL_SELECTED"]
    verdict = "MODEL_DEPLOYED" if result["certificate"]["certified"] else "MODEL_REJECTED"
    first = ["TRACES_IMPORTED", "DATASET_MANIFEST_RECORDED", "TRAINING_DATA_CURATED"]
    assert facts[:7] == [*first, "MODEL_TRAINED", "MODEL_EVALUATED", "CERTIFICATE_DECIDED", verdict]


def test_the_evaluation_holds_the_mix_that_later_drift_is_measured_against(result: Result, folder: Path) -> None:
    evaluated = next(iter(open_store(folder / "home").read(types=["MODEL_EVALUATED"])))
    mix = msgspec.convert(evaluated.metrics["reference_mix"], Mix)
    assert mix.decisions == result["split"]["calibration"]
    assert evaluated.metrics["cost_per_request_usd"] == 0.0, "no price was set"
    assert evaluated.decisions == result["test"]["n"]


def test_each_fact_names_its_cause(result: Result, folder: Path) -> None:
    events = [e.metadata for e in open_store(folder / "home").read() if e.event_type != "AGENT_TOOL_SELECTED"]
    curated, trained, evaluated, decided, verdict = events[2:7]
    assert [trained.causation_id, decided.causation_id, verdict.causation_id] == [
        curated.event_id,
        trained.event_id,
        decided.event_id,
    ]
    assert evaluated.causation_id == trained.event_id


def test_a_negative_price_is_refused_before_any_work(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="machine_usd_per_hour"):
        loop.run([], folder / "none", options=loop.Options(machine_usd_per_hour=-1.0))
    assert not (folder / "none").exists()


def test_few_conversations_are_refused_with_numbers(result: Result, folder: Path) -> None:
    assert not result["certificate"]["certified"]
    assert result["certificate"]["reason"]
    assert ModelRegistry(folder / "home", open_store(folder / "home")).active() is None


def test_the_published_student_is_the_one_in_the_result(result: Result, folder: Path) -> None:
    registry = ModelRegistry(folder / "home", open_store(folder / "home"))
    assert registry.load(result["model_id"]).model_id == result["model_id"]


@pytest.fixture(scope="module")
def again(result: Result, folder: Path) -> Result:
    """The same file once more, with a test file that shares half of its tasks, in two processes."""
    lines = [json.loads(line) for line in (folder / "traces.jsonl").read_text(encoding="utf-8").splitlines()]
    test = write(folder / "test.jsonl", lines[:5] + list(conversations(8, seed=9, policy="2026")))
    return loop.run([folder / "traces.jsonl"], folder / "home", test=[test], options=loop.Options(processes=2))


def test_a_second_run_imports_nothing_anew(again: Result, result: Result, folder: Path) -> None:
    store = open_store(folder / "home")
    imported = Counter(event.data_id for event in store.read(types=["TRACES_IMPORTED"]))
    assert imported[result["data"]["id"]] == 1
    assert again["data"]["decisions"] == result["data"]["decisions"]


def test_tasks_in_training_are_left_out_of_the_test_file(again: Result) -> None:
    problems = [problem["reason"] for problem in again["errors"]]
    assert any("also in training" in reason for reason in problems)
    assert again["split"]["train"] + again["split"]["calibration"] == again["data"]["decisions"]


def test_a_grown_file_is_learned_from_as_a_whole(result: Result, folder: Path) -> None:
    from ultracore.distillation.log.of_files import read_traces

    store = open_store(folder / "home")
    before = (folder / "traces.jsonl").read_text(encoding="utf-8")
    grown = folder / "grown.jsonl"
    grown.write_text(before + json.dumps(next(conversations(1, seed=77))) + "\n", encoding="utf-8")
    found = read_traces([grown], store)
    assert found.report.duplicates == result["data"]["decisions"]
    assert len(found.decisions) == found.report.duplicates + found.report.decisions
    assert found.kind == "synthetic"


def test_a_test_file_of_known_tasks_only_is_an_error(folder: Path, result: Result) -> None:
    traces = folder / "traces.jsonl"
    with pytest.raises(DataError, match="nothing is left to test on"):
        loop.run([traces], folder / "home", test=[traces])


def test_too_few_tasks_are_an_error_that_says_so(folder: Path) -> None:
    few = write(folder / "few.jsonl", list(conversations(3, seed=5)))
    with pytest.raises(DataError, match="at least 4"):
        loop.run([few], folder / "other-home")
