"""The reading side of the SQLite log: one connection that threads share, a page at a time.

Events come from blocks whose hash was checked; the table `events` only says where to look. What this
file does not know: writing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import apsw

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.block import Chained, DamagedBlockError, Row
from ultracore.distillation.events.block_store import Filters
from ultracore.distillation.events.rows import is_storable
from ultracore.distillation.events.sqlite.blocks import BLOCK, chained
from ultracore.distillation.events.sqlite.file import connect, explain
from ultracore.distillation.events.store import instant
from ultracore.distillation.events.stored import damaged, missing, part_from, rows_of

__all__ = ["OF_AGGREGATE", "Reader", "findable", "marks"]

MAX_PARAMETERS = 500
PAGE_BLOCKS = 16
PAGE_POSITIONS = 1024
PARTS_IN_MEMORY = 256

# A decision is its own aggregate; such rows are found by their id and kept out of the second index.
OF_AGGREGATE = (
    "position IN (SELECT position FROM events WHERE aggregate = ? AND aggregate <> event_id"
    " UNION ALL SELECT position FROM events WHERE event_id = ? AND aggregate = event_id)"
)
FREQUENT = frozenset({"AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED"})
START = "coalesce((SELECT max(first) FROM blocks WHERE first <= ?), 0)"
FROM_POSITION = f"{BLOCK} WHERE first >= {START} AND first <= ? ORDER BY first LIMIT {PAGE_BLOCKS}"
AT_POSITION = f"{BLOCK} WHERE first <= ? ORDER BY first DESC LIMIT 1"


def where_of(filters: Filters) -> tuple[str, tuple[str, ...]]:
    """Conditions on `events`, and the values bound to them."""
    where, arguments = "", []
    if filters.types is not None:
        where += f" AND type IN ({marks(filters.types)})"
        if FREQUENT.isdisjoint(filters.types):  # so that the planner may use the index, which leaves them out
            where += " AND type NOT IN ('AGENT_TOOL_SELECTED', 'DECISION_OUTCOME_RECORDED')"
        arguments += list(filters.types)
    if filters.aggregate is not None:
        where += f" AND {OF_AGGREGATE}"
        arguments += [filters.aggregate, filters.aggregate]
    for condition, value in (("tenant =", filters.tenant), ("agent =", filters.agent)):
        if value is not None:
            where += f" AND {condition} ?"
            arguments.append(value)
    for condition, time in (("occurred_at >=", filters.since), ("occurred_at <=", filters.until_time)):
        if time is not None:
            where += f" AND {condition} ?"
            arguments.append(instant(time))
    return where, tuple(arguments)


def marks(values: Collection[str]) -> str:
    """Placeholders for so many values."""
    return ", ".join("?" * len(values))


def findable(value: Any) -> Any:
    """The value, or one that is in no row where text cannot be bound."""
    return value if not isinstance(value, str) or is_storable(value) else "\0"


class Reader:
    """Reads rows of intact blocks, or raises.

    Args:
        path: The log.
        busy_timeout: Seconds to wait for a lock.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self.lock = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._closed = False
        self._latest: tuple[int, list[Row]] = (0, [])
        self.part = lru_cache(PARTS_IN_MEMORY)(self._part)

    def fetch(self, query: str, arguments: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of one page."""
        with self.lock:
            if self._closed:
                raise LogError("the log is closed; open it again with open_store(home)")
            if self._connection is None:
                self._connection = connect(self._path, busy_timeout=self._busy_timeout, read_only=True)
            try:
                return self._connection.execute(query, tuple(map(findable, arguments))).fetchall()
            except apsw.Error as error:
                raise explain(error, self._path) from error

    def last_position(self) -> int:
        """Position of the newest event, 0 for an empty log."""
        found = self.fetch("SELECT first + events - 1 FROM blocks ORDER BY first DESC LIMIT 1")
        return int(found[0][0]) if found else 0

    def rows(self, after: int, last: int, filters: Filters) -> Iterator[tuple[int, Row]]:
        """Positions and rows in order, those after `after` up to and including `last`."""
        where, arguments = where_of(filters)
        return self._chosen(after, last, where, arguments) if where else self._all(after, last)

    def known(self, event_ids: Collection[str]) -> set[str]:
        """Those of the given ids that are in the log already."""
        wanted = list(event_ids)
        found: set[str] = set()
        for start in range(0, len(wanted), MAX_PARAMETERS):
            part = wanted[start : start + MAX_PARAMETERS]
            query = f"SELECT event_id FROM events WHERE event_id IN ({marks(part)})"  # noqa: S608 - values are bound
            found.update(row[0] for row in self.fetch(query, tuple(part)))
        return found

    def row(self, position: int) -> Row:
        """One row, which is there; neighbours asked for one after the other are unpacked once."""
        first, rows = self._latest
        if not first <= position < first + len(rows):
            self._latest = first, rows = self._block_at(position)
        return rows[position - first]

    def release(self) -> None:
        """Close the file; `fetch` opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)

    def close(self) -> None:
        """Close the file for good."""
        with self.lock:
            self._closed = True
            self.release()

    def _all(self, after: int, last: int) -> Iterator[tuple[int, Row]]:
        while after < last:
            page = self.fetch(FROM_POSITION, (after + 1, last))
            for block in map(self._chained, page):
                if not block.first <= after + 1 <= block.last:
                    raise missing(self._log, after + 1, block.first - 1)
                skip = after + 1 - block.first
                yield from enumerate(rows_of(block, self._log)[skip : last - block.first + 1], after + 1)
                after = min(block.last, last)
            if not page:
                raise missing(self._log, after + 1, last)

    def _chosen(self, after: int, last: int, where: str, arguments: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
        query = (
            f"SELECT position FROM events WHERE position > ? AND position <= ?{where}"  # noqa: S608 - values are bound
            f" ORDER BY position LIMIT {PAGE_POSITIONS}"
        )
        while page := self.fetch(query, (after, last, *arguments)):
            for (after,) in page:
                yield after, self.row(after)

    def _block_at(self, position: int) -> tuple[int, list[Row]]:
        found = self.fetch(AT_POSITION, (position,))
        block = self._chained(found[0]) if found else None
        if block is None or block.last < position:
            raise missing(self._log, position, position)
        return block.first, rows_of(block, self._log)

    def _chained(self, values: tuple[Any, ...]) -> Chained:
        try:
            return chained(values)
        except DamagedBlockError as error:
            raise damaged(self._log, f"position {values[0]}: {error}") from None

    def _part(self, key: str) -> bytes:
        found = self.fetch("SELECT data FROM parts WHERE hash = ?", (key,))
        return part_from(found[0][0] if found else None, key, self._log)

    @property
    def _log(self) -> str:
        return str(self._path)
