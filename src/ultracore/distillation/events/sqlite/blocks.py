"""Writes rows into the tables `blocks`, `events` and `parts` of an open transaction.

What this file does not know: who began the transaction, and whether it will be committed.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple

import apsw
import zstandard

from ultracore.distillation.events.block import (
    GENESIS,
    MAX_BYTES,
    MAX_EVENTS,
    Block,
    Chained,
    DamagedBlockError,
    Row,
    link,
    pack,
)
from ultracore.distillation.events.kept_parts import KeptParts
from ultracore.distillation.events.packer import Packer
from ultracore.distillation.events.rows import INDEX_COLUMNS, index_of

__all__ = ["BLOCK", "HEAD", "BlockWriter", "chained"]

INSERT_EVENTS = tuple(
    "INSERT INTO events VALUES " + ", ".join(["(" + ", ".join("?" * len(INDEX_COLUMNS)) + ")"] * size)  # noqa: S608 - placeholders only
    for size in range(1, 65)
)
"""By the number of rows less one: a statement for several leaves the interpreter to others once, not once for each
row, and waiting to have it back was most of what a commit took in a busy gateway."""
INSERT_BLOCK = "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)"
INSERT_PART = "INSERT OR IGNORE INTO parts VALUES (?, ?)"
BLOCK = "SELECT first, previous, hash, events, rows, sums, data FROM blocks"
HEAD = f"{BLOCK} ORDER BY first DESC LIMIT 1"
TIP = "SELECT first + events, hash FROM blocks ORDER BY first DESC LIMIT 1"
KINDS = (int, bytes, bytes, int, bytes, bytes, bytes)
PART_LEVEL = 9  # written once, read often


class Mark(NamedTuple):
    """A place to go back to."""

    next: int
    first: int
    tip: bytes
    waiting: int


class BlockWriter:
    """Takes rows, indexes them at once, chains their blocks when it is told to `flush`.

    Args:
        connection: In a transaction.
        packer: Packs full blocks meanwhile; closed by its owner.
        kept: The parts that need not be written; its owner tells it how the transaction ends.

    Attributes:
        next: The position that the next row gets.
        tip: Hash of the last block.
    """

    def __init__(self, connection: apsw.Connection, packer: Packer, kept: KeptParts) -> None:
        self._connection = connection
        self._kept = kept
        self._packer = packer
        tip: tuple[int, bytes] = connection.execute(TIP).fetchone() or (1, GENESIS)
        self.next, self.tip = tip
        self._first = self.next  # of the rows that wait for their place in the chain
        self._full: list[tuple[list[Row], Future[Block]]] = []
        self._run: list[Row] = []
        self._size = 0

    def mark(self) -> Mark:
        """Where it stands; only before a row that may have to be undone."""
        return Mark(self.next, self._first, self.tip, self.next - self._first)

    def rewind(self, mark: Mark) -> None:
        """Forget the rows since the mark, which the caller has rolled back in the database."""
        rows = [row for run, _ in self._full for row in run] + self._run
        self.next, self._first, self.tip, waiting = mark
        self._forget()
        self._kept.undone()
        self._wait(rows[:waiting])

    def keep_parts(self, parts: dict[str, bytes]) -> None:
        """Store what rows name by hash."""
        for key, part in self._kept.unknown(parts).items():
            self._connection.execute(INSERT_PART, (key, zstandard.compress(part, PART_LEVEL)))

    def index(self, rows: list[Row]) -> None:
        """Give rows the next positions."""
        self._insert(rows)
        self._wait(rows)

    def index_packed(self, rows: list[Row], block: Block) -> None:
        """The same for rows that are packed already; what waits must have been flushed."""
        self._insert(rows)
        self._chain(block)

    def flush(self) -> None:
        """Chain what waits."""
        for _, block in self._full:
            self._chain(block.result())
        if self._run:
            self._chain(pack(self._run))
        self._forget()

    def _insert(self, rows: list[Row]) -> None:
        for start in range(0, len(rows), len(INSERT_EVENTS)):
            some = rows[start : start + len(INSERT_EVENTS)]
            values = [value for place, row in enumerate(some, self.next) for value in index_of(place, row)]
            self._connection.execute(INSERT_EVENTS[len(some) - 1], values)
            self.next += len(some)

    def _wait(self, rows: list[Row]) -> None:
        size = sum([len(row.payload) for row in rows])
        if len(self._run) + len(rows) <= MAX_EVENTS and self._size + size <= MAX_BYTES:
            self._run += rows
            self._size += size
            return
        for row in rows:
            size = len(row.payload)
            if self._run and (len(self._run) == MAX_EVENTS or self._size + size > MAX_BYTES):
                self._full.append((self._run, self._packer.pack(self._run)))
                self._run, self._size = [], 0
            self._run.append(row)
            self._size += size

    def _forget(self) -> None:
        self._full, self._run, self._size = [], [], 0

    def _chain(self, block: Block) -> None:
        digest = link(self.tip, self._first, block)
        self._connection.execute(
            INSERT_BLOCK, (self._first, block.events, self.tip, digest, block.rows, block.sums, block.data)
        )
        self.tip = digest
        self._first += block.events


def chained(values: tuple[Any, ...]) -> Chained:
    """A block from the columns that `HEAD` names.

    Raises:
        DamagedBlockError: A column does not hold what it should.
    """
    if not all(isinstance(value, kind) for value, kind in zip(values, KINDS, strict=True)):
        raise DamagedBlockError(0, "a column holds another kind of value")
    if not (values[0] > 0 and 0 < values[3] < 1 << 31 and len(values[1]) == len(values[2]) == len(GENESIS)):
        raise DamagedBlockError(0, "a column holds an impossible value")
    return Chained._make((*values[:3], Block(*values[3:])))
