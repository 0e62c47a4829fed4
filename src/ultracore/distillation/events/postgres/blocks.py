"""Writes one group of batches into the tables of an open transaction.

What this file does not know: who began the transaction, and whether it will be committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import zstandard

from ultracore.distillation.errors import ConcurrencyError, EventError, LogError
from ultracore.distillation.events.block import GENESIS, Block, Row, link, pack, split
from ultracore.distillation.events.group_commit import Batch
from ultracore.distillation.events.kept_parts import KeptParts
from ultracore.distillation.events.packer import Packer
from ultracore.distillation.events.postgres.connection import Connection
from ultracore.distillation.events.rows import INDEX_COLUMNS, index_of, is_storable

__all__ = ["Group"]

TIP = "SELECT first + events, hash FROM distill.blocks ORDER BY first DESC LIMIT 1"
KNOWN = "SELECT event_id FROM distill.events WHERE event_id = ANY(%s)"
# A decision is its own aggregate; such rows are found by their id and kept out of the second index.
COUNT = """
    SELECT a, (SELECT count(*) FROM distill.events WHERE aggregate = a AND aggregate <> event_id)
            + (SELECT count(*) FROM distill.events WHERE event_id = a AND aggregate = event_id)
    FROM unnest(%s::text[]) AS a"""
INSERT_BLOCK = "INSERT INTO distill.blocks VALUES (%b, %b, %b, %b, %b, %b, %b)"
INSERT_PARTS = "INSERT INTO distill.parts SELECT * FROM unnest(%b::text[], %b::bytea[]) ON CONFLICT DO NOTHING"
COPY_EVENTS = f"COPY distill.events ({', '.join(INDEX_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
COLUMN_TYPES = ("int8", "text", "text", "int4", *["text"] * 8)
PART_LEVEL = 9  # written once, read often
IDS_AT_ONCE = 10_000


class Group:
    """What one transaction adds to the log.

    The database is asked once, at the start, for all ids and expectations of the group: one question
    for each batch would cost a round trip for each event.

    Args:
        connection: In a transaction that holds the writers' lock.
        batches: What `write` will be given.
        packer: Packs while rows are indexed.
        kept: The parts that need not be written; its owner tells it how the transaction ends.

    Attributes:
        next: The position that the next row gets.
        first: Position of the newest block, none until one was written.
        hash: Hash of the newest block.
    """

    def __init__(self, connection: Connection, batches: Sequence[Batch], packer: Packer, kept: KeptParts) -> None:
        self._connection = connection
        self._kept = kept
        self._packer = packer
        self.next, self.hash = connection.execute(TIP).fetchone() or (1, GENESIS)
        self.first: int | None = None
        self._ids = {batch: [row.event_id for row in _rows(batch)] for batch in batches}
        self._taken = self._known(chain.from_iterable(self._ids.values()))
        self._counts = self._counted(batches)
        self._pending: list[Row] = []

    def write(self, batch: Batch) -> list[int]:
        """Give the rows of a batch the next positions, or none.

        Raises:
            ConcurrencyError: It expected another number of events.
            EventError: One of its ids is in the log already.
            LogError: It was withdrawn, or its rows cannot be read back from their temporary file.
        """
        self._check_expected(batch)
        self._check_ids(batch)
        first = self.next
        if batch.rows.spilled:
            self._write_spilled(batch)
        else:
            self._write_pending(batch)
        self._taken.update(self._ids[batch])
        return list(range(first, self.next))

    def flush(self) -> None:
        """Put what waits into blocks."""
        rows, self._pending = self._pending, []
        self.next -= len(rows)
        for run, block in [(run, self._packer.pack(run)) for run in split(rows)]:
            self._index(run)  # while the block is packed
            self._chain(block.result())

    def _write_pending(self, batch: Batch) -> None:
        """Its rows wait for others: a block is of the whole group."""
        if batch.withdrawn:
            raise _withdrawn()
        self._keep_parts(batch.rows.parts)
        rows = list(_rows(batch))
        self._pending += rows
        self.next += len(rows)
        self._count(rows)

    def _write_spilled(self, batch: Batch) -> None:
        """Its rows are written as they come from their temporary file, and undone where that stops."""
        self.flush()
        before = self.next, self.first, self.hash, self._counts.copy()
        self._connection.execute("SAVEPOINT batch")
        try:
            self._keep_parts(batch.rows.parts)
            for run in batch.rows.runs():
                if batch.withdrawn:
                    raise _withdrawn()
                self._index(run.rows)
                self._chain(run.block or pack(run.rows))
                self._count(run.rows)
        except LogError:
            self._connection.execute("ROLLBACK TO SAVEPOINT batch")
            self._kept.undone()
            self.next, self.first, self.hash, self._counts = before
            raise

    def _index(self, rows: Sequence[Row]) -> None:
        """The index rows of the next block."""
        with self._connection.cursor().copy(COPY_EVENTS) as copy:
            copy.set_types(COLUMN_TYPES)
            for position, row in enumerate(rows, self.next):
                copy.write_row(index_of(position, row))

    def _chain(self, block: Block) -> None:
        digest = link(self.hash, self.next, block)
        values = (self.next, block.events, self.hash, digest, block.rows, block.sums, block.data)
        self._connection.execute(INSERT_BLOCK, values)
        self.first, self.hash = self.next, digest
        self.next += block.events

    def _keep_parts(self, parts: dict[str, bytes]) -> None:
        if new := self._kept.unknown(parts):
            packed = [zstandard.compress(part, PART_LEVEL) for part in new.values()]
            self._connection.execute(INSERT_PARTS, (list(new), packed))

    def _check_expected(self, batch: Batch) -> None:
        if batch.expected is None:
            return
        found = self._counts[batch.expected.aggregate_id]
        if found != batch.expected.events:
            raise ConcurrencyError(
                f"{batch.expected.aggregate_id} has {found} events, not {batch.expected.events}: somebody appended "
                "first; read it again and decide anew"
            )

    def _check_ids(self, batch: Batch) -> None:
        ids = self._ids[batch]
        if len(set(ids)) == len(ids) and self._taken.isdisjoint(ids):
            return
        seen = Counter(ids)
        twice = next(name for name in ids if name in self._taken or seen[name] > 1)
        raise EventError(f"event {twice} is in the log already; nothing of this append was stored")

    def _known(self, ids: Iterator[str]) -> set[str]:
        """Those ids that are in the log."""
        found: set[str] = set()
        while some := list(islice(ids, IDS_AT_ONCE)):
            found.update(row[0] for row in self._connection.execute(KNOWN, (some,)))
        return found

    def _counted(self, batches: Sequence[Batch]) -> Counter[str]:
        """How many events the aggregates have for which somebody expects a number."""
        named = {batch.expected.aggregate_id for batch in batches if batch.expected is not None}
        wanted = [name for name in named if is_storable(name)]  # no other name has events
        return Counter(dict(self._connection.execute(COUNT, (wanted,)).fetchall() if wanted else ()))

    def _count(self, rows: Sequence[Row]) -> None:
        for row in rows if self._counts else ():
            if row.aggregate in self._counts:
                self._counts[row.aggregate] += 1


def _rows(batch: Batch) -> Iterator[Row]:
    return chain.from_iterable(run.rows for run in batch.rows.runs())


def _withdrawn() -> LogError:
    return LogError("the append was withdrawn by its caller")
