"""Learning from what the log holds: the gateway's own decisions, and imported ones only where somebody says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation import loop
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log import import_files
from ultracore.distillation.log.of_log import LogQuery, read_log
from ultracore.distillation.replay import replay, trainings
from ultracore.distillation.teachers.scripted.traces import conversations


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in conversations(10, seed=4)), encoding="utf-8")
    return file


def decision(agent: str, source: str, day: int, **more: Any) -> AgentDecisionEvent:
    event = AgentDecisionEvent.record(agent_id=agent, source=source, tools_available=[{"name": "f"}], **more)
    metadata = msgspec.structs.replace(event.metadata, timestamp=f"2026-11-{day:02}T00:00:00+00:00")
    return msgspec.structs.replace(event, metadata=metadata)


def test_a_query_chooses_by_agent_time_and_origin(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    store.append(
        [
            decision("a", "teacher", 1),
            decision("a", "teacher", 3),
            decision("b", "teacher", 3),
            decision("a", "student", 3),
            decision("a", "import", 3),
        ]
    )

    def found(**query: Any) -> list[tuple[str, str]]:
        return [(row["agent_id"], row["source"]) for row in read_log(store, LogQuery(**query)).rows]

    assert found() == [("a", "teacher"), ("a", "teacher"), ("b", "teacher")]
    assert found(agent="a", since="2026-11-02") == [("a", "teacher")]
    assert found(agent="a", since="2026-11-02", imported=True) == [("a", "teacher"), ("a", "import")]
    assert [problem["n"] for problem in read_log(store, LogQuery(agent="a")).problems] == [1, 1]
    assert "student" in str(read_log(store, LogQuery(agent="a", imported=True)).problems)
    with pytest.raises(DataError, match="agent c since 2026-11-02"):
        found(agent="c", since="2026-11-02")
    store.close()


def test_imported_decisions_are_not_labels_by_themselves(tmp_path: Path, traces: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    import_files([traces], store)
    with pytest.raises(DataError, match="--imported"):
        read_log(store, LogQuery())
    store.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_the_log_teaches_what_the_file_taught_and_is_replayed(tmp_path: Path, traces: Path, processes: int) -> None:
    home = tmp_path / "home"
    from_file = loop.run([traces], home)
    traces.unlink()
    from_log = loop.run(LogQuery(imported=True), home, options=loop.Options(processes=processes))
    assert from_log["model_id"] == from_file["model_id"]
    assert from_log["certificate"] == from_file["certificate"]
    store = open_store(home)
    manifests = list(store.read(types=["DATASET_MANIFEST_RECORDED"]))
    assert len(manifests) == 1, "a list is written once"
    (trained,) = trainings(store)
    assert replay(store, home, trained).reproduced
