"""`distill log`: what a person sees who debugs at night."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from ultracore.distillation.events import (
    AgentDecisionEvent,
    AlertRaisedEvent,
    AuditRecordedEvent,
    CertificateDecidedEvent,
    DatasetManifestEvent,
    DecisionOutcomeEvent,
    Event,
    ModelDeployedEvent,
    ModelRejectedEvent,
    ModelTrainedEvent,
    TracesImportedEvent,
    TrainingDataCuratedEvent,
)
from ultracore.distillation.events.opening import open_store


def story() -> list[Event]:
    """An import, a model learned from it, a call that it served, its outcome and its audit; an alert elsewhere."""
    sources: list[Event] = [
        AgentDecisionEvent.record(
            event_id=f"source-{i}", agent_id="support", source="import", correlation_id="file-1", tool_selected="track",
            tool_parameters={"order": i}, teacher_model="gpt",
        )
        for i in range(5)
    ]  # fmt: skip
    read = TracesImportedEvent.record(data_id="file-1", file_name="t.jsonl", decisions=5, duplicates=0)
    ids = [event.metadata.event_id for event in sources]
    manifest = DatasetManifestEvent.record(
        dataset_id="data-1", chunk=1, chunks=1, event_ids=ids, parts=["train"] * 5, weights=[1.0] * 5
    )
    curated = TrainingDataCuratedEvent.record(
        dataset_id="data-1", source_event_count=5, curated_count=5, deduplication_rate=0.0, cluster_count=0
    )
    trained = ModelTrainedEvent.record(
        model_id="model-1", model_name="compact", dataset_id="data-1", decisions=5, episodes=5, training_seconds=1.0,
        seed=0, causation_id=curated.metadata.event_id,
    )  # fmt: skip
    decided = CertificateDecidedEvent.record(
        model_id="model-1", certified=True, certificate={"target": 0.93, "coverage": 0.24},
        causation_id=trained.metadata.event_id,
    )  # fmt: skip
    deployed = ModelDeployedEvent.record(
        model_id="model-1", model_name="compact", model_size=1, accuracy_vs_teacher=0.97, latency_ms=3.0,
        cost_per_request_usd=0.0, training_duration_hours=0.1, causation_id=decided.metadata.event_id,
    )  # fmt: skip
    served = AgentDecisionEvent.record(
        event_id="served-1", agent_id="support", source="student", tool_selected="track", tool_parameters={"order": 9},
        confidence=0.97, serving={"model_id": "model-1", "reason": "sent"},
    )  # fmt: skip
    outcome = DecisionOutcomeEvent.record(decision_id="served-1", success=True, causation_id="served-1")
    audit = AuditRecordedEvent.record(
        decision_id="served-1", model_id="model-1", action="track", agrees=True, sampling_probability=0.05,
        causation_id="served-1",
    )  # fmt: skip
    alert = AlertRaisedEvent.record(
        alert_id="a", name="latency", severity="page", message="slow\x1b[31m", tenant_id="acme"
    )
    return [*sources, read, manifest, curated, trained, decided, deployed, served, outcome, audit, alert]


@pytest.fixture
def log(home: Path) -> Any:
    store = open_store(home)
    store.append(story())
    return store


def test_tail_tells_in_words_and_sends_no_escape_codes(distill: Any, log: Any) -> None:
    lines = distill("log", "tail", "-n", 4).out.splitlines()
    assert [line.split()[0] for line in lines] == ["12", "13", "14", "15"]
    assert "support: the student called track(order=9) (confidence 0.97, model model-1)" in lines[0]
    assert "[acme] page latency: slow\\x1b[31m" in lines[3]
    assert "\x1b" not in "".join(lines)


def test_tail_finds_what_is_wanted_from_the_end(distill: Any, log: Any) -> None:
    log.append([AgentDecisionEvent.record(agent_id="other") for _ in range(1000)])
    assert [line.split()[0] for line in distill("log", "tail", "--agent", "support", "-n", 2).out.splitlines()] == [
        "5",
        "12",
    ]
    assert len(distill("log", "tail", "--type", "model-trained", "--type", "ALERT_RAISED").out.splitlines()) == 2
    assert len(distill("log", "tail", "--tenant", "acme").out.splitlines()) == 1
    assert distill("log", "tail", "--since", "2999-01-01").out == ""
    assert distill("log", "tail", "-n", 0).out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--type", "NOPE"), "there are: AGENT"), (("--since", "yesterday"), "not a time")],
)
def test_a_filter_that_means_nothing_is_an_error(distill: Any, log: Any, words: tuple[str, str], message: str) -> None:
    outcome = distill("log", "tail", *words)
    assert outcome.code == 2
    assert message in outcome.err


def test_follow_goes_on_until_it_is_interrupted(log: Any, home: Path) -> None:
    words = [sys.executable, "-c", "from ultracore.distillation.cli import main; main()", "log", "tail", "-f"]
    process = subprocess.Popen(
        [*words, "-n", "1", "--type", "ALERT_RAISED", "--home", str(home)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert "latency" in process.stdout.readline()
    log.append([AgentDecisionEvent.record(agent_id="other")])
    log.append([AlertRaisedEvent.record(alert_id="b", name="drift", severity="warn", message="drifts")])
    assert "warn drift" in process.stdout.readline()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    process.stdout.close()


@pytest.mark.parametrize("key", ["12", "served-1"])
def test_show_prints_an_event_by_position_or_id(distill: Any, log: Any, key: str) -> None:
    out = distill("log", "show", key).out
    assert '"event_id": "served-1"' in out
    assert json.loads(distill("log", "show", key, "--json").out)["metadata"]["position"] == 12


@pytest.mark.parametrize("key", ["99", "0", "9" * 20, "9" * 5000, "no-such-id"])
def test_what_is_not_there_is_an_error(distill: Any, log: Any, key: str) -> None:
    outcome = distill("log", "show", key)
    assert outcome.code == 2
    assert "distill log tail" in outcome.err


def positions(text: str) -> list[int]:
    return [int(place) for place in re.findall(r"^ *(\d+)  20\d\d-", text, re.M)]


def test_a_served_call_is_traced_to_the_decisions_it_was_learned_from(distill: Any, log: Any) -> None:
    out = distill("log", "show", "served-1", "--trace").out
    because, then = out.split("and then")
    assert positions(because) == [12, 11, 10, 9, 8, 7, 1, 2, 3, 6]
    assert "5 source decisions of 5 are in the log, 2 more than shown" in because
    assert "5 of them came with it" in because
    assert positions(then) == [13, 14]


def test_a_source_decision_is_traced_to_the_calls_that_came_of_it(distill: Any, log: Any) -> None:
    other = DatasetManifestEvent.record(
        dataset_id="data-2", chunk=1, chunks=1, event_ids=["elsewhere"], parts=["train"], weights=[1.0]
    )
    by_another = AgentDecisionEvent.record(agent_id="support", source="student", serving={"model_id": "model-2"})
    log.append([other, by_another])
    because, then = distill("log", "show", 1, "--trace").out.split("and then")
    assert positions(because) == [1, 6]
    assert positions(then) == [7, 9, 10, 11, 12]
    assert "1 calls sent by this model since" in then


def test_the_same_model_of_another_tenant_is_another(distill: Any, log: Any) -> None:
    theirs = AgentDecisionEvent.record(
        agent_id="support", source="student", tenant_id="acme", serving={"model_id": "model-1"}
    )
    log.append([theirs])
    _, then = distill("log", "show", 11, "--trace").out.split("and then")
    assert "1 calls sent by this model since" in then
    because, _ = distill("log", "show", theirs.metadata.event_id, "--trace").out.split("and then")
    assert "nothing that the log knows" in because


def test_an_outcome_is_traced_over_its_decision(distill: Any, log: Any) -> None:
    because, _ = distill("log", "show", 13, "--trace").out.split("and then")
    assert positions(because)[:3] == [13, 12, 11]


def test_models_now_and_then(distill: Any, log: Any) -> None:
    now = distill("log", "models").out
    assert "->" in now
    assert "deployed" in now
    then = distill("log", "models", "--as-of", 10).out
    assert "certified" in then
    assert "None of them answers" in then
    assert "knew no model" in distill("log", "models", "--as-of", "2020-01-01").out
    (model,) = map(json.loads, distill("log", "models", "--json").out.splitlines())
    assert (model["model_id"], model["active"], model["dataset_id"]) == ("model-1", True, "data-1")


def test_what_was_not_certified_promises_nothing(distill: Any, log: Any) -> None:
    def decided(model: str, certified: bool) -> Event:
        certificate = {"target": 0.975, "coverage": 0.2}
        return CertificateDecidedEvent.record(model_id=model, certified=certified, certificate=certificate)

    rejected = ModelRejectedEvent.record(model_id="model-2", reason="too few tasks")
    log.append([decided("model-2", False), rejected, decided("model-3", True)])
    rows = {line.split()[0]: line for line in distill("log", "models").out.splitlines()}
    assert "rejected" in rows["model-2"]
    assert "%" not in rows["model-2"]
    assert "97.5%, sends 20.0%" in rows["model-3"]
    assert "certified at 97.5%" in distill("log", "tail", "-n", 1).out


def test_stats_count_each_event_once_however_often_they_are_asked(distill: Any, log: Any) -> None:
    assert "15 events" in distill("log", "stats").out
    log.append([DecisionOutcomeEvent.record(decision_id="x", success=False, status="error")])
    again = distill("log", "stats").out
    assert "16 events" in again
    rows = [" ".join(line.split()) for line in again.splitlines()]
    assert any("error 1 20" in row for row in rows)
    assert any("student sent 1 20" in row for row in rows)
    assert "5 events" in distill("log", "stats", "--as-of", 5).out
    assert "1 events" in distill("log", "stats", "--tenant", "acme").out
    assert "6 events" in distill("log", "stats", "--agent", "support").out


@pytest.mark.parametrize(("name", "read"), [("e.jsonl", bytes), ("e.jsonl.gz", gzip.decompress), ("e.jsonl.zst", None)])
def test_export_writes_whole_events(distill: Any, log: Any, tmp_path: Path, name: str, read: Any) -> None:
    file = tmp_path / name
    assert "15 events" in distill("log", "export", "--to", file).out
    raw = (
        zstandard.ZstdDecompressor().stream_reader(file.read_bytes()).read()
        if read is None
        else read(file.read_bytes())
    )
    assert [Event.from_dict(json.loads(line)) for line in raw.splitlines()] == list(log.read())
    assert "3 events" in distill("log", "export", "--to", file, "--agent", "support", "--as-of", 3).out


def test_an_export_that_fails_leaves_no_file(distill: Any, log: Any, tmp_path: Path) -> None:
    outcome = distill("log", "export", "--to", tmp_path / "e.jsonl", "--type", "NOPE")
    assert outcome.code == 2
    assert [path.name for path in tmp_path.iterdir() if "e.jsonl" in path.name] == []


def test_sql_reads_and_never_writes(distill: Any, log: Any) -> None:
    query = "SELECT payload ->> 'reason' AS why, position FROM log WHERE type = 'AGENT_TOOL_SELECTED' AND position = 12"
    assert json.loads(distill("log", "sql", query, "--json").out) == {"why": None, "position": 12}
    assert "track" in distill("log", "sql", "SELECT payload ->> 'tool_selected' FROM log WHERE position = 12").out
    no_position = "SELECT payload('one') FROM log"
    for wrong in ("", "DELETE FROM events", "SELECT 1; DROP TABLE events", "SELECT nope", "nonsense", no_position):
        outcome = distill("log", "sql", wrong)
        assert outcome.code == 2
        assert "Traceback" not in outcome.err
    assert distill("log", "sql", "SELECT * FROM events WHERE 0").code == 0
    assert log.last_position() == 15
