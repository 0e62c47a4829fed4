"""A log in PostgreSQL as it lies there, damaged or not, for `verify`.

All of it is read in one snapshot, so that others may append meanwhile. What this file does not know:
what should be in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import zstandard

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.block import Block, Chained
from ultracore.distillation.events.postgres.connection import connect, explain, name_of
from ultracore.distillation.events.postgres.schema import MIGRATIONS, TABLES
from ultracore.distillation.events.rows import INDEX_COLUMNS
from ultracore.distillation.events.verify import IndexRow

__all__ = ["PostgresLedger"]

NEXT_BLOCK = (
    "SELECT first, previous, hash, events, rows, sums, data FROM distill.blocks WHERE first > %s ORDER BY first LIMIT 1"
)
INDEX = f"SELECT {', '.join(INDEX_COLUMNS)} FROM distill.events WHERE position BETWEEN %s AND %s"  # noqa: S608 - constants
GUARDED = """
    SELECT c.relname FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'distill' AND t.tgname = 'append_only' AND t.tgenabled IN ('O', 'A')"""


class PostgresLedger:
    """See `Ledger`; nothing is written, not even a migration.

    Args:
        url: Where the database is.

    Raises:
        LogError: It cannot be reached, or another format is in it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = connect(url)
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        ((version,),) = self._fetch("SELECT max(version) FROM distill._migrations")
        if version != len(MIGRATIONS):
            raise LogError(
                f"the decision log {name_of(url)} has format {version}, not {len(MIGRATIONS)}: open it once with "
                "`distill log stats`, then verify it"
            )

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def store_id(self) -> str:
        """See `Ledger`."""
        found = self._fetch("SELECT store_id FROM distill.store")
        if len(found) != 1:
            raise LogError(f"the decision log {name_of(self._url)} does not say which log it is")
        return str(found[0][0])

    def blocks(self) -> Iterator[Chained]:
        """See `Ledger`."""
        after = -(2**63)
        while found := self._fetch(NEXT_BLOCK, after):
            after, previous, digest, *content = found[0]
            yield Chained(after, previous, digest, Block(*content))

    def index(self, first: int, last: int) -> list[IndexRow]:
        """See `Ledger`."""
        return self._fetch(INDEX, first, last)

    def index_rows(self) -> int:
        """See `Ledger`."""
        return int(self._fetch("SELECT count(*) FROM distill.events")[0][0])

    def parts(self) -> Iterator[tuple[str, bytes | None]]:
        """See `Ledger`."""
        for (key,) in self._fetch("SELECT hash FROM distill.parts"):
            ((stored,),) = self._fetch("SELECT data FROM distill.parts WHERE hash = %s", key)
            try:
                yield key, zstandard.decompress(stored)
            except zstandard.ZstdError:
                yield key, None

    def problems(self) -> Iterator[str]:
        """See `Ledger`."""
        guarded = {name for (name,) in self._fetch(GUARDED)}
        for table in TABLES:
            if table not in guarded:
                yield f"the trigger that refuses changes of distill.{table} is missing or disabled"

    def _fetch(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, arguments, binary=True).fetchall()
        except psycopg.Error as error:
            raise explain(error, self._url) from None
