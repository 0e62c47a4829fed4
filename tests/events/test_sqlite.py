"""The embedded log keeps the promises of a store, also when files and processes misbehave."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from ultracore.distillation.checks import check_event_store
from ultracore.distillation.errors import ConfigurationError, EventError, LogError
from ultracore.distillation.events import AgentDecisionEvent, Event, RetrainTriggeredEvent, spool
from ultracore.distillation.events.block import Row
from ultracore.distillation.events.codec import MAX_PAYLOAD_BYTES
from ultracore.distillation.events.group_commit import Batch, GroupCommit
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.spool import Spool
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.sql import sql_connection
from ultracore.distillation.events.sqlite.writer import Writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def fact(**data: object) -> Event:
    return AgentDecisionEvent.record(agent_id="a", **data)


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREAMBLE + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


PREAMBLE = """
import sys
from pathlib import Path
from ultracore.distillation.errors import LogError
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.events.sqlite import SqliteEventStore
path = Path(sys.argv[1])
def fact(**data):
    return AgentDecisionEvent.record(agent_id="a", **data)
"""


def test_keeps_the_contract(path: Path) -> None:
    check_event_store(lambda: SqliteEventStore(path))


def test_the_table_is_readable_by_anyone(path: Path) -> None:
    store = SqliteEventStore(path)
    store.append([fact(tool_selected="search")])
    store.close()
    connection = sql_connection(path)
    assert connection.execute("SELECT payload ->> 'tool_selected' FROM log").get == "search"
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("page_size") == 16_384
    connection.close()


def test_a_bad_batch_does_not_fail_its_neighbours(path: Path) -> None:
    store = SqliteEventStore(path)
    first = fact()
    futures = [store.submit([event]) for event in (first, fact(), first, fact())]
    assert isinstance(futures[2].exception(), EventError)
    assert [future.result() for future in futures if future.exception() is None] == [[1], [2], [3]]
    store.close()


def test_a_large_append_is_one_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_BYTES_IN_MEMORY", 1 << 20)  # so that most of it waits in a file
    store = SqliteEventStore(path)
    text = random.Random(0).randbytes(20_000).hex()  # what is sealed is compressed before; this stays large
    assert len(store.append(fact(context={"text": text}) for _ in range(90))) == 90
    assert sum(1 for event in store.read() if event.to_dict()["data"]["context"]["text"] == text) == 90
    store.close()
    assert {file.suffix for file in path.parent.iterdir() if file.is_file()} <= {".db", ".lock"}


def test_an_iterable_that_fails_stores_nothing(path: Path) -> None:
    def broken() -> object:
        yield fact()
        raise KeyboardInterrupt

    store = SqliteEventStore(path)
    with pytest.raises(KeyboardInterrupt):
        store.append(broken())  # type: ignore[arg-type]
    assert store.last_position() == 0
    store.close()


def test_what_is_submitted_is_what_was_there_at_that_moment(path: Path) -> None:
    store = SqliteEventStore(path)
    context = {"n": 1}
    future = store.submit([fact(context=context)])
    context["n"] = 2
    future.result()
    (event,) = store.read()
    assert event.to_dict()["data"]["context"] == {"n": 1}
    store.close()


def test_after_a_failed_write_nothing_is_acknowledged_any_more(path: Path) -> None:
    code = """
import resource
store = SqliteEventStore(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
acknowledged = 0
try:
    while True: acknowledged = store.append([fact(context={"text": "x" * 5000})])[0]
except LogError as error:
    assert "disk" in str(error), error
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    store.append([fact()])
except LogError as error:
    sys.exit(str(error))  # it heals by itself
print(acknowledged)
"""
    acknowledged = int(output(run(code, path)))
    store = SqliteEventStore(path)
    assert store.last_position() == acknowledged + 1 > 1
    assert store.append([fact()]) == [acknowledged + 2]
    store.close()


def test_what_was_submitted_is_written_before_the_interpreter_ends(path: Path) -> None:
    output(run("store = SqliteEventStore(path)\nfor _ in range(500): store.submit([fact()])", path))
    store = SqliteEventStore(path)
    assert store.last_position() == 500
    store.close()


def test_both_sides_of_a_fork_go_on(path: Path) -> None:
    code = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python >= 3.12 warns of threads
store = SqliteEventStore(path)
pending = [store.submit([fact()]) for _ in range(100)]
child = os.fork()
for _ in range(50): store.append([fact()])
assert sum(1 for _ in store.read()) >= 150
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert all(future.result() for future in pending)
    print(store.last_position())
    store.close()
else:
    store.close()
    os._exit(0)
"""
    assert output(run(code, path)).split() == ["200"]


def test_a_forgotten_store_ends_its_thread(path: Path) -> None:
    code = """
import gc, threading, time
store = SqliteEventStore(path)
store.append([fact()])
del store
gc.collect()
time.sleep(0.2)
print(threading.active_count())
"""
    assert output(run(code, path)).strip() == "1"


def test_a_log_that_is_deleted_while_open_is_not_written_on(path: Path) -> None:
    store = SqliteEventStore(path)
    store.append([fact()])
    path.rename(path.with_name("moved.db"))
    for _ in range(2):
        with pytest.raises(LogError, match=r"moved or deleted|cannot be opened"):
            store.append([fact()])
    assert not path.exists()
    store.close()


def test_a_locked_log_says_so(path: Path) -> None:
    store = SqliteEventStore(path, busy_timeout=0.05)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogError, match="locked"):
        store.append([fact()])
    other.close()
    assert store.append([fact()]) == [1]
    store.close()


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"no database " * 100)


def _foreign(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def _newer(path: Path) -> None:
    SqliteEventStore(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version=99")
    connection.close()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_not_a_database, "not a decision log"),
        (_foreign, "another program"),
        (_newer, "newer release"),
        (Path.mkdir, "cannot be opened"),
    ],
)
def test_a_file_that_cannot_be_the_log_is_refused(path: Path, prepare: object, message: str) -> None:
    prepare(path)  # type: ignore[operator]
    with pytest.raises(LogError, match=message):
        SqliteEventStore(path)


def test_a_folder_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(LogError, match="folder"):
        SqliteEventStore(Path(os.devnull) / "x" / "log.db")


def test_synchronous_is_one_of_three(path: Path) -> None:
    with pytest.raises(ConfigurationError):
        SqliteEventStore(path, synchronous="OFF")


@pytest.mark.parametrize(
    "event",
    [
        fact(context={"x": "x" * MAX_PAYLOAD_BYTES}),
        AgentDecisionEvent.record(agent_id="a", tenant_id="a\0b"),
        AgentDecisionEvent.record(agent_id="a", correlation_id="\ud83d"),
        "not an event",
    ],
    ids=["too large", "NUL", "lone surrogate", "no event"],
)
def test_what_cannot_be_stored_is_refused(path: Path, event: Event) -> None:
    store = SqliteEventStore(path)
    with pytest.raises(EventError):
        store.append([event])
    assert store.last_position() == 0
    store.close()


def test_one_store_for_a_home(tmp_path: Path) -> None:
    store = open_store(tmp_path / "deep" / "home")
    assert store is open_store(tmp_path / "deep" / "home")
    assert store.path == tmp_path / "deep" / "home" / "log.db"
    store.close()
    again = open_store(tmp_path / "deep" / "home")
    assert again is not store
    assert again.append([RetrainTriggeredEvent.record(model_id="m", reason="scheduled")]) == [1]
    again.close()


def test_a_log_that_cannot_be_written_says_so(path: Path) -> None:
    SqliteEventStore(path).close()

    class ReadOnly(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("read-only", apsw.vfs_names()[0], makedefault=True)

        def xOpen(self, name, flags):  # type: ignore[no-untyped-def]  # noqa: N802
            raise apsw.ReadOnlyError("read-only file system")

    vfs = ReadOnly()
    try:
        with pytest.raises(LogError, match="permissions of file and folder"):
            SqliteEventStore(path)
    finally:
        vfs.unregister()


def test_a_store_says_what_an_acknowledgement_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "strict")
    assert store.durability.startswith("strict")
    store.close()
    monkeypatch.setenv("DISTILL_LOG_SYNC", "relaxed")
    monkeypatch.setenv("DISTILL_LOG_LOSS_WINDOW_SECONDS", "0.25")
    store = open_store(tmp_path / "relaxed")
    assert "last 250 ms" in store.durability
    store.close()
    monkeypatch.setenv("DISTILL_LOG_SYNC", "sometimes")
    with pytest.raises(ConfigurationError, match="log_sync"):
        open_store(tmp_path / "other")


def test_a_tail_that_vanished_while_the_disk_failed_is_noticed(path: Path) -> None:
    writer = Writer(path, "FULL", 1.0, 1.0)
    writer.open(create=True)
    group = GroupCommit(writer)
    for number in range(3):
        rows = Spool(path.parent)
        rows.add(Row(f"e{number}", "T", 1, "a", "t", "t", None, None, "2026-01-01T00:00:00+00:00", None, None, b"{}"))
        batch = Batch(rows, None)
        group.submit(batch)
        batch.future.result(10)
    connection = apsw.Connection(str(path))
    connection.execute("DELETE FROM blocks WHERE first = 3; DELETE FROM events WHERE position = 3")
    connection.close()
    writer.abandon(apsw.IOError("the disk failed"))
    with pytest.raises(LogError, match="ends at position 2, but 3 was acknowledged"):
        writer.open()
    group.close()


def parts_of(path: Path) -> int:
    connection = apsw.Connection(str(path))
    found: int = connection.execute("SELECT count(*) FROM parts").get
    connection.close()
    return found


def test_tools_that_were_rolled_back_are_written_with_the_next_event(path: Path) -> None:
    tools = [{"name": f"tool_{k}", "description": "What it does, in some words."} for k in range(10)]
    store = SqliteEventStore(path)
    first = AgentDecisionEvent.record(agent_id="a")
    store.append([first])
    refused = AgentDecisionEvent.record(agent_id="a", event_id=first.metadata.event_id, tools_available=tools)
    with pytest.raises(EventError):
        store.append([refused])
    assert parts_of(path) == 0
    for _ in range(2):
        store.append([AgentDecisionEvent.record(agent_id="a", tools_available=tools)])
    assert parts_of(path) == 1
    assert [event.tools_available for event in store.read(after=1) if isinstance(event, AgentDecisionEvent)] == [
        tools
    ] * 2
    store.close()
