"""How fast is the decision log in PostgreSQL? All of it synced, with the server's own sync rate beside.

The server is one of our own, on this machine, over a Unix socket: client and server share its cores, and
no network is in between. Events are those of `log`. What this file does not know: other servers.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from msgspec.structs import replace

from benchmarks.data import MissingDataError
from benchmarks.log import BATCH, BYTES, Took, append_events, append_ready, count, events_of_bank, prepared, timed
from benchmarks.postgres_server import NoServerError, PostgresServer
from benchmarks.sections import Section, Table, number
from ultracore.distillation.events import Event
from ultracore.distillation.events.base import new_event_id
from ultracore.distillation.events.postgres.store import PostgresEventStore
from ultracore.distillation.events.postgres.writer import Writer
from ultracore.distillation.events.privacy.protection import Protection

__all__ = ["measure_postgres"]

RUNS = 3
TITLE = "Log in PostgreSQL: events a second, fully synced"
COLUMNS = ["what", "by CPU of both", "client CPU, us", "server CPU, us", "by wall, median [least, most]", "n"]
SHOWN = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size")


class Rate(NamedTuple):
    """Runs of one piece of work.

    Attributes:
        n: Events of each run.
        client: CPU seconds of this process, by run.
        server: CPU seconds of the server, by run.
        wall: Seconds, by run.
    """

    n: int
    client: list[float]
    server: list[float]
    wall: list[float]


def measure_postgres(*, quick: bool = False) -> Section:
    """Append in groups, append one by one, read.

    Raises:
        MissingDataError: No server is installed.
    """
    n, some, single = (4_000, 2_000, 50) if quick else (200_000, 50_000, 2_000)
    with tempfile.TemporaryDirectory() as folder:
        try:
            server = PostgresServer()
        except NoServerError as missing:
            raise MissingDataError(str(missing)) from None
        with server:
            return _measured(server, Path(folder), (n, some, single), conversations=60 if quick else 600)


def _measured(server: PostgresServer, home: Path, sizes: tuple[int, int, int], conversations: int) -> Section:
    n, some, single = sizes
    events, _, _ = events_of_bank(home, conversations)
    plain, sealed = Protection(home / "plain", redact="off", encrypt=False), Protection(home / "sealed")
    databases = _databases(server)

    def opened(protection: Protection = plain) -> PostgresEventStore:
        return PostgresEventStore(next(databases), protection=protection)

    works: dict[str, tuple[int, Callable[[], Took]]] = {
        f"append, ready rows, batches of {BATCH}": (n, lambda: _append(next(databases), home, events, n, plain)),
        "append, events, not encrypted": (some, lambda: append_events(opened(), events, some)),
        "append, events, encrypted and redacted": (some, lambda: append_events(opened(sealed), events, some)),
        "append, one event a transaction": (single, lambda: _one_by_one(opened(), events, single)),
    }
    rates = {name: _runs(server, size, work) for name, (size, work) in works.items()}
    url = next(databases)
    append_events(PostgresEventStore(url, protection=plain), events, some)
    store = PostgresEventStore(url, protection=plain)
    rates["read, rows as stored"] = _runs(server, some, lambda: timed(lambda: count(store.rows())))
    rates["read, decoded"] = _runs(server, some, lambda: timed(lambda: count(store.read())))
    size = store._reader.fetch(SIZE)[0][0] / some
    store.close()
    syncs = _sync_rate(server)
    about = f"decisions of the scripted bank, about {BYTES:,} bytes each, {len(events):,} different ones, shuffled"
    note = (
        f"{RUNS} runs each, appends into a new database. The server's own fdatasync of 8 KiB: {number(syncs, 0)} a "
        f"second (pg_test_fsync). {number(size, 0)} bytes an event with all indices, not encrypted."
    )
    table = Table(TITLE, COLUMNS, [_row(name, rate) for name, rate in rates.items()], note)
    kept = {name: rate._asdict() for name, rate in rates.items()}
    figures = {"rates": kept, "syncs_per_second": syncs, "bytes_an_event": size}
    return Section("postgres", f"{about}; {_about(server)}", [table], figures=figures)


SIZE = """
    SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'distill' AND c.relkind = 'r'"""


def _databases(server: PostgresServer) -> Iterator[str]:
    """Addresses of databases that are made when they are asked for."""
    for number_ in range(10_000):
        name = f"bench_{number_:04}"
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        yield f"postgresql://distill@/{name}?host={server.folder}"


def _runs(server: PostgresServer, n: int, work: Callable[[], Took]) -> Rate:
    rate = Rate(n, [], [], [])
    for _ in range(RUNS):
        before = server.cpu_seconds()
        took = work()
        rate.client.append(took.cpu)
        rate.server.append(server.cpu_seconds() - before)
        rate.wall.append(took.wall)
    return rate


def _append(url: str, home: Path, events: Sequence[Event], n: int, protection: Protection) -> Took:
    PostgresEventStore(url, protection=protection).close()  # makes the tables
    return append_ready(Writer(url, 60.0, lambda: None, None), home, *prepared(events, n, protection))


def _one_by_one(store: PostgresEventStore, events: Sequence[Event], n: int) -> Took:

    def append() -> None:
        for k in range(n):
            event = events[k % len(events)]
            fresh = replace(event.metadata, event_id=new_event_id())
            store.append([replace(event, metadata=fresh)])

    took = timed(append)
    store.close()
    return took


def _row(name: str, rate: Rate) -> list[str]:
    def middle(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    client, server, wall = middle(rate.client), middle(rate.server), middle(rate.wall)
    spread = f"{number(rate.n / wall, 0)} [{number(rate.n / max(rate.wall), 0)}, {number(rate.n / min(rate.wall), 0)}]"
    micro = [number(1e6 * seconds / rate.n) for seconds in (client, server)]
    return [name, number(rate.n / (client + server), 0), *micro, spread, number(rate.n, 0)]


def _sync_rate(server: PostgresServer) -> float:
    """How often a second the server's disk syncs 8 KiB with fdatasync, by the server's own tool."""
    text = server.run("pg_test_fsync", "-s", "1", "-f", server.folder / "fsync")
    found = re.search(r"^\s*fdatasync\s+([\d.]+) ops/sec", text, re.M)
    if found is None:
        raise ValueError(f"pg_test_fsync says nothing of fdatasync: {text}")
    return float(found[1])


def _about(server: PostgresServer) -> str:
    with psycopg.connect(server.url()) as connection:
        values: list[Any] = [connection.execute(f"SHOW {name}").fetchone() for name in ("server_version", *SHOWN)]
    version, *settings = (value[0] for value in values)
    return f"PostgreSQL {version.split()[0]}, " + ", ".join(f"{k}={v}" for k, v in zip(SHOWN, settings, strict=True))
