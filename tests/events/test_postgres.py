"""The log in PostgreSQL keeps its promises when servers crash, connections break and many write at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest
from benchmarks.postgres_server import PostgresServer

from ultracore.distillation.errors import ConcurrencyError, LogError, LogUnavailableError
from ultracore.distillation.events import AgentDecisionEvent, Event, Expected, RetrainTriggeredEvent
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.postgres import schema
from ultracore.distillation.events.postgres import writer as writing
from ultracore.distillation.events.postgres.connection import connect
from ultracore.distillation.events.postgres.store import PostgresEventStore


def fact(event_id: str | None = None) -> Event:
    return AgentDecisionEvent.record(agent_id="a", event_id=event_id, context={"text": "where is my parcel " * 9})


def ids_of(store: PostgresEventStore) -> list[str]:
    rows = list(store.rows())
    assert [position for position, _ in rows] == list(range(1, len(rows) + 1))
    return [row.event_id for _, row in rows]


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREAMBLE + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(process: subprocess.Popen[str]) -> str:
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


PREAMBLE = """
import sys
from ultracore.distillation.errors import ConcurrencyError, LogError
from ultracore.distillation.events import AgentDecisionEvent, Expected, RetrainTriggeredEvent
from ultracore.distillation.events.postgres.store import PostgresEventStore
url, n = sys.argv[1], int(sys.argv[2])
def fact():
    return AgentDecisionEvent.record(agent_id="a")
"""

WRITE = """
store = PostgresEventStore(url)
for start in range(0, n, 100):
    futures = [store.submit([fact()]) for _ in range(min(100, n - start))]
    for future in futures: print(future.result()[0])
    try:
        store.append([RetrainTriggeredEvent.record(model_id="m", reason="scheduled")], expected=Expected("m", -1))
    except ConcurrencyError:
        continue
    raise SystemExit("a stale expectation was taken")
"""

FOLLOW = """
store = PostgresEventStore(url)
for event in store.follow():
    print(event.metadata.position)
    if event.metadata.position == n: break
"""


def check_many_processes(url: str, writers: int, appends: int, followers: int) -> None:
    PostgresEventStore(url).close()
    reading = [run(FOLLOW, url, writers * appends) for _ in range(followers)]
    taken = [int(line) for p in [run(WRITE, url, appends) for _ in range(writers)] for line in output(p).split()]
    everything = list(range(1, writers * appends + 1))
    assert sorted(taken) == everything
    for process in reading:
        assert [int(line) for line in output(process).split()] == everything


def test_processes_leave_no_gap_and_followers_see_each_event_once(database: str) -> None:
    check_many_processes(database, writers=2, appends=400, followers=1)


@pytest.mark.slow
def test_eight_processes_and_three_followers(database: str) -> None:
    check_many_processes(database, writers=8, appends=2_500, followers=3)


class Load:
    """Threads that append until they are told to stop, and what became of each event."""

    def __init__(self, store: PostgresEventStore, threads: int = 4) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.unknown = 0
        self._store = store
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._append, args=(name,)) for name in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _append(self, name: int) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            identity = f"{name}-{number}"
            try:
                self._store.append([fact(identity)])
                self.acknowledged.append(identity)
            except LogError as error:
                self.refused.append(identity)
                self.unknown += "not known" in str(error)
                time.sleep(0.02)


def kill_a_backend(postgres: PostgresServer, url: str) -> None:
    """SIGKILL: the server breaks all connections and recovers from its write-ahead log."""
    with psycopg.connect(url) as connection:
        query = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'distill' AND pid <> pg_backend_pid() LIMIT 1"
        )
        found = connection.execute(query).fetchone()
    if found is not None:
        os.kill(found[0], signal.SIGKILL)
    time.sleep(0.05)
    postgres.wait()


def crash(postgres: PostgresServer, url: str) -> None:
    postgres.crash()
    postgres.start()


def check_kills(postgres: PostgresServer, url: str, cycles: int) -> None:
    store = PostgresEventStore(url)
    load, chance = Load(store), random.Random(7)
    done = 0
    for cycle in range(cycles):
        while len(load.acknowledged) < done + 30:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.05))
        (kill_a_backend if cycle % 2 else crash)(postgres, url)
        done = len(load.acknowledged)
    load.stop()
    store.close()
    again = PostgresEventStore(url)
    found = ids_of(again)
    again.close()
    assert load.unknown == 0
    assert len(set(found)) == len(found)
    assert set(load.acknowledged) <= set(found)
    assert set(load.refused).isdisjoint(found)


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="killing the server's processes needs its user or root")


@needs_root
def test_no_acknowledged_event_is_lost_or_doubled_when_the_server_is_killed(
    postgres: PostgresServer, database: str
) -> None:
    check_kills(postgres, database, cycles=4)


@needs_root
@pytest.mark.slow
def test_forty_kills(postgres: PostgresServer, database: str) -> None:
    check_kills(postgres, database, cycles=40)


def test_a_server_that_is_away_is_named_and_heals(postgres: PostgresServer, database: str) -> None:
    store = PostgresEventStore(database)
    store.append([fact()])
    postgres.stop()
    try:
        for call in (lambda: store.append([fact()]), store.last_position, lambda: PostgresEventStore(database)):
            with pytest.raises(LogUnavailableError, match=f"{postgres.folder}.*cannot be reached"):
                call()
    finally:
        postgres.start()
    assert store.append([fact()]) == [2]
    assert store.last_position() == 2
    store.close()


def test_broken_connections_are_opened_anew_without_a_word(database: str) -> None:
    store = PostgresEventStore(database)
    store.append([fact()])
    assert store.last_position() == 1
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'distill'")
    assert store.last_position() == 1
    assert store.append([fact()]) == [2]
    store.close()


class Follower:
    """Collects what `follow` gives, in a thread."""

    def __init__(self, store: PostgresEventStore, count: int) -> None:
        self.seen: list[int] = []
        self.times: list[float] = []
        self._thread = threading.Thread(target=self._collect, args=(store, count))
        self._thread.start()

    def result(self) -> list[int]:
        self._thread.join(30)
        return self.seen

    def _collect(self, store: PostgresEventStore, count: int) -> None:
        for event in store.follow(timeout=20):
            self.seen.append(event.metadata.position or 0)
            self.times.append(time.monotonic())
            if len(self.seen) == count:
                return


def test_followers_survive_a_restart_and_broken_connections(postgres: PostgresServer, database: str) -> None:
    store = PostgresEventStore(database)
    follower = Follower(store, 9)
    store.append([fact() for _ in range(3)])
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'distill'")
    store.append([fact() for _ in range(3)])
    postgres.crash()
    postgres.start()
    store.append([fact() for _ in range(3)])
    assert follower.result() == list(range(1, 10))
    store.close()


def test_a_follower_gives_up_on_a_server_that_stays_away(postgres: PostgresServer, database: str) -> None:
    store = PostgresEventStore(database, patience=0.3)
    events = store.follow(timeout=0.1)
    store.append([fact()])
    assert next(events).metadata.position == 1
    postgres.stop()
    try:
        with pytest.raises(LogUnavailableError):
            next(events)
    finally:
        postgres.start()
    store.close()


@pytest.mark.parametrize(("channel", "most"), [("distill", 0.5), ("nobody_listens", 5.0)])
def test_the_server_wakes_followers_and_a_look_now_and_then_does_too(
    database: str, monkeypatch: pytest.MonkeyPatch, channel: str, most: float
) -> None:
    monkeypatch.setattr(writing, "CHANNEL", channel)
    store = PostgresEventStore(database)
    follower = Follower(store, 2)
    store.append([fact()])
    while not follower.seen:
        time.sleep(0.01)
    time.sleep(0.1)
    store.append([fact()])
    acknowledged = time.monotonic()
    assert follower.result() == [1, 2]
    assert follower.times[1] - acknowledged < most
    store.close()


def test_both_sides_of_a_fork_go_on(database: str) -> None:
    code = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python >= 3.12 warns of threads
store = PostgresEventStore(url)
pending = [store.submit([fact()]) for _ in range(100)]
child = os.fork()
for _ in range(20): store.append([fact()])
assert sum(1 for _ in store.read()) >= 20
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert all(future.result() for future in pending)
    print(store.last_position())
    store.close()
else:
    store.close()
    os._exit(0)
"""
    assert output(run(code, database, 0)).split() == ["140"]


def test_many_processes_may_open_a_fresh_log_at_once(database: str) -> None:
    for process in [run("PostgresEventStore(url).append([fact()])", database, 0) for _ in range(4)]:
        output(process)
    store = PostgresEventStore(database)
    assert store.last_position() == 4
    store.close()


def test_what_was_submitted_is_written_before_the_interpreter_ends(database: str) -> None:
    output(run("store = PostgresEventStore(url)\nfor _ in range(300): store.submit([fact()])", database, 0))
    store = PostgresEventStore(database)
    assert store.last_position() == 300
    store.close()


def test_a_commit_waits_for_the_disk_whatever_the_database_says(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(f"ALTER DATABASE {database.split('/')[3].split('?')[0]} SET synchronous_commit = off")
    connection = connect(database)
    assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",)
    connection.execute(writing.BEGIN)
    assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    connection.close()


def test_a_server_that_does_not_sync_is_refused(postgres: PostgresServer, database: str) -> None:
    with postgres.restarted(fsync="off"), pytest.raises(LogError, match="fsync=off"):
        PostgresEventStore(database)


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as other:
        other.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(LogError, match="LATIN1"):
        PostgresEventStore(postgres.url("latin"))


def test_a_writer_that_is_held_up_says_so(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BEGIN", writing.BEGIN.replace("60s", "50ms"))
    store = PostgresEventStore(database)
    with psycopg.connect(database) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (schema.LOCK,))
        with pytest.raises(LogError, match="locked"):
            store.append([fact()])
    assert store.append([fact()]) == [1]
    store.close()


def test_a_block_that_was_changed_is_not_served(database: str) -> None:
    store = PostgresEventStore(database)
    store.append([fact()])
    store.append([fact()])
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("ALTER TABLE distill.blocks DISABLE TRIGGER append_only")
        for column, position in (("sums", 1), ("previous", 2)):
            owner.execute(
                f"UPDATE distill.blocks SET {column} = set_byte({column}, 0, 255 - get_byte({column}, 0)) WHERE first = {position}"
            )
    with pytest.raises(LogError, match="damaged at positions 2 to 2"):
        list(store.read(after=1))
    with pytest.raises(LogError, match="damaged at positions 1 to 1"):
        list(store.read(agent="a"))
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("DELETE FROM distill.blocks WHERE first = 1")
    for filters in ({}, {"agent": "a"}):
        with pytest.raises(LogError, match="positions 1 to 1 are missing"):
            list(store.read(until=1, **filters))  # type: ignore[arg-type]
    store.close()


def test_expectations_hold_across_stores(database: str) -> None:
    first, second = PostgresEventStore(database), PostgresEventStore(database)
    outcomes = []
    for store in (first, second, first):
        event = RetrainTriggeredEvent.record(model_id="m", reason="scheduled")
        try:
            outcomes.append(store.append([event], expected=Expected("m", len(outcomes) // 2)))
        except ConcurrencyError:
            outcomes.append([])
    assert outcomes == [[1], [], [2]]
    for store in (first, second):
        store.close()


def test_one_store_for_an_address(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOG_URL", database)
    store = open_store(tmp_path)
    assert isinstance(store, PostgresEventStore)
    assert store is open_store(tmp_path)
    store.close()
    again = open_store(tmp_path)
    assert again is not store
    assert not (tmp_path / "log.db").exists()
    again.close()
