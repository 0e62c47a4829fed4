"""A projection sees every event once, in order, whatever is killed; built again it is the same; its past can be asked."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

from ultracore.distillation.errors import LogError
from ultracore.distillation.events import Event, RetrainTriggeredEvent, SessionStartedEvent
from ultracore.distillation.events.moment import known_at, parse_moment
from ultracore.distillation.events.projection import Projector, project
from ultracore.distillation.events.sqlite import SqliteEventStore


class Reasons:
    """Positions in the order in which they came, and how often each reason did."""

    name = "reasons"
    version = 1
    types: Any = ("RETRAIN_TRIGGERED",)
    schema = "CREATE TABLE seen (position INT); CREATE TABLE reasons (reason TEXT PRIMARY KEY, n INT)"

    def apply(self, event: Event, state: apsw.Connection) -> None:
        state.execute("INSERT INTO seen VALUES (?)", (event.metadata.position,))
        sql = "INSERT INTO reasons VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1"
        state.execute(sql, (event.to_dict()["data"]["reason"],))


def retrain(n: int, hour: int = 0, reason: str = "scheduled") -> list[Event]:
    value = RetrainTriggeredEvent.record(model_id="m", reason=reason).to_dict()
    value["metadata"]["timestamp"] = f"2026-11-01T{hour:02}:00:00+00:00"
    return [
        Event.from_dict({**value, "metadata": {**value["metadata"], "event_id": os.urandom(8).hex()}}) for _ in range(n)
    ]


def seen(state: apsw.Connection) -> list[int]:
    return [position for (position,) in state.execute("SELECT position FROM seen ORDER BY rowid")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteEventStore]:
    store = SqliteEventStore(tmp_path / "log.db")
    yield store
    store.close()


@pytest.fixture
def projector(store: SqliteEventStore, tmp_path: Path) -> Iterator[Projector]:
    projector = Projector(store, Reasons(), tmp_path / "state" / "reasons.db")
    yield projector
    projector.close()


def test_what_is_new_is_applied_once(store: SqliteEventStore, projector: Projector) -> None:
    assert projector.catch_up() == 0
    store.append([*retrain(3), SessionStartedEvent.record(session_id="s", agent_id="a"), *retrain(2)])
    assert projector.catch_up() == projector.catch_up() == 6
    store.append([SessionStartedEvent.record(session_id="t", agent_id="a")])
    assert projector.catch_up() == 7
    assert seen(projector.state) == [1, 2, 3, 5, 6]


def test_more_than_one_batch(store: SqliteEventStore, projector: Projector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultracore.distillation.events.projection.BATCH", 4)
    store.append(retrain(12))
    assert projector.catch_up() == 12
    assert seen(projector.state) == list(range(1, 13))


def test_an_event_that_cannot_be_applied_changes_nothing(store: SqliteEventStore, tmp_path: Path) -> None:
    class Fails(Reasons):
        def apply(self, event: Event, state: apsw.Connection) -> None:
            super().apply(event, state)
            if event.metadata.position == 3:
                raise ZeroDivisionError

    store.append(retrain(3))
    projector = Projector(store, Fails(), tmp_path / "state.db")
    with pytest.raises(ZeroDivisionError):
        projector.catch_up()
    assert projector.state.execute("SELECT count(*) FROM sqlite_schema").get == 0
    projector.close()


def test_several_processes_apply_each_event_once(store: SqliteEventStore, projector: Projector) -> None:
    other = Projector(store, Reasons(), projector.path)
    for _ in range(20):
        store.append(retrain(1))
        other.catch_up()
        store.append(retrain(1))
        projector.catch_up()
    assert seen(projector.state) == list(range(1, 41))
    other.close()


def test_threads_apply_each_event_once(store: SqliteEventStore, projector: Projector) -> None:
    store.append(retrain(1))
    projector.catch_up()

    def work() -> None:
        mine = Projector(store, Reasons(), projector.path)
        for _ in range(30):
            store.append(retrain(3))
            mine.catch_up()
        mine.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    assert seen(projector.state) == list(range(1, 362))


def test_one_that_is_behind_does_not_set_the_position_back(store: SqliteEventStore, projector: Projector) -> None:
    store.append(retrain(5))
    projector.catch_up()
    projector._step(2)
    assert projector.catch_up() == 5
    assert seen(projector.state) == [1, 2, 3, 4, 5]


def test_another_version_or_another_log_is_built_again(store: SqliteEventStore, projector: Projector) -> None:
    store.append(retrain(4))
    projector.catch_up()
    projector.projection.version = 2
    projector.state.execute("DELETE FROM seen")
    projector.catch_up()
    assert seen(projector.state) == [1, 2, 3, 4]
    shorter = SqliteEventStore(projector.path.parent / "older.db")
    shorter.append(retrain(2))
    projector.store = shorter
    assert projector.catch_up() == 2
    shorter.append(retrain(2))
    projector.store = store  # as long, but not the same
    projector.catch_up()
    assert project(store, Reasons()).execute("SELECT * FROM seen").fetchall() == [(n,) for n in (1, 2, 3, 4)]
    assert seen(projector.state) == [1, 2, 3, 4]
    shorter.close()


def test_a_foreign_file_is_left_alone(store: SqliteEventStore, tmp_path: Path) -> None:
    foreign = apsw.Connection(str(tmp_path / "foreign.db"))
    foreign.execute("CREATE TABLE precious (x)")
    projector = Projector(store, Reasons(), tmp_path / "foreign.db")
    with pytest.raises(LogError, match="no projection"):
        projector.catch_up()
    assert foreign.execute("SELECT count(*) FROM precious").get == 0
    projector.close()


def test_a_file_that_cannot_be_made_says_what_to_do(store: SqliteEventStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="built again"):
        Projector(store, Reasons(), tmp_path / "file" / "state.db")


@pytest.mark.parametrize(
    ("moment", "known"), [(None, 6), (0, 0), (4, 4), (99, 6), ("2026-11-01T02:00:00+00:00", 4), ("2026-10-31", 0)]
)
def test_any_moment_of_the_past(store: SqliteEventStore, moment: Any, known: int) -> None:
    for hour in (1, 2, 3):
        store.append(retrain(2, hour))
    assert seen(project(store, Reasons(), moment)) == list(range(1, known + 1))


def test_moments_are_positions_or_times() -> None:
    assert parse_moment(None) is None
    assert parse_moment("17") == 17
    assert known_at(parse_moment("2026-11-01")) == {"until_time": parse_moment("2026-11-01")}


CATCH_UP = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from test_projection import Projector, Reasons, SqliteEventStore
store = SqliteEventStore(Path({log!r}))
projector = Projector(store, Reasons(), Path({state!r}))
print("ready", flush=True)
while True:
    projector.catch_up()
"""


def killed(tmp_path: Path, times: int) -> None:
    log, state = tmp_path / "log.db", tmp_path / "state.db"
    script = CATCH_UP.format(folder=str(Path(__file__).parent), log=str(log), state=str(state))
    store, draw = SqliteEventStore(log), random.Random(5)
    for _ in range(times):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        until = time.monotonic() + draw.random() * 0.05
        while time.monotonic() < until:
            store.append(retrain(draw.randrange(1, 40), reason=draw.choice("abc")))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    projector = Projector(store, Reasons(), state)
    projector.catch_up()
    assert seen(projector.state) == list(range(1, store.last_position() + 1))
    projector.export(tmp_path / "survived.db")
    projector.rebuild()
    projector.export(tmp_path / "rebuilt.db")
    assert (tmp_path / "survived.db").read_bytes() == (tmp_path / "rebuilt.db").read_bytes()
    projector.close()
    store.close()


def test_a_kill_skips_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    killed(tmp_path, 4)


@pytest.mark.slow
def test_many_kills_skip_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    killed(tmp_path, 100)
