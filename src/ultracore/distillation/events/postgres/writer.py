"""The writing side of the log in PostgreSQL, for `GroupCommit`'s thread alone.

Positions have no gaps and none shows late, because writers take turns: a transaction lock is held from
the look at the newest block until the commit is visible. What this file does not know: threads taking
turns (`group_commit`) and the protocol (`postgres`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psycopg

from ultracore.distillation.errors import LogError, LogUnavailableError
from ultracore.distillation.events.block import Block, Chained
from ultracore.distillation.events.checkpoint_schedule import CheckpointSchedule
from ultracore.distillation.events.group_commit import Batch
from ultracore.distillation.events.kept_parts import KeptParts
from ultracore.distillation.events.packer import Packer
from ultracore.distillation.events.postgres.blocks import Group
from ultracore.distillation.events.postgres.connection import CHANNEL, Connection, connect, explain, name_of
from ultracore.distillation.events.postgres.schema import LOCK

__all__ = ["Writer"]

RETRY_SECONDS = 0.2
BUSY_SECONDS = 60

# Each statement sees what was committed before it began, so the look at the newest block comes after the lock.
# A commit that waits for nothing would be acknowledged before it is synced; other values are the operator's choice.
# A writer that is stopped in the middle loses its turn after a while.
BEGIN = f"""
    BEGIN ISOLATION LEVEL READ COMMITTED;
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
    SET LOCAL lock_timeout = '{BUSY_SECONDS}s';
    SET LOCAL idle_in_transaction_session_timeout = '{BUSY_SECONDS}s';
    SELECT pg_advisory_xact_lock({LOCK})"""

NEWEST = "SELECT first, previous, hash, events, rows, sums, data FROM distill.blocks ORDER BY first DESC LIMIT 1"


class Writer:
    """See `Target`.

    Args:
        url: Where the database is.
        patience: Seconds to wait for a server that went away in the middle of a commit.
        before_commit: Called before each commit; what it raises undoes the group.
        schedule: Told where the chain stands, now and then; null for none.
    """

    def __init__(
        self, url: str, patience: float, before_commit: Callable[[], None], schedule: CheckpointSchedule | None
    ) -> None:
        self._url = url
        self._patience = patience
        self._before_commit = before_commit
        self._schedule = schedule
        self._packer = Packer()
        self._kept = KeptParts()
        self._acknowledged = 0
        self._is_verified = False
        self._connection: Connection | None = None
        self._group: Group | None = None

    def open(self) -> Connection:
        """The connection, opened where it is not."""
        if self._connection is None:
            self._connection = connect(self._url)
        return self._connection

    def begin(self, batches: Sequence[Batch]) -> None:
        """See `Target`; takes the lock that all writers share."""
        try:
            self.open().execute(BEGIN)
        except psycopg.OperationalError:
            if not self.open().closed:
                raise
            self.release()  # the server was restarted since the last group: nothing was sent yet
            self.open().execute(BEGIN)
        self._verify_tail()
        self._group = group = Group(self.open(), batches, self._packer, self._kept)
        if group.next <= self._acknowledged:
            raise LogError(
                f"the decision log {name_of(self._url)} ends at position {group.next - 1}, but {self._acknowledged} "
                "was acknowledged: the server lost it, or another one took its place; restore what is missing first"
            )

    def write(self, batch: Batch) -> list[int]:
        """See `Target`; the batch gets the next positions, or none."""
        return self._open_group().write(batch)

    def write_together(self, batches: Batch) -> list[int] | None:
        """See `Target`: here they are sent together anyhow."""
        return None

    def commit(self) -> None:
        """See `Target`; a commit whose answer is lost is looked up.

        Raises:
            LogError: The answer is lost, and the server did not come back in time to say what became of it.
        """
        connection, group = self.open(), self._open_group()
        group.flush()
        self._before_commit()
        connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(group.next - 1)))
        try:
            connection.execute("COMMIT")
        except psycopg.OperationalError as error:
            if not connection.closed or not self._was_committed(group):
                raise explain(error, self._url) from None
        self._acknowledged = group.next - 1
        self._kept.committed()
        if self._schedule is not None:
            self._schedule.saw(self._acknowledged, group.hash)

    def tend(self, *, closing: bool) -> float | None:
        """See `Target`; has the chain signed."""
        if self._schedule is None or self._connection is None:
            return None
        (store_id,) = self._connection.execute("SELECT store_id FROM distill.store").fetchone() or ("",)
        return self._schedule.tend(store_id, closing=closing)

    def abandon(self, error: Exception) -> LogError:
        """See `Target`; the server undoes what was not committed."""
        self.release()
        return error if isinstance(error, LogError) else explain(error, self._url)

    def release(self) -> None:
        """See `Target`."""
        self._packer.close()
        self._kept.forget()
        connection, self._connection, self._group = self._connection, None, None
        self._is_verified = False
        if connection is not None:
            connection.close()

    def _verify_tail(self) -> None:
        """Once a connection: the newest block is whole, for nothing is chained to a damaged one."""
        if self._is_verified:
            return
        found = self.open().execute(NEWEST, binary=True).fetchone()
        if found is not None:
            first, previous, digest, *content = found
            newest = Chained(first, previous, digest, Block(*content))
            if not newest.is_intact:
                raise LogError(
                    f"the decision log {name_of(self._url)} is damaged at positions {newest.first} to {newest.last}: "
                    "nothing is appended to it; `distill verify` says more; restore a backup"
                )
        self._is_verified = True

    def _open_group(self) -> Group:
        if self._group is None:
            raise LogError("no transaction is open")
        return self._group

    def _was_committed(self, group: Group) -> bool:
        """Whether the group's newest block is in the log, asked until the server answers."""
        deadline = time.monotonic() + self._patience
        while True:
            self.release()
            try:
                return self._has(group)
            except (psycopg.Error, LogError) as error:
                if time.monotonic() > deadline:
                    raise LogUnavailableError(
                        f"the decision log {name_of(self._url)}: the connection broke during a commit and the server "
                        f"did not come back within {self._patience:.0f} s, so whether these events are stored is not "
                        f"known; append them again with the same ids: the log refuses those that it has ({error})"
                    ) from None
            time.sleep(RETRY_SECONDS)

    def _has(self, group: Group) -> bool:
        """Holding the lock: its last holder has then either committed or vanished."""
        connection = self.open()
        connection.execute(BEGIN)
        query = "SELECT 1 FROM distill.blocks WHERE first = %s AND hash = %s"
        found = connection.execute(query, (group.first, group.hash)).fetchone()
        connection.execute("ROLLBACK")
        return found is not None
