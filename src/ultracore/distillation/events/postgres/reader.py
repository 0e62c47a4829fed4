"""The reading side of the log in PostgreSQL: one connection that threads share, a page at a time.

Events come from blocks whose hash was checked; the table `events` only says where to look. No
transaction stays open between pages, so a slow reader holds nothing up. What this file does not know:
writing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import psycopg

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.block import Block, Chained, Row
from ultracore.distillation.events.block_store import Filters
from ultracore.distillation.events.postgres.connection import Connection, connect, explain, name_of
from ultracore.distillation.events.rows import is_storable
from ultracore.distillation.events.store import instant
from ultracore.distillation.events.stored import missing, part_from, rows_of

__all__ = ["Reader"]

IDS_AT_ONCE = 10_000
PAGE_POSITIONS = 4096
PAGE_BLOCKS = 256
PAGE_BYTES = 8 * 1024 * 1024
PARTS_IN_MEMORY = 256

BLOCKS = (
    "SELECT first, previous, hash, events, rows, sums, data FROM distill.blocks WHERE first = ANY(%s) ORDER BY first"
)
SIZES = "SELECT first, length(rows) + length(data) FROM distill.blocks WHERE first"
OF_RANGE = (
    f"{SIZES} BETWEEN coalesce((SELECT max(first) FROM distill.blocks WHERE first <= %s), 0) AND %s"  # noqa: S608 - our own constants
    f" ORDER BY first LIMIT {PAGE_BLOCKS}"
)
OF_POSITIONS = (
    f"{SIZES} IN (SELECT (SELECT max(first) FROM distill.blocks WHERE first <= p) FROM unnest(%s::bigint[]) AS p)"  # noqa: S608
    " ORDER BY first"
)
# A decision is its own aggregate; such rows are found by their id and kept out of the second index.
OF_AGGREGATE = "((aggregate = %s AND aggregate <> event_id) OR (event_id = %s AND aggregate = event_id))"


def where_of(filters: Filters) -> tuple[str, list[Any]]:
    """Conditions on `distill.events`, and the values bound to them."""
    found: list[tuple[str, list[Any]]] = []
    if filters.types is not None and len(filters.types) == 1:  # an equality can be read in the order of the index
        found.append(("type = %s", list(filters.types)))
    elif filters.types is not None:
        found.append(("type = ANY(%s)", [[value for value in filters.types if is_storable(value)]]))
    if filters.aggregate is not None:
        found.append((OF_AGGREGATE, [filters.aggregate, filters.aggregate]))
    for condition, value in (("tenant = %s", filters.tenant), ("agent = %s", filters.agent)):
        if value is not None:
            found.append((condition, [value]))
    for condition, time in (("occurred_at >= %s", filters.since), ("occurred_at <= %s", filters.until_time)):
        if time is not None:
            found.append((condition, [instant(time)]))
    values = [value for _, some in found for value in some]
    if not all(is_storable(value) for value in values if isinstance(value, str)):
        return " AND false", []
    return "".join(f" AND {condition}" for condition, _ in found), values


class Reader:
    """Reads rows of intact blocks, or raises.

    Args:
        url: Where the database is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.lock = threading.Lock()
        self._connection: Connection | None = None
        self._closed = False
        self.part = lru_cache(PARTS_IN_MEMORY)(self._part)

    def fetch(self, query: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one page; a connection that broke since the last one is opened anew."""
        with self.lock:
            if self._closed:
                raise LogError("the log is closed; open it again with open_store(home)")
            try:
                return self._ask(query, arguments)
            except psycopg.Error as error:
                raise explain(error, self._url) from None

    def last_position(self) -> int:
        """Position of the newest event, 0 for an empty log."""
        found = self.fetch("SELECT first + events - 1 FROM distill.blocks ORDER BY first DESC LIMIT 1")
        return int(found[0][0]) if found else 0

    def rows(self, after: int, last: int, filters: Filters) -> Iterator[tuple[int, Row]]:
        """Positions and rows in order, those after `after` up to and including `last`."""
        where, arguments = where_of(filters)
        return self._chosen(after, last, where, arguments) if where else self._all(after, last)

    def known(self, event_ids: Collection[str]) -> set[str]:
        """Those of the given ids that are in the log already."""
        ids = filter(is_storable, event_ids)
        found: set[str] = set()
        while some := list(islice(ids, IDS_AT_ONCE)):
            query = "SELECT event_id FROM distill.events WHERE event_id = ANY(%s)"
            found.update(row[0] for row in self.fetch(query, (some,)))
        return found

    def release(self) -> None:
        """Close the connection; `fetch` opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close the connection for good."""
        with self.lock:
            self._closed = True
            self.release()

    def _all(self, after: int, last: int) -> Iterator[tuple[int, Row]]:
        while after < last:
            page = self.fetch(OF_RANGE, (after + 1, last))
            if not page:
                raise missing(self._log, after + 1, last)
            for block in self._blocks(page):
                if not block.first <= after + 1 <= block.last:
                    raise missing(self._log, after + 1, block.first - 1)
                skip = after + 1 - block.first
                yield from enumerate(rows_of(block, self._log)[skip : last - block.first + 1], after + 1)
                after = min(block.last, last)

    def _chosen(self, after: int, last: int, where: str, arguments: Sequence[Any]) -> Iterator[tuple[int, Row]]:
        query = (
            f"SELECT position FROM distill.events WHERE position > %s AND position <= %s{where}"  # noqa: S608 - values are bound
            f" ORDER BY position LIMIT {PAGE_POSITIONS}"
        )
        while page := [position for (position,) in self.fetch(query, (after, last, *arguments))]:
            wanted = iter(page)
            after = next(wanted)
            for block in self._blocks(self.fetch(OF_POSITIONS, (page,))):
                rows = rows_of(block, self._log)
                while block.first <= after <= block.last:
                    yield after, rows[after - block.first]
                    after = next(wanted, last + 1)
            if after <= last:
                raise missing(self._log, after, after)
            after = page[-1]

    def _blocks(self, sizes: Sequence[tuple[int, int]]) -> Iterator[Chained]:
        """Blocks by their first positions, so many at a time that they fit into memory."""
        run: list[int] = []
        size = 0
        for first, length in sizes:
            if run and size + length > PAGE_BYTES:
                yield from self._fetched(run)
                run, size = [], 0
            run.append(first)
            size += length
        yield from self._fetched(run)

    def _fetched(self, firsts: Sequence[int]) -> Iterator[Chained]:
        for first, previous, digest, *content in self.fetch(BLOCKS, (firsts,)):
            yield Chained(first, previous, digest, Block(*content))

    def _part(self, key: str) -> bytes:
        found = self.fetch("SELECT data FROM distill.parts WHERE hash = %s", (key,))
        return part_from(found[0][0] if found else None, key, self._log)

    @property
    def _log(self) -> str:
        return name_of(self._url)

    def _ask(self, query: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        known = self._connection
        if known is not None:
            try:
                return known.execute(query, arguments, binary=True).fetchall()
            except psycopg.OperationalError:
                if not known.closed:
                    raise
            self.release()
        self._connection = connect(self._url)
        return self._connection.execute(query, arguments, binary=True).fetchall()
