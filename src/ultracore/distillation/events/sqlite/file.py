"""Opens the log's file, makes it where it is missing, and says plainly why it cannot be opened.

What this file does not know: events, threads and transactions.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import apsw

from ultracore.distillation.errors import ConfigurationError, LogError
from ultracore.distillation.events.sqlite import migrations

__all__ = ["SCHEMA", "SCHEMA_VERSION", "connect", "explain"]

SCHEMA_VERSION = 2
APPLICATION_ID = 0x64_69_73_74  # "dist": tells our file from any other program's database
PAGE_SIZE = 16_384  # half the file of the default page size (measured with rows of 2 kB)
SYNCHRONOUS = ("FULL", "NORMAL", "EXTRA")

OPEN = apsw.SQLITE_OPEN_READWRITE  # readers of a write-ahead log write to its index, too

SCHEMA = (
    "CREATE TABLE log (store_id TEXT NOT NULL)",
    """CREATE TABLE blocks (
    first INTEGER PRIMARY KEY,
    events INTEGER NOT NULL,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL,
    rows BLOB NOT NULL,
    sums BLOB NOT NULL,
    data BLOB NOT NULL
)""",
    "CREATE TABLE parts (hash TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    aggregate TEXT NOT NULL,
    aggregate_type TEXT NOT NULL,
    tenant TEXT NOT NULL,
    agent TEXT,
    subject TEXT,
    occurred_at TEXT NOT NULL,
    causation TEXT,
    correlation TEXT
)""",
    """CREATE INDEX events_by_type ON events (type)
    WHERE type NOT IN ('AGENT_TOOL_SELECTED', 'DECISION_OUTCOME_RECORDED')""",
    "CREATE INDEX events_by_aggregate ON events (aggregate) WHERE aggregate <> event_id",
    "CREATE INDEX events_by_subject ON events (subject) WHERE subject IS NOT NULL",
)
"""`blocks` are the log, chained by hash; `events` is an index that can be made anew from them; `parts` are
what payloads name by hash, compressed. The two most frequent types are found faster without an index."""


def connect(
    path: Path, *, synchronous: str = "FULL", busy_timeout: float = 60.0, create: bool = False, read_only: bool = False
) -> apsw.Connection:
    """Open the log at `path`; one that an older release wrote is migrated first.

    Args:
        path: The database file.
        synchronous: `FULL` syncs every commit; `NORMAL` may lose the newest commits on power loss.
        busy_timeout: Seconds to wait while another process writes.
        create: Make the file where there is none; its folder must exist.
        read_only: Refuse to write through this connection.

    Raises:
        ConfigurationError: `synchronous` is none of FULL, NORMAL, EXTRA.
        LogError: The file cannot be opened, is another program's, or a newer release wrote it.
    """
    if synchronous not in SYNCHRONOUS:
        raise ConfigurationError(f"synchronous must be one of {', '.join(SYNCHRONOUS)}, not {synchronous!r}")
    connection = None
    try:
        connection = apsw.Connection(str(path), flags=OPEN | apsw.SQLITE_OPEN_CREATE if create else OPEN)
        connection.set_busy_timeout(int(busy_timeout * 1000))
        _prepare(connection, path, time.monotonic() + busy_timeout)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.wal_autocheckpoint(0)  # the elected writer does it
        if read_only:
            connection.execute("PRAGMA query_only=1")
    except BaseException as error:
        if connection is not None:
            connection.close(True)
        if isinstance(error, apsw.Error):
            raise explain(error, path) from error
        raise
    return connection


def explain(error: Exception, path: Path) -> LogError:
    """What a database error means to the user and what to do about it."""
    for kinds, advice in _ADVICE:
        if isinstance(error, kinds):
            return LogError(f"the decision log {path}: {advice} ({error})")
    return LogError(f"the decision log {path}: {type(error).__name__}: {error}")


_ADVICE: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((apsw.BusyError, apsw.LockedError), "another process keeps it locked; stop that process, then try again"),
    ((apsw.FullError,), "the disk is full, nothing of this append was acknowledged; free space, then append again"),
    ((apsw.IOError,), "the disk failed, nothing of this append was acknowledged; check the disk, then append again"),
    ((apsw.ReadOnlyError, apsw.PermissionsError), "it cannot be written; check the permissions of file and folder"),
    ((apsw.CantOpenError,), "it cannot be opened; check that the folder exists and can be written"),
    ((apsw.NotADBError,), "it is not a decision log; move it away or choose another home folder"),
    ((apsw.CorruptError,), "it is damaged; `distill verify` says where; restore a backup"),
)


def _prepare(connection: apsw.Connection, path: Path, deadline: float) -> None:
    """Refuse a foreign file; switch to write-ahead logging; create or migrate the tables where needed."""
    while True:
        try:
            version = _version(connection, path)
            if version < SCHEMA_VERSION:
                _bring_up(connection, path, version)
            return
        except apsw.BusyError:
            # SQLite does not call the busy handler while the journal mode changes; only then does one arrive here.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _version(connection: apsw.Connection, path: Path) -> int:
    """Version of the tables, 0 where there are none yet."""
    with connection:  # one view of all three: another process may be creating the tables this moment
        version: int = connection.pragma("user_version")
        application = connection.pragma("application_id")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if application == APPLICATION_ID and version > SCHEMA_VERSION:
        raise LogError(
            f"the decision log {path} was written by a newer release (format {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade ultracore-distillation"
        )
    if application == APPLICATION_ID:
        return version
    if application or version or tables:
        raise LogError(f"{path} is another program's database; choose another home folder for the decision log")
    return 0


def _bring_up(connection: apsw.Connection, path: Path, version: int) -> None:
    if not version:
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path)  # another process may have been faster
        if version == 0:
            _create(connection)
        elif version == 1:
            migrations.from_1(connection, _create)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # where COMMIT failed, SQLite has rolled back itself
            connection.execute("ROLLBACK")
        raise


def _create(connection: apsw.Connection) -> None:
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute("INSERT INTO log VALUES (?)", (uuid.uuid4().hex,))
