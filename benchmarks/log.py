"""How fast is the decision log, and how large? All of it synced, with the disk's own sync time beside.

Events are decisions of the scripted bank, cut to about 2 KiB and shuffled, so that neighbours are of
different conversations. CPU time is that of the whole process, all threads; wall time also holds the
disk and what the machine was doing besides. What this file does not know: students.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
import numpy as np

from benchmarks.sections import Section, Table, number
from ultracore.distillation.events import AgentDecisionEvent, Event
from ultracore.distillation.events.base import new_event_id
from ultracore.distillation.events.block import Row
from ultracore.distillation.events.group_commit import Batch, GroupCommit, Target
from ultracore.distillation.events.postgres.store import PostgresEventStore
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.rows import row_of
from ultracore.distillation.events.spool import Spool
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.writer import Writer
from ultracore.distillation.log.of_files import read_traces
from ultracore.distillation.teachers.scripted.traces import write_traces

__all__ = [
    "BATCH",
    "BYTES",
    "Took",
    "append_events",
    "append_ready",
    "count",
    "events_of_bank",
    "measure_log",
    "prepared",
    "timed",
]

BYTES = 2048
BATCH = 512
WRITERS = 32
IN_FLIGHT = 32
PAGE_SIZE = 16_384


class Took(NamedTuple):
    """Seconds of one piece of work."""

    cpu: float
    wall: float


def measure_log(*, quick: bool = False) -> Section:
    """Append, read, open; beside it raw SQLite and the package `eventsourcing`."""
    n, some = (4_000, 2_000) if quick else (1_000_000, 50_000)
    rows: list[list[str]] = []
    figures: dict[str, Any] = {"events": n}

    def add(name: str, count: int, took: Took, unit: str = "events/s") -> None:
        figures[name] = {"n": count, **took._asdict()}
        rows.append([name, unit, number(count / took.cpu, 0), number(count / took.wall, 0), number(count, 0)])

    with tempfile.TemporaryDirectory(dir=os.environ.get("DISTILL_BENCH_DISK")) as folder:
        home = Path(folder)
        events, jsonl, grown = events_of_bank(home, 60 if quick else 600)
        plain = Protection(home / "plain", redact="off", encrypt=False)
        sealed = Protection(home / "sealed", redact="off")
        whole = Protection(home / "whole")
        size = float(np.mean([len(msgspec.json.encode(event.to_dict()["data"])) for event in events]))
        sync = _sync_times(home)
        ready = prepared(events, n, plain)
        path = home / "big.db"
        add("append, ready rows", n, _append_rows(path, *ready))
        del ready
        opened = timed(lambda: _opened(path))
        store = SqliteEventStore(path, protection=plain)
        add("read, rows as stored", n, timed(lambda: count(store.rows())))
        decoded = min(n, some)
        add("read, decoded", decoded, timed(lambda: count(store.read(until=decoded))))
        store.close()
        sizes = {"in no order, not encrypted": path.stat().st_size / n}
        path.unlink()
        for name, protection in (("not encrypted", plain), ("encrypted", sealed), ("encrypted, redacted", whole)):
            file = home / f"{name}.db"
            add(f"append, events, {name}", some, _append_events(file, events, some, protection))
            sizes[f"in no order, {name}, {some:,} events"] = file.stat().st_size / some
        waits = _waits(home / "waits.db", events, 20 if quick else 400, plain)
        add("append, raw SQLite rows, 512 a transaction", some, _raw(home / "raw.db", prepared(events, some, plain)[0]))
        beside = _eventsourcing(home, 500 if quick else 5_000)
    if beside:
        add("append, eventsourcing 9 on SQLite, 512 a save", int(beside[0]), Took(*beside[1:]))
    figures |= {"sync_ms": sync, "wait_ms": waits, "open": opened._asdict(), "bytes_an_event": sizes, "grown": grown}
    small = [
        ["bytes of one event as JSON", number(size, 0), number(len(events), 0)],
        *([f"bytes an event in the log, {name}", number(value, 0), "-"] for name, value in sizes.items()),
        [f"import of {jsonl / 1e6:.1f} MB of traces, log in MB", number(grown / 1e6), "-"],
        ["sync of 16 KiB, p50 and p99, ms", f"{sync[0]:.2f} and {sync[1]:.2f}", number(600, 0)],
        [f"append by {WRITERS} threads, p50 and p99, ms", f"{waits[0]:.2f} and {waits[1]:.2f}", number(waits[2], 0)],
        ["that p99 / the sync's p99", number(waits[1] / sync[1], 2), "-"],
        [f"open a log of {n:,} events, s", number(opened.wall, 3), "1"],
    ]
    note = "" if beside else "The package `eventsourcing` is not installed here, so it was not measured."
    about = f"decisions of the scripted bank, about {BYTES:,} bytes each, {len(events):,} different ones, shuffled"
    return Section(
        "log",
        about,
        [
            Table("Log: events a second, fully synced", ["what", "unit", "by CPU", "by wall", "n"], rows, note),
            Table("Log: sizes and times", ["what", "figure", "n"], small),
        ],
        figures=figures,
    )


def events_of_bank(home: Path, conversations: int) -> tuple[list[Event], int, int]:
    """Decisions of about `BYTES` with at most three tools; bytes of the trace file and of the log it became."""
    file, path = home / "bank.jsonl", home / "bank.db"
    write_traces(file, n=conversations)
    store = SqliteEventStore(path, protection=Protection(home / "bank-keys", encrypt=False))
    read_traces([file], store)
    decisions = [event for event in store.read() if isinstance(event, AgentDecisionEvent)]
    store.close()
    return list(filter(None, map(_cut, decisions))), file.stat().st_size, path.stat().st_size


def _cut(event: AgentDecisionEvent) -> Event | None:
    """The same decision with as many of its newest messages as fit, or none if it is too short."""
    messages = event.context["messages"]
    for start in range(len(messages)):
        data = {f: getattr(event, f) for f in event.__struct_fields__ if f != "metadata"}
        data |= {"context": {"messages": messages[start:]}, "tools_available": event.tools_available[:3]}
        cut = AgentDecisionEvent.record(**data)
        if len(msgspec.json.encode(data)) <= BYTES + 256:
            return cut if len(msgspec.json.encode(data)) >= BYTES - 256 else None
    return None


def _shuffled(items: Sequence[Any], n: int) -> Iterator[Any]:
    """So many, each of them as often as any other, in no order."""
    chance, left = random.Random(0), n
    while left > 0:
        order = list(items)
        chance.shuffle(order)
        yield from order[:left]
        left -= len(order)


def prepared(events: Sequence[Event], n: int, protection: Protection) -> tuple[list[Row], dict[str, bytes]]:
    stored = [row_of(event, protection) for event in events]
    parts = {key: part for one in stored for key, part in one.parts.items()}
    return [s.row._replace(event_id=key, aggregate=key) for s in _shuffled(stored, n) if (key := new_event_id())], parts


def _append_rows(path: Path, rows: Sequence[Row], parts: dict[str, bytes]) -> Took:
    writer = Writer(path, "FULL", 60.0, 1.0)
    writer.open(create=True)
    return append_ready(writer, path.parent, rows, parts)


def append_ready(target: Target, folder: Path, rows: Sequence[Row], parts: dict[str, bytes]) -> Took:
    """Append rows by batches of `BATCH`, so many in flight; the target is closed at the end."""
    group = GroupCommit(target)

    def append() -> None:
        pending = []
        for start in range(0, len(rows), BATCH):
            spool = Spool(folder)
            spool.parts |= parts if start == 0 else {}
            for row in rows[start : start + BATCH]:
                spool.add(row)
            batch = Batch(spool, None)
            group.submit(batch)
            pending.append(batch.future)
            if len(pending) > IN_FLIGHT:
                pending.pop(0).result()
        for future in pending:
            future.result()

    took = timed(append)
    group.close()
    return took


def _append_events(path: Path, events: Sequence[Event], n: int, protection: Protection) -> Took:
    return append_events(SqliteEventStore(path, protection=protection), events, n)


def append_events(store: PostgresEventStore | SqliteEventStore, events: Sequence[Event], n: int) -> Took:
    """The same with events, which are encoded first; the store is closed at the end."""
    fresh = [
        msgspec.structs.replace(event, metadata=msgspec.structs.replace(event.metadata, event_id=new_event_id()))
        for event in _shuffled(events, n)
    ]
    store.append(fresh[:1])  # keys are made once

    def append() -> None:
        pending = []
        for start in range(1, n, BATCH):
            pending.append(store.submit(fresh[start : start + BATCH]))
            if len(pending) > IN_FLIGHT:
                pending.pop(0).result()
        for future in pending:
            future.result()

    took = timed(append)
    store.close()
    return took


def _waits(path: Path, events: Sequence[Event], each: int, protection: Protection) -> tuple[float, float, int]:
    """Milliseconds that each of `WRITERS` threads waits for an append of one event: p50, p99, n."""
    store = SqliteEventStore(path, protection=protection)
    took: list[float] = []

    def write(number_: int) -> None:
        for event in _shuffled(events[number_:], each):
            fresh = msgspec.structs.replace(event.metadata, event_id=new_event_id())
            began = time.perf_counter()
            store.append([msgspec.structs.replace(event, metadata=fresh)])
            took.append(1000.0 * (time.perf_counter() - began))

    threads = [threading.Thread(target=write, args=(k,)) for k in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    return float(np.percentile(took, 50)), float(np.percentile(took, 99)), len(took)


def _sync_times(home: Path, n: int = 600) -> tuple[float, float]:
    """Milliseconds of an append of 16 KiB and its `fdatasync`: p50, p99."""
    took, page = [], os.urandom(PAGE_SIZE)
    file = os.open(home / "sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(n):
        began = time.perf_counter()
        os.write(file, page)
        os.fdatasync(file)
        took.append(1000.0 * (time.perf_counter() - began))
    os.close(file)
    return float(np.percentile(took, 50)), float(np.percentile(took, 99))


def _raw(path: Path, rows: Sequence[Row]) -> Took:
    """The same rows, payload in a column, nothing chained: what SQLite itself takes."""
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    columns = ", ".join(Row._fields)
    connection.execute(f"CREATE TABLE events (position INTEGER PRIMARY KEY, {columns}, UNIQUE (event_id))")
    marks = ", ".join("?" * (1 + len(Row._fields)))

    def append() -> None:
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            with connection:
                connection.executemany(
                    f"INSERT INTO events VALUES ({marks})", [(start + k, *row) for k, row in enumerate(part)]
                )

    took = timed(append)
    connection.close()
    return took


EVENTSOURCING = """
import sys, time
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
class Decision(Aggregate):
    @event("Made")
    def __init__(self, payload): self.payload = payload
app = Application(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": sys.argv[1]})
n = int(sys.argv[2])
text = "x " * 1024
made = [Decision(text) for _ in range(n)]
cpu, wall = time.process_time(), time.perf_counter()
for start in range(0, n, 512): app.save(*made[start : start + 512])
print(n, time.process_time() - cpu, time.perf_counter() - wall)
"""


def _eventsourcing(home: Path, n: int) -> list[float]:
    """Events, CPU and wall seconds, by the interpreter of `DISTILL_BENCH_EVENTSOURCING`, else this one; or nothing."""
    python = os.environ.get("DISTILL_BENCH_EVENTSOURCING", sys.executable)
    command = [python, "-c", EVENTSOURCING, str(home / "package.db"), str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [float(word) for word in done.stdout.split()] if done.returncode == 0 else []


def _opened(path: Path) -> None:
    store = SqliteEventStore(path)
    if not store.last_position():
        raise ValueError("the log is empty")
    store.close()


def count(items: Iterator[Any]) -> int:
    return sum(1 for _ in items)


def timed(work: Callable[[], Any]) -> Took:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Took(time.process_time() - cpu, time.perf_counter() - wall)
