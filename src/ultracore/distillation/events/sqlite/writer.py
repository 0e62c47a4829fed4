"""The writing side of the SQLite log, for `GroupCommit`'s thread alone.

After an error nothing is acknowledged until the file was opened anew, everything in its write-ahead log
was copied and synced once more, and the tail was verified. One process, elected by a lock file, moves the
write-ahead log into the database. What this file does not know: threads taking turns, and reading.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from ultracore.distillation.errors import ConcurrencyError, DistillationError, EventError, LogError
from ultracore.distillation.events.block import DamagedBlockError
from ultracore.distillation.events.checkpoint_schedule import CheckpointSchedule
from ultracore.distillation.events.election import Election
from ultracore.distillation.events.group_commit import Batch
from ultracore.distillation.events.kept_parts import KeptParts
from ultracore.distillation.events.packer import Packer
from ultracore.distillation.events.sqlite.blocks import HEAD, BlockWriter, chained
from ultracore.distillation.events.sqlite.file import connect, explain
from ultracore.distillation.events.sqlite.reader import OF_AGGREGATE, findable
from ultracore.distillation.events.store import Expected

__all__ = ["Writer"]

CHECKPOINT_PAGES = 2_000  # keeps the write-ahead log near 32 MB


class Writer:
    """See `Target`.

    Args:
        path: The log.
        synchronous: See `connect`.
        busy_timeout: Seconds to wait while another process writes.
        loss_window: Seconds after which what was committed is synced, where commits are not.
        before_commit: Called before each commit; what it raises undoes the group.
        schedule: Told where the chain stands, now and then; null for none.
    """

    def __init__(
        self,
        path: Path,
        synchronous: str,
        busy_timeout: float,
        loss_window: float,
        before_commit: Callable[[], None] = lambda: None,
        schedule: CheckpointSchedule | None = None,
    ) -> None:
        self._path = path
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._before_commit = before_commit
        self._loss_window = loss_window if synchronous == "NORMAL" else None
        self._election = Election(path.with_name(path.name + ".lock"))
        self._connection: apsw.Connection | None = None
        self._blocks: BlockWriter | None = None
        self._suspect = False
        self._schedule = schedule
        self._packer = Packer()
        self._kept = KeptParts()
        self._acknowledged = 0
        self._wal_pages = 0
        self._unsynced_since: float | None = None
        self._inode: int | None = 0
        self._store_id = ""

    def open(self, *, create: bool = False) -> apsw.Connection:
        """The connection, opened and its tail verified where it is not; only the first opening may create the file."""
        if self._connection is None:
            connection = connect(
                self._path, synchronous=self._synchronous, busy_timeout=self._busy_timeout, create=create
            )
            try:
                self._verify_tail(connection)
            except BaseException:
                connection.close(True)
                raise
            connection.set_wal_hook(self._committed)
            self._inode = _inode(self._path)
            self._store_id = connection.execute("SELECT store_id FROM log").get
            self._connection, self._suspect = connection, False
        return self._connection

    def begin(self, group: Sequence[Batch]) -> None:
        """See `Target`; takes the lock that processes share, and the next position."""
        connection = self.open()
        if _inode(self._path) != self._inode:
            raise LogError(f"the decision log {self._path} was moved or deleted while it was open; open it again")
        connection.execute("BEGIN IMMEDIATE")
        self._blocks = BlockWriter(connection, self._packer, self._kept)

    def write(self, batch: Batch) -> list[int]:
        """See `Target`; the batch gets the next positions, or none."""
        connection, blocks = self.open(), self._open_blocks()
        if batch.rows.spilled:
            blocks.flush()
        mark = blocks.mark()
        connection.execute("SAVEPOINT batch")
        try:
            self._check(batch.expected)
            self._add(batch, blocks)
        except (DistillationError, apsw.ConstraintError) as error:
            blocks.rewind(mark)
            connection.execute("ROLLBACK TO batch")
            connection.execute("RELEASE batch")
            raise self._refusal(error, batch) from None
        connection.execute("RELEASE batch")
        return list(range(mark.next, blocks.next))

    def write_together(self, batches: Batch) -> list[int] | None:
        """See `Target`: a savepoint and a statement cost more than a row."""
        try:
            return self.write(batches)
        except DistillationError:  # of one of them, which will hear of it
            return None

    def commit(self) -> None:
        """See `Target`."""
        blocks = self._open_blocks()
        blocks.flush()
        self._before_commit()
        self.open().execute("COMMIT")
        self._kept.committed()
        self._acknowledged = blocks.next - 1
        if self._schedule is not None:
            self._schedule.saw(self._acknowledged, blocks.tip)
        self._blocks = None

    def tend(self, *, closing: bool) -> float | None:
        """See `Target`; has the chain signed, and the write-ahead log moved."""
        waits = [self._move_wal()]
        if self._schedule is not None and self._connection is not None:
            waits.append(self._schedule.tend(self._store_id, closing=closing))
        return min((wait for wait in waits if wait is not None), default=None)

    def _move_wal(self) -> float | None:
        """Move the write-ahead log when it is long, or when its window is over; seconds until it will be."""
        due = self._due()
        if self._connection is not None and (due == 0 or self._wal_pages >= CHECKPOINT_PAGES) and self._election.win():
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._wal_pages, self._unsynced_since = 0, None
            return None
        return due

    def abandon(self, error: Exception) -> LogError:
        """See `Target`; the next group begins with opening the file anew."""
        self._suspect = not isinstance(error, apsw.BusyError | LogError) or self._suspect
        with contextlib.suppress(apsw.Error):  # the first error is the one to tell
            self.release()
        return error if isinstance(error, LogError) else explain(error, self._path)

    def release(self) -> None:
        """See `Target`."""
        self._blocks = None
        self._kept.forget()
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                connection.close(True)
        finally:
            self._packer.close()
            self._election.resign()

    def _verify_tail(self, connection: apsw.Connection) -> None:
        """The last block is whole, and nothing that was acknowledged is missing.

        After a failed sync the kernel may say that pages are clean which never reached the disk. So whatever
        the write-ahead log holds is copied into the database and synced there, and the log begun anew:
        a hole in it can then not swallow later commits.
        """
        try:
            if self._suspect:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            values = connection.execute(HEAD).fetchone()
            head = chained(values) if values else None
        except (apsw.Error, DamagedBlockError) as error:
            raise explain(error, self._path) from error
        if head and not head.is_intact:
            raise LogError(
                f"the decision log {self._path} is damaged at positions {head.first} to {head.last}: "
                "nothing is appended to it; `distill verify` says more; restore a backup"
            )
        if (head.last if head else 0) < self._acknowledged:
            raise LogError(
                f"the decision log {self._path} ends at position {head.last if head else 0}, but "
                f"{self._acknowledged} was acknowledged: restore a backup and check the disk"
            )

    def _committed(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        if self._loss_window is not None and self._unsynced_since is None:
            self._unsynced_since = time.monotonic()
        return apsw.SQLITE_OK

    def _due(self) -> float | None:
        """Seconds until what was committed must be synced; null where nothing waits for it."""
        if self._loss_window is None or self._unsynced_since is None:
            return None
        return max(0.0, self._unsynced_since + self._loss_window - time.monotonic())

    def _open_blocks(self) -> BlockWriter:
        if self._blocks is None:
            raise LogError("no transaction is open")
        return self._blocks

    def _check(self, expected: Expected | None) -> None:
        if expected is None:
            return
        query = f"SELECT count(*) FROM events WHERE {OF_AGGREGATE}"  # noqa: S608 - our own constant
        found = self.open().execute(query, [findable(expected.aggregate_id)] * 2).get
        if found != expected.events:
            raise ConcurrencyError(
                f"{expected.aggregate_id} has {found} events, not {expected.events}: somebody appended first; "
                "read it again and decide anew"
            )

    def _add(self, batch: Batch, blocks: BlockWriter) -> None:
        blocks.keep_parts(batch.rows.parts)
        for rows, block in batch.rows.runs():
            if batch.withdrawn:
                raise LogError("the append was withdrawn by its caller")
            if block is None:
                blocks.index(rows)
            else:
                blocks.index_packed(rows, block)

    def _refusal(self, error: Exception, batch: Batch) -> Exception:
        if not isinstance(error, apsw.ConstraintError):
            return error
        seen: set[str] = set()
        for row in (row for run in batch.rows.runs() for row in run.rows):
            known = self.open().execute("SELECT 1 FROM events WHERE event_id = ?", (row.event_id,)).get
            if row.event_id in seen or known:
                return EventError(f"event {row.event_id} is in the log already; nothing of this append was stored")
            seen.add(row.event_id)
        return error


def _inode(path: Path) -> int | None:
    """Which file lies there; `None` for none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
