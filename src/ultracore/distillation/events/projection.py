"""State that follows from the log: each event applied exactly once, whatever is killed when.

A projection keeps its state in SQL tables of a file of its own; the position up to which it has read is
written in the same transaction. It can be thrown away and built again, and asked for any past moment.
What this file does not know: what any projection counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import apsw

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.base import Event
from ultracore.distillation.events.moment import Moment, known_at
from ultracore.distillation.events.store import EventStore

__all__ = ["Projection", "Projector", "project"]

BATCH = 1000
"""Events in a transaction."""

TRACKING = "CREATE TABLE tracking (name TEXT, version INT, position INT, last INT, event_id TEXT)"
TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


class Projection(Protocol):
    """What to keep of the events.

    Attributes:
        name: Names its file.
        version: To be raised with every change of the tables or of `apply`; older state is built again.
        types: The event types that it wants; `None` for all.
        schema: SQL that makes its tables, none of them called `tracking`.
    """

    name: str
    version: int
    types: Collection[str] | None
    schema: str

    def apply(self, event: Event, state: apsw.Connection) -> None:
        """Take one event into the tables; never commits, and looks at nothing but its arguments."""
        ...


class Tracked(NamedTuple):
    """How far a state has come: the position read, and the last event that was applied."""

    position: int
    last: int
    event_id: str


class Projector:
    """Keeps a projection's state up to date with a log.

    Args:
        store: The log.
        projection: What to keep.
        path: The file of the state, made where it is missing; its folder, too.

    Attributes:
        state: The connection to query.

    Raises:
        LogError: The file cannot be opened or written, or is another program's.

    Example:
        >>> import tempfile
        >>> from ultracore.distillation.events import RetrainTriggeredEvent
        >>> from ultracore.distillation.events.sqlite import SqliteEventStore
        >>> class Reasons:
        ...     name, version, types = "reasons", 1, ("RETRAIN_TRIGGERED",)
        ...     schema = "CREATE TABLE reasons (reason TEXT PRIMARY KEY, n INT)"
        ...     def apply(self, event, state):
        ...         sql = "INSERT INTO reasons VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1"
        ...         state.execute(sql, [event.reason])
        >>> folder = Path(tempfile.mkdtemp())
        >>> store = SqliteEventStore(folder / "log.db")
        >>> store.append([RetrainTriggeredEvent.record(model_id="m", reason="scheduled")])
        [1]
        >>> projector = Projector(store, Reasons(), folder / "reasons.db")
        >>> projector.catch_up()
        1
        >>> projector.state.execute("SELECT * FROM reasons").fetchall()
        [('scheduled', 1)]
        >>> store.close()
    """

    def __init__(self, store: EventStore, projection: Projection, path: Path) -> None:
        self.store = store
        self.projection = projection
        self.path = path
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.state = apsw.Connection(str(path))
            self.state.set_busy_timeout(60_000)
            self.state.execute("PRAGMA journal_mode=WAL")
            self.state.execute("PRAGMA synchronous=NORMAL")  # consistent at any power loss; what is lost is read again
            self._inode = path.stat().st_ino

    @property
    def is_stale(self) -> bool:
        """Whether the file is not the one that was opened: an erasure deletes it while others have it open."""
        try:
            return self.path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def catch_up(self) -> int:
        """Apply what is new, each event once, also where several processes do it; returns the position reached.

        State of another version, or of a log that is not this one's past (an older copy was put back, say), is
        built again.
        """
        until = self.store.last_position()
        with _explained(self.path):
            while (reached := self._step(until)) < until:
                pass
        return reached

    def rebuild(self) -> int:
        """Forget the state and build it again; the outcome is the same."""
        with _explained(self.path), self._transaction():
            self._clear()
        return self.catch_up()

    def export(self, file: Path) -> None:
        """Write the state as one SQLite file; equal states give equal bytes."""
        with _explained(file):
            self.state.execute("VACUUM INTO ?", (str(file),))
            copy = apsw.Connection(str(file))
            copy.execute("PRAGMA schema_version=1")  # counts how often tables were made anew
            copy.close()

    def close(self) -> None:
        """Let go of the file."""
        self.state.close()

    def _step(self, until: int) -> int:
        with self._transaction():
            tracked = self._tracked()
            batch = self._batch(tracked.position, until)
            for event in batch:
                self.projection.apply(event, self.state)
            # another process may have come further than this one looked
            position = max(until, tracked.position) if len(batch) < BATCH else _position(batch[-1])
            last = (_position(batch[-1]), batch[-1].metadata.event_id) if batch else tracked[1:]
            self.state.execute("UPDATE tracking SET position = ?, last = ?, event_id = ?", (position, *last))
            return position

    def _batch(self, after: int, until: int) -> list[Event]:
        return list(self.store.read(after=after, until=until, types=self.projection.types, limit=BATCH))

    def _tracked(self) -> Tracked:
        """How far the state is, of this version and this log; from the start where it is of another."""
        if not any(name == "tracking" for (name,) in self.state.execute(TABLES)):
            return self._clear()
        query = "SELECT position, last, event_id FROM tracking WHERE version = ?"
        row = self.state.execute(query, (self.projection.version,)).fetchone()
        tracked = Tracked(*row) if row else None
        return tracked if tracked and self._is_past(tracked) else self._clear()

    def _is_past(self, tracked: Tracked) -> bool:
        if tracked.position > self.store.last_position():
            return False
        found = next(self.store.read(after=tracked.last - 1, until=tracked.last), None) if tracked.last else None
        return (found.metadata.event_id if found else "") == tracked.event_id

    def _clear(self) -> Tracked:
        tables = [name for (name,) in self.state.execute(TABLES)]
        if tables and "tracking" not in tables:
            raise LogError(f"{self.path} is no projection; give its state a file of its own")
        for table in tables:
            self.state.execute(f'DROP TABLE "{table}"')
        self.state.execute(self.projection.schema)
        self.state.execute(TRACKING)
        values = (self.projection.name, self.projection.version)
        self.state.execute("INSERT INTO tracking VALUES (?, ?, 0, 0, '')", values)
        return Tracked(0, 0, "")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.state.execute("BEGIN IMMEDIATE")  # before the position is read: nobody else applies meanwhile
        try:
            yield
        except BaseException:
            if self.state.in_transaction:  # where a disk is full, SQLite has rolled back itself
                self.state.execute("ROLLBACK")
            raise
        self.state.execute("COMMIT")


def project(
    store: EventStore, projection: Projection, moment: Moment | None = None, tenant: str | None = None
) -> apsw.Connection:
    """A projection's state at any moment of the past, in memory.

    Args:
        store: The log.
        projection: What to keep.
        moment: A position or a time (see `moment.known_at`); now by default.
        tenant: Only this tenant's events.

    Returns:
        A connection to query.

    Raises:
        EventError: The time is not ISO 8601.
    """
    state = apsw.Connection(":memory:")
    state.execute(projection.schema)
    with state:
        for event in store.read(types=projection.types, tenant=tenant, **known_at(moment)):
            projection.apply(event, state)
    return state


def _position(event: Event) -> int:
    return event.metadata.position or 0


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise LogError(
            f"the projection {path} cannot be written: {error}; check permissions and space. It can be deleted: it "
            "is built again from the log"
        ) from error
