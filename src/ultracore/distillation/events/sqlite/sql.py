"""The log for people who write SQL: whole readable rows, over a connection that cannot write.

The table `events` is narrow; the view `log` adds each event's `payload`, which is unpacked only where a
query asks for it: opened where the keys are at hand, without its personal fields where they were
destroyed. What this file does not know: how the rows are printed.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from ultracore.distillation.errors import EventError
from ultracore.distillation.events.codec import inline
from ultracore.distillation.events.privacy.protection import protection_at
from ultracore.distillation.events.rows import metadata_of
from ultracore.distillation.events.sqlite.file import connect
from ultracore.distillation.events.sqlite.reader import Reader

__all__ = ["sql_connection"]


def sql_connection(path: Path, *, busy_timeout: float = 60.0) -> apsw.Connection:
    """A read-only connection to the log at `path`, with the view `log`.

    Args:
        path: The database file.
        busy_timeout: Seconds to wait for a lock.

    Raises:
        LogError: The file cannot be opened, or is no log.

    Example:
        >>> import tempfile
        >>> from ultracore.distillation.events import RetrainTriggeredEvent
        >>> from ultracore.distillation.events.sqlite import SqliteEventStore
        >>> path = Path(tempfile.mkdtemp()) / "log.db"
        >>> store = SqliteEventStore(path)
        >>> store.append([RetrainTriggeredEvent.record(model_id="m", reason="scheduled")])
        [1]
        >>> sql_connection(path).execute("SELECT position, payload ->> 'reason' FROM log").fetchall()
        [(1, 'scheduled')]
        >>> store.close()
    """
    connection = connect(path, busy_timeout=busy_timeout)
    reader = Reader(path, busy_timeout)
    protection = protection_at(path.parent)

    def payload(*position: object) -> str:
        place = position[0]
        if not isinstance(place, int):
            raise EventError(f"payload() takes a position, not {place!r}")
        row = reader.row(place)
        revealed = protection.reveal(metadata_of(place, row), row.payload)
        return inline(row.type, revealed.payload, reader.part).decode(errors="replace")

    connection.create_scalar_function("payload", payload, 1)
    connection.execute("CREATE TEMP VIEW log AS SELECT *, payload(position) AS payload FROM events")
    connection.execute("PRAGMA query_only=1")
    return connection
