"""The keyring's file: only its owner may read it, and what is deleted from it leaves no trace in it.

What this file does not know: what the keys are for.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from ultracore.distillation.errors import LogError

__all__ = ["KeyFile", "scrub"]

FORMAT = 1
BUSY_SECONDS = 60.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (
    id BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    scope TEXT NOT NULL,
    created TEXT NOT NULL,
    key BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_by_scope ON keys (tenant, scope);
"""


class KeyFile:
    """One connection to the file, opened when it is used; threads take turns."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._path = path
        self._connection: apsw.Connection | None = None

    @contextmanager
    def use(self) -> Iterator[apsw.Connection]:
        """The connection, for one thread at a time.

        Raises:
            LogError: The file cannot be opened, read or written.
        """
        with self.lock:
            try:
                if self._connection is None:
                    self._connection = _connect(self._path)
                yield self._connection
            except (apsw.Error, OSError) as error:
                raise LogError(
                    f"the keyring {self._path}: {error}; check its permissions and the space on its disk"
                ) from error

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)


def _connect(path: Path) -> apsw.Connection:
    if not path.exists():
        _make(path)
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(int(BUSY_SECONDS * 1000))
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute("PRAGMA temp_store=MEMORY")  # VACUUM makes a copy of all keys
    _retry(lambda: connection.execute("PRAGMA journal_mode=WAL"))
    connection.execute("PRAGMA synchronous=FULL")
    version = connection.pragma("user_version")
    if version > FORMAT:
        raise LogError(f"the keyring {path} was written by a newer release; upgrade ultracore-distillation")
    if version < FORMAT:
        with connection:
            connection.execute(f"{SCHEMA} PRAGMA user_version={FORMAT}")
    return connection


def _make(path: Path) -> None:
    """An empty file that survives a power loss: SQLite syncs what is in it, not that it is there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its other files the same permissions
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _retry(change: Callable[[], object]) -> None:
    """SQLite does not wait for others while the journal mode changes."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            change()
            return
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def scrub(connection: apsw.Connection, path: Path) -> None:
    """Rewrite the file and empty its write-ahead log: a deleted row must not survive in a free part of either."""
    connection.execute("VACUUM")
    deadline = time.monotonic() + BUSY_SECONDS
    checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
    while _first(connection.execute(checkpoint).fetchone()):
        if time.monotonic() > deadline:
            raise LogError(f"the keyring {path}: another process reads it all the time; stop it, then erase again")
        time.sleep(0.02)


def _first(row: Any) -> Any:
    return row[0]
