"""Opens the log's file, makes it where it is missing, and says plainly why it cannot be opened.

What this file does not know: events, threads and transactions.
"""

from __future__ import annotations

import time
from pathlib import Path

import apsw

from ultracore.distillation.errors import ConfigurationError, LogError

__all__ = ["SCHEMA_VERSION", "connect", "explain"]

SCHEMA_VERSION = 1
APPLICATION_ID = 0x64_69_73_74  # "dist": tells our file from any other program's database
PAGE_SIZE = 16_384  # rows of 2 kB: half the file of the default page size (measured)
CHECKPOINT_PAGES = 2_000  # keeps the write-ahead log near 32 MB
SYNCHRONOUS = ("FULL", "NORMAL", "EXTRA")

OPEN = apsw.SQLITE_OPEN_READWRITE  # readers of a write-ahead log write to its index, too

SCHEMA = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    aggregate TEXT NOT NULL,
    aggregate_type TEXT NOT NULL,
    tenant TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    causation TEXT,
    correlation TEXT,
    payload TEXT NOT NULL
);
CREATE INDEX events_by_type ON events (type);
CREATE INDEX events_by_aggregate ON events (aggregate) WHERE aggregate <> event_id;
"""


def connect(
    path: Path, *, synchronous: str = "FULL", busy_timeout: float = 60.0, create: bool = False, read_only: bool = False
) -> apsw.Connection:
    """Open the log at `path`.

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
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
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
    ((apsw.FullError,), "the disk is full, nothing of this append was stored; free space, then append again"),
    ((apsw.ReadOnlyError, apsw.PermissionsError), "it cannot be written; check the permissions of file and folder"),
    ((apsw.CantOpenError,), "it cannot be opened; check that the folder exists and can be written"),
    ((apsw.NotADBError,), "it is not a decision log; move it away or choose another home folder"),
    ((apsw.CorruptError,), "it is damaged; restore a backup, or export what is left with `sqlite3 FILE .recover`"),
)


def _prepare(connection: apsw.Connection, path: Path, deadline: float) -> None:
    """Refuse a foreign file; switch to write-ahead logging and create the table where that is missing."""
    while True:
        try:
            if not _is_ready(connection, path):
                _create(connection, path)
            return
        except apsw.BusyError:
            # SQLite does not call the busy handler while the journal mode changes; only then does one arrive here.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _is_ready(connection: apsw.Connection, path: Path) -> bool:
    version = connection.pragma("user_version")
    application = connection.pragma("application_id")
    if application == APPLICATION_ID and version > SCHEMA_VERSION:
        raise LogError(
            f"the decision log {path} was written by a newer release (format {version}, this one knows "
            f"{SCHEMA_VERSION}); upgrade ultracore-distillation"
        )
    if application == APPLICATION_ID:
        return True
    if application or version or connection.execute("SELECT count(*) FROM sqlite_schema").get:
        raise LogError(f"{path} is another program's database; choose another home folder for the decision log")
    return False


def _create(connection: apsw.Connection, path: Path) -> None:
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _is_ready(connection, path):  # nobody was faster
            connection.execute(SCHEMA)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
