"""The decision log in PostgreSQL: any number of machines append to one log, synced before it is acknowledged.

The promises are those of `store`; blocks, their chain and the group commit are the embedded log's. What
this file does not know: what the events mean, and when threads take turns (`group_commit`).
"""

from __future__ import annotations

import tempfile
import time
import weakref
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from pathlib import Path

from ultracore.distillation.errors import LogUnavailableError
from ultracore.distillation.events.block import Row
from ultracore.distillation.events.checkpoints import Notary
from ultracore.distillation.events.facts import Event
from ultracore.distillation.events.forks import survive_forks
from ultracore.distillation.events.group_commit import Batch, GroupCommit
from ultracore.distillation.events.postgres_connection import Bell
from ultracore.distillation.events.postgres_reader import Filters, Reader
from ultracore.distillation.events.postgres_schema import check_keyring, migrate
from ultracore.distillation.events.postgres_writer import Writer
from ultracore.distillation.events.privacy.protection import Protection, protection_at
from ultracore.distillation.events.rows import event_of, is_storable, row_of
from ultracore.distillation.events.spool import Spool
from ultracore.distillation.events.store import Expected
from ultracore.distillation.events.witness import Witness
from ultracore.distillation.settings import load_settings

__all__ = ["PostgresEventStore"]

IDS_AT_ONCE = 10_000
POLL_SECONDS = 1.0
RETRY_SECONDS = 0.2


class PostgresEventStore:
    """Keeps the promises of `EventStore` in the schema `distill` of one database.

    Args:
        url: `postgresql://user@host/database`; a password comes from `PGPASSWORD` or `~/.pgpass`.
        patience: Seconds to wait for a server that went away in the middle of a commit, or under `follow`.
        protection: Redacts and seals what is stored; by default what the settings say, with keys in the home folder.
        checkpoints: Folder of the signed statements about the chain, outside the database; null for none.
        checkpoint_seconds: Between two of them, while events come.

    Attributes:
        durability: What an acknowledgement means here, in words.

    Raises:
        LogUnavailableError: The server cannot be reached.
        LogError: It does not sync, a newer release wrote the log, this user may not create the tables, or the log
            is sealed with other keys.

    Example:
        store = PostgresEventStore("postgresql://distill@db.internal/decisions")
        store.append([RetrainTriggeredEvent.record(model_id="m", reason="scheduled")])
    """

    def __init__(
        self,
        url: str,
        *,
        patience: float = 60.0,
        protection: Protection | None = None,
        checkpoints: Path | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self.url = url
        self.durability = "strict: an acknowledged event was synced by the server"
        self.protection = protection_at(load_settings().home_path) if protection is None else protection
        self._patience = patience
        witness = Witness(Notary(checkpoints), checkpoint_seconds) if checkpoints else None
        writer = Writer(url, patience, self.protection.persist, witness)
        try:
            migrate(writer.open(), url)
            check_keyring(writer.open(), url, self.protection.fingerprint)
        except BaseException:
            writer.release()
            raise
        self._writer = GroupCommit(writer)
        self._reader = Reader(url)
        survive_forks(self._writer, self._reader)
        self._finalizer = weakref.finalize(self, _shut, self._writer, self._reader)

    def submit(self, events: Iterable[Event], *, expected: Expected | None = None) -> Future[list[int]]:
        """Hand events over for one atomic append; never waits for the server.

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
        ids = filter(is_storable, event_ids)
        found: set[str] = set()
        while some := list(islice(ids, IDS_AT_ONCE)):
            query = "SELECT event_id FROM distill.events WHERE event_id = ANY(%s)"
            found.update(row[0] for row in self._reader.fetch(query, (some,)))
        return found

    def last_position(self) -> int:
        """Position of the newest event, 0 for an empty log."""
        return self._reader.last_position()

    def follow(
        self, *, after: int = 0, types: Collection[str] | None = None, timeout: float | None = None
    ) -> Iterator[Event]:
        """Yield events as they come, without a skip or a duplicate; ends after `timeout` idle seconds.

        The server says when there is something new; where it cannot, a look every second does. A server that
        goes away is waited for.
        """
        bell = Bell(self.url)
        active, away = time.monotonic(), None
        try:
            while away or timeout is None or time.monotonic() - active <= timeout:
                try:
                    bell.listen()
                    last, away = self.last_position(), None
                    for event in self.read(after=after, until=last, types=types):
                        after = event.metadata.position or after
                        yield event
                        active = time.monotonic()
                    after = max(after, last)
                    bell.wait(
                        POLL_SECONDS if timeout is None else min(POLL_SECONDS, active + timeout - time.monotonic())
                    )
                except LogUnavailableError:
                    away = away or time.monotonic()
                    if time.monotonic() - away > self._patience:
                        raise
                    time.sleep(RETRY_SECONDS)
        finally:
            bell.close()

    def close(self) -> None:
        """Finish what was submitted, then let go of the connections; further calls raise `LogError`."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    def _enqueue(self, events: Iterable[Event], expected: Expected | None) -> Batch:
        rows = Spool(Path(tempfile.gettempdir()))
        for event in events:
            row, parts = row_of(event, self.protection)
            rows.add(row)
            rows.parts |= parts
        batch = Batch(rows, expected)
        self._writer.submit(batch)
        return batch


def _shut(writer: GroupCommit, reader: Reader) -> None:
    writer.close()
    reader.close()
