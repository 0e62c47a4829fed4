"""What every store of blocks has in common: rows go in by group commit and come out by a reader.

What this file does not know: which database is behind them.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from ultracore.distillation.events.block import Row
from ultracore.distillation.events.facts import Event
from ultracore.distillation.events.forks import survive_forks
from ultracore.distillation.events.group_commit import Batch, GroupCommit, Target
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.rows import event_of, row_of
from ultracore.distillation.events.spool import Spool
from ultracore.distillation.events.store import Expected

__all__ = ["BlockStore", "Filters", "Reader"]


class Filters(NamedTuple):
    """The filters of `EventStore.read`, but for positions."""

    types: Collection[str] | None = None
    tenant: str | None = None
    aggregate: str | None = None
    agent: str | None = None
    since: str | None = None
    until_time: str | None = None


class Reader(Protocol):
    """The reading side of a store: one connection that threads share, opened again where it was released."""

    lock: threading.Lock

    @property
    def part(self) -> Callable[[str], bytes]:
        """Gives what payloads name by hash."""
        ...

    def rows(self, after: int, last: int, filters: Filters) -> Iterator[tuple[int, Row]]:
        """Positions and rows in order, those after `after` up to and including `last`."""
        ...

    def last_position(self) -> int:
        """Position of the newest event, 0 for an empty log."""
        ...

    def known(self, event_ids: Collection[str]) -> set[str]:
        """Those of the given ids that are in the log already."""
        ...

    def release(self) -> None:
        """Close the connection for now."""
        ...

    def close(self) -> None:
        """Close it for good."""
        ...


class BlockStore:
    """Everything of `EventStore` but `follow`.

    Args:
        target: Where groups are written, open already.
        reader: Where rows are read.
        protection: Redacts and seals what is stored.
        spool: Folder of the temporary file of an append that is too large for memory.
    """

    def __init__(self, target: Target, reader: Reader, protection: Protection, spool: Path) -> None:
        self.protection = protection
        self._spool = spool
        self._writer = GroupCommit(target)
        self._reader = reader
        self._finalizer = weakref.finalize(self, _shut, self._writer, reader)
        survive_forks(self._writer, reader)

    def submit(
        self, events: Iterable[Event], *, expected: Expected | None = None, patient: bool = False
    ) -> Future[list[int]]:
        """Hand events over for one atomic append; never waits for the database.

        The events are encoded here and now, so that a later change of a dict inside them is not stored.
        See `EventStore.submit`.
        """
        return self._enqueue(events, expected, patient).future

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
        return self._reader.rows(after, last if until is None else min(until, last), Filters())

    def known(self, event_ids: Collection[str]) -> set[str]:
        """Those of the given ids that are in the log already."""
        return self._reader.known(event_ids)

    def last_position(self) -> int:
        """Position of the newest event, 0 for an empty log."""
        return self._reader.last_position()

    def close(self) -> None:
        """Finish what was submitted, then let go of the database; further calls raise `LogError`."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    def _enqueue(self, events: Iterable[Event], expected: Expected | None, patient: bool = False) -> Batch:
        rows = Spool(self._spool)
        for event in events:
            row, parts = row_of(event, self.protection)
            rows.add(row)
            rows.parts |= parts
        batch = Batch(rows, expected, patient=patient)
        self._writer.submit(batch)
        return batch


def _shut(writer: GroupCommit, reader: Reader) -> None:
    writer.close()
    reader.close()
