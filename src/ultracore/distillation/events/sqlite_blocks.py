"""Writes rows into the tables `blocks`, `events` and `parts` of an open transaction.

What this file does not know: who began the transaction, and whether it will be committed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw
import zstandard

from ultracore.distillation.events.block import (
    GENESIS,
    Block,
    Chained,
    DamagedBlockError,
    Row,
    link,
    pack,
    split,
)
from ultracore.distillation.events.rows import INDEX_COLUMNS, index_of

__all__ = ["BLOCK", "HEAD", "BlockWriter", "chained"]

INSERT_EVENT = "INSERT INTO events VALUES (" + ", ".join("?" * len(INDEX_COLUMNS)) + ")"  # noqa: S608 - placeholders only
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
    pending: int


class BlockWriter:
    """Takes rows, indexes them at once, packs them when it is told to `flush`.

    Attributes:
        next: The position that the next row gets.
        tip: Hash of the last block.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        tip: tuple[int, bytes] = connection.execute(TIP).fetchone() or (1, GENESIS)
        self.next, self.tip = tip
        self._first = self.next  # of the rows that wait to be packed
        self._pending: list[Row] = []

    def mark(self) -> Mark:
        """Where it stands; only before a row that may have to be undone."""
        return Mark(self.next, self._first, self.tip, len(self._pending))

    def rewind(self, mark: Mark) -> None:
        """Forget the rows since the mark, which the caller has rolled back in the database."""
        self.next, self._first, self.tip, pending = mark
        del self._pending[pending:]

    def keep_parts(self, parts: dict[str, bytes]) -> None:
        """Store what rows name by hash."""
        for key, part in parts.items():
            self._connection.execute(INSERT_PART, (key, zstandard.compress(part, PART_LEVEL)))

    def index(self, rows: list[Row]) -> None:
        """Give rows the next positions."""
        first = self.next
        self._connection.executemany(INSERT_EVENT, [index_of(p, row) for p, row in enumerate(rows, first)])
        self._pending += rows
        self.next += len(rows)

    def index_packed(self, rows: list[Row], block: Block) -> None:
        """The same for rows that are packed already; what waits must have been flushed."""
        self.index(rows)
        self._pending.clear()
        self._chain(block)

    def flush(self) -> None:
        """Pack what waits."""
        for run in split(self._pending):
            self._chain(pack(run))
        self._pending.clear()

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
