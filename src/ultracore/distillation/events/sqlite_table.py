"""The one table of the log: its two sides, one that writes groups and one that reads pages.

What this file does not know: threads taking turns (`group_commit`) and the protocol (`sqlite`).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import apsw

from ultracore.distillation.errors import ConcurrencyError, DistillationError, EventError, LogError
from ultracore.distillation.events import codec
from ultracore.distillation.events.facts import Event, Metadata
from ultracore.distillation.events.group_commit import Batch
from ultracore.distillation.events.spool import Row
from ultracore.distillation.events.sqlite_file import connect, explain
from ultracore.distillation.events.store import Expected, instant

__all__ = ["COLUMNS", "Reader", "Table", "event_of", "filters_of", "marks", "row_of"]

COLUMNS = (
    "position, event_id, type, version, aggregate, aggregate_type, tenant, occurred_at, causation, correlation, payload"
)
INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own constant
# A decision is its own aggregate; such rows are found by their id and kept out of the second index.
OF_AGGREGATE = (
    "position IN (SELECT position FROM events WHERE aggregate = ? AND aggregate <> event_id"
    " UNION ALL SELECT position FROM events WHERE event_id = ? AND aggregate = event_id)"
)


class Table:
    """The writing side: transactions on the table, for `GroupCommit`'s thread alone."""

    def __init__(self, path: Path, synchronous: str, busy_timeout: float) -> None:
        self._path = path
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._connection: apsw.Connection | None = None
        self._broken: str | None = None
        self._next = 0
        self._inode = 0
        self._current = ""

    def open(self, *, create: bool = False) -> apsw.Connection:
        """The connection, opened where it is not; only the first opening may create the file."""
        if self._connection is None:
            self._connection = connect(
                self._path, synchronous=self._synchronous, busy_timeout=self._busy_timeout, create=create
            )
            self._inode = self._path.stat().st_ino
        return self._connection

    def begin(self) -> None:
        """See `Target`; takes the lock that processes share, and the next position."""
        if self._broken:
            raise LogError(self._broken)
        connection = self.open()
        if not self._path.exists() or self._path.stat().st_ino != self._inode:
            raise LogError(f"the decision log {self._path} was moved or deleted while it was open; open it again")
        connection.execute("BEGIN IMMEDIATE")
        self._next = connection.execute("SELECT coalesce(max(position), 0) + 1 FROM events").get

    def write(self, batch: Batch) -> list[int]:
        """See `Target`; the batch gets the next positions, or none."""
        connection = self.open()
        first = self._next
        connection.execute("SAVEPOINT batch")
        try:
            self._check(batch.expected)
            connection.executemany(INSERT, self._numbered(batch))
        except (DistillationError, apsw.ConstraintError) as error:
            self._next = first
            connection.execute("ROLLBACK TO batch")
            connection.execute("RELEASE batch")
            raise self._refusal(error) from None
        connection.execute("RELEASE batch")
        return list(range(first, self._next))

    def commit(self) -> None:
        """See `Target`."""
        self.open().execute("COMMIT")

    def abandon(self, error: Exception) -> LogError:
        """See `Target`; after a failed sync it stays closed for good."""
        self.release()
        if isinstance(error, LogError):
            return error
        reason = explain(error, self._path)
        if isinstance(error, apsw.IOError | apsw.CorruptError):
            reason = LogError(f"{reason}; nothing more is stored until this process is restarted: check the disk first")
            self._broken = str(reason)
        return reason

    def release(self) -> None:
        """See `Target`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)

    def _check(self, expected: Expected | None) -> None:
        if expected is None:
            return
        query = f"SELECT count(*) FROM events WHERE {OF_AGGREGATE}"  # noqa: S608 - our own constant
        found = self.open().execute(query, (expected.aggregate_id, expected.aggregate_id)).get
        if found != expected.events:
            raise ConcurrencyError(
                f"{expected.aggregate_id} has {found} events, not {expected.events}: somebody appended first; "
                "read it again and decide anew"
            )

    def _numbered(self, batch: Batch) -> Iterator[tuple[Any, ...]]:
        for row in batch.rows:
            if batch.withdrawn:
                raise LogError("the append was withdrawn by its caller")
            self._current = row.event_id
            yield (self._next, *row)
            self._next += 1

    def _refusal(self, error: Exception) -> Exception:
        if isinstance(error, apsw.ConstraintError):
            return EventError(f"event {self._current} is in the log already; nothing of this append was stored")
        return error


class Reader:
    """The reading side: one connection that threads share, a page at a time."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self.lock = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._closed = False

    def fetch(self, query: str, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """All rows of one page."""
        with self.lock:
            if self._closed:
                raise LogError("the log is closed; open it again with open_store(home)")
            if self._connection is None:
                self._connection = connect(self._path, busy_timeout=self._busy_timeout, read_only=True)
            try:
                return self._connection.execute(query, arguments).fetchall()
            except apsw.Error as error:
                raise explain(error, self._path) from error

    def release(self) -> None:
        """Close the file; `fetch` opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)

    def close(self) -> None:
        """Close the file for good."""
        with self.lock:
            self._closed = True
            self.release()


def row_of(event: Event) -> Row:
    """The line that stands for an event.

    Raises:
        EventError: It cannot be stored.
    """
    if not isinstance(event, Event):
        raise EventError(f"only events can be appended, not {type(event).__name__}")
    payload = codec.encode(event).decode()
    m = event.metadata
    row = Row(
        m.event_id, m.event_type, m.version, m.aggregate_id, m.aggregate_type, m.tenant_id, m.timestamp,
        m.causation_id, m.correlation_id, payload,
    )  # fmt: skip
    for value in row[:-1]:
        if isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
            raise EventError(f"{m.event_type}: {value!r} in its metadata holds NUL or a lone surrogate")
    if not m.event_id:
        raise EventError(f"{m.event_type}: an event needs an id")
    return row


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def event_of(values: tuple[Any, ...]) -> Event:
    """The event that a line stands for."""
    position, row = values[0], Row(*values[1:])
    metadata = Metadata(
        event_id=row.event_id,
        event_type=row.type,
        aggregate_id=row.aggregate,
        aggregate_type=row.aggregate_type,
        version=row.version,
        timestamp=row.occurred_at,
        causation_id=row.causation,
        correlation_id=row.correlation,
        tenant_id=row.tenant,
        position=position,
    )
    return codec.decode(metadata, row.payload.encode())


def filters_of(
    types: Collection[str] | None,
    tenant: str | None,
    aggregate: str | None,
    agent: str | None,
    since: str | None,
    until_time: str | None,
) -> tuple[str, tuple[str, ...]]:
    """The filters of `EventStore.read` as SQL conditions and the values bound to them."""
    where, arguments = "", []
    if types is not None:
        where += f" AND type IN ({marks(types)})"
        arguments += list(types)
    if tenant is not None:
        where += " AND tenant = ?"
        arguments.append(tenant)
    if aggregate is not None:
        where += f" AND {OF_AGGREGATE}"
        arguments += [aggregate, aggregate]
    if agent is not None:
        where += " AND json_extract(payload, '$.agent_id') = ?"
        arguments.append(agent)
    if since is not None:
        where += " AND occurred_at >= ?"
        arguments.append(instant(since))
    if until_time is not None:
        where += " AND occurred_at <= ?"
        arguments.append(instant(until_time))
    return where, tuple(arguments)


def marks(values: Collection[str]) -> str:
    """Placeholders for so many values."""
    return ", ".join("?" * len(values))
