"""The embedded decision log: one SQLite file of chained blocks, synced before it is acknowledged.

Any number of threads and processes may append; positions have no gaps. A store survives a fork (both
sides go on) and writes what was submitted before the interpreter ends. What this file does not know:
what the events mean, and when threads take turns (`group_commit`).
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from pathlib import Path

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.block import Row
from ultracore.distillation.events.checkpoints import Notary
from ultracore.distillation.events.facts import Event
from ultracore.distillation.events.forks import survive_forks
from ultracore.distillation.events.group_commit import Batch, GroupCommit
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.privacy.protection import Protection, protection_at
from ultracore.distillation.events.rows import event_of, row_of
from ultracore.distillation.events.spool import Spool
from ultracore.distillation.events.sqlite_reader import Filters, Reader, marks
from ultracore.distillation.events.sqlite_writer import Writer
from ultracore.distillation.events.store import Expected
from ultracore.distillation.events.witness import Witness

__all__ = ["SqliteEventStore", "open_store"]

MAX_PARAMETERS = 500
POLL_SECONDS = 0.02


class SqliteEventStore:
    """Keeps the promises of `EventStore` in one SQLite file.

    Args:
        path: The database file; its folder is created where it is missing.
        synchronous: `FULL` (acknowledged events survive a power loss) or `NORMAL` (the newest may not, those
            of the last `loss_window` seconds).
        busy_timeout: Seconds to wait while another process writes.
        loss_window: Seconds between syncs, where `synchronous` is `NORMAL`.
        protection: Redacts and seals what is stored; by default what the settings say, with keys beside the log.
        checkpoints: Folder of the signed checkpoints; none are signed by default (`open_store` names one).
        checkpoint_seconds: Seconds between two of them, while events come; one more is signed at the end.

    Attributes:
        durability: What an acknowledgement means here, in words.

    Raises:
        LogError: The file cannot be opened, is another program's, or a newer release wrote it.

    Example:
        >>> import tempfile
        >>> from ultracore.distillation.events import RetrainTriggeredEvent
        >>> store = SqliteEventStore(Path(tempfile.mkdtemp()) / "log.db")
        >>> store.append([RetrainTriggeredEvent.record(model_id="m", reason="scheduled")])
        [1]
        >>> [event.event_type for event in store.read()]
        ['RETRAIN_TRIGGERED']
        >>> store.close()
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "FULL",
        busy_timeout: float = 60.0,
        loss_window: float = 1.0,
        protection: Protection | None = None,
        checkpoints: Path | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"cannot create the folder of the decision log: {error}") from None
        self.protection = protection_at(self.path.parent) if protection is None else protection
        witness = Witness(Notary(checkpoints), checkpoint_seconds) if checkpoints else None
        writer = Writer(self.path, synchronous, busy_timeout, loss_window, self.protection.persist, witness)
        writer.open(create=True)
        self.durability = _durability(synchronous, loss_window)
        self._writer = GroupCommit(writer)
        self._reader = Reader(self.path, busy_timeout)
        self._finalizer = weakref.finalize(self, _shut, self._writer, self._reader)
        survive_forks(self._writer, self._reader)

    def submit(self, events: Iterable[Event], *, expected: Expected | None = None) -> Future[list[int]]:
        """Hand events over for one atomic append; never waits for the log's disk.

        The events are encoded here and now, so that a later change of a dict inside them is not stored.
        See `EventStore.submit`.
        """
        return self._enqueue(events, expected).future

    def append(self, events: Iterable[Event], *, expected: Expected | None = None) -> list[int]:
        """`submit`, and wait; an interrupted wait withdraws what is not committed yet."""
        batch = self._enqueue(events, expected)
        try:
            return batch.future.result()
        except KeyboardInterrupt:
            batch.withdrawn = True
            raise

    def read(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        types: Collection[str] | None = None,
        tenant: str | None = None,
        aggregate: str | None = None,
        agent: str | None = None,
        since: str | None = None,
        until_time: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Events in order of position, page by page; those appended after the first one are left out."""
        filters = Filters(types, tenant, aggregate, agent, since, until_time)
        last = self.last_position()
        rows = self._reader.rows(after, last if until is None else min(until, last), filters)
        for position, row in rows if limit is None else islice(rows, max(0, limit)):
            yield event_of(position, row, self._reader.part, self.protection)

    def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[tuple[int, Row]]:
        """Positions and rows as they are stored, payloads not decoded: for copies, checks and statistics."""
        last = self.last_position()
        return self._reader.rows(after, last if until is None else min(until, last))

    def known(self, event_ids: Collection[str]) -> set[str]:
        """Those of the given ids that are in the log already."""
        wanted = list(event_ids)
        found: set[str] = set()
        for start in range(0, len(wanted), MAX_PARAMETERS):
            part = wanted[start : start + MAX_PARAMETERS]
            query = f"SELECT event_id FROM events WHERE event_id IN ({marks(part)})"  # noqa: S608 - values are bound
            found.update(row[0] for row in self._reader.fetch(query, tuple(part)))
        return found

    def last_position(self) -> int:
        """Position of the newest event, 0 for an empty log."""
        return self._reader.last_position()

    def follow(
        self, *, after: int = 0, types: Collection[str] | None = None, timeout: float | None = None
    ) -> Iterator[Event]:
        """Yield events as they come, without a skip or a duplicate; ends after `timeout` idle seconds."""
        idle_since = time.monotonic()
        while timeout is None or time.monotonic() - idle_since <= timeout:
            last = self.last_position()
            if last == after:
                time.sleep(POLL_SECONDS)
                continue
            for event in self.read(after=after, until=last, types=types):
                yield event
                idle_since = time.monotonic()
            after = last

    def close(self) -> None:
        """Finish what was submitted, then let go of the files; further calls raise `LogError`."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    def _enqueue(self, events: Iterable[Event], expected: Expected | None) -> Batch:
        rows = Spool(self.path.parent)
        for event in events:
            row, parts = row_of(event, self.protection)
            rows.add(row)
            rows.parts |= parts
        batch = Batch(rows, expected)
        self._writer.submit(batch)
        return batch


def _durability(synchronous: str, loss_window: float) -> str:
    if synchronous == "NORMAL":
        return f"relaxed: a power loss may take the events of the last {1000 * loss_window:,.0f} ms"
    return "strict: an acknowledged event survives a power loss"


def _shut(writer: GroupCommit, reader: Reader) -> None:
    writer.close()
    reader.close()
