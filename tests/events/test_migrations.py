"""A log that an older release wrote is read by this one, without loss."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import apsw
import pytest

from ultracore.distillation.errors import LogError
from ultracore.distillation.events import Event, RetrainTriggeredEvent
from ultracore.distillation.events.sqlite import SqliteEventStore, migrations
from ultracore.distillation.events.sqlite.sql import sql_connection

STORES = Path(__file__).parents[1] / "golden" / "stores"
VERSIONS = sorted(STORES.glob("*.db"))


@pytest.fixture(params=VERSIONS, ids=lambda file: file.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for file in STORES.glob(f"{request.param.name}*"):
        shutil.copy(file, tmp_path / file.name.replace(request.param.name, "log.db"))
    return tmp_path / "log.db"


def golden(file: Path = VERSIONS[0]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def test_every_event_is_there_as_it_was(old: Path) -> None:
    store = SqliteEventStore(old)
    events = list(store.read())
    assert events == [Event.from_dict(value) for value in golden()]
    assert store.append([RetrainTriggeredEvent.record(model_id="m", reason="scheduled")]) == [len(events) + 1]
    store.close()


def test_filters_and_sql_see_what_was_migrated(old: Path) -> None:
    SqliteEventStore(old).close()
    store = SqliteEventStore(old)
    decisions = [value["data"] for value in golden() if value["metadata"]["event_type"] == "AGENT_TOOL_SELECTED"]  # type: ignore[index]
    of_agent = [value for value in decisions if value["agent_id"] == "agent-1"]  # type: ignore[index]
    assert len(list(store.read(agent="agent-1"))) == len(of_agent) > 0
    connection = sql_connection(old)
    payloads = connection.execute("SELECT payload FROM log WHERE type = 'AGENT_TOOL_SELECTED'").fetchall()
    assert [json.loads(text)["tools_available"] for (text,) in payloads] == [d["tools_available"] for d in decisions]  # type: ignore[index]
    connection.close()
    store.close()


def test_a_migration_that_fails_leaves_the_old_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(shutil.copy(STORES / "log.v1.db", tmp_path / "log.db"))
    monkeypatch.setattr(migrations, "_agent", lambda text: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        SqliteEventStore(path)
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == 1
    assert connection.execute("SELECT count(*) FROM events").get == len(golden())
    connection.close()
    monkeypatch.undo()
    store = SqliteEventStore(path)
    assert store.last_position() == len(golden())
    store.close()


def test_an_old_log_that_is_locked_says_so(tmp_path: Path) -> None:
    path = Path(shutil.copy(STORES / "log.v1.db", tmp_path / "log.db"))
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogError, match="locked"):
        SqliteEventStore(path, busy_timeout=0.05)
    other.close()
