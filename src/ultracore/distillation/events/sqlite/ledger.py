"""A SQLite log as it lies there, damaged or not, for `verify` and for whoever saves what is left.

What this file does not know: what should be in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import zstandard

from ultracore.distillation.errors import LogError
from ultracore.distillation.events import block as blocks
from ultracore.distillation.events.block import GENESIS, Chained, DamagedBlockError, Row
from ultracore.distillation.events.rows import INDEX_COLUMNS
from ultracore.distillation.events.sqlite.blocks import BLOCK, chained
from ultracore.distillation.events.sqlite.file import SCHEMA, SCHEMA_VERSION, explain
from ultracore.distillation.events.verify import IndexRow

__all__ = ["SqliteLedger", "intact_rows"]

TABLES = "SELECT type, name, tbl_name, sql FROM sqlite_schema"


class SqliteLedger:
    """See `Ledger`; nothing is written, not even a migration.

    Args:
        path: The log.

    Raises:
        LogError: There is no such file, or another format is in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        try:
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            self._connection.set_busy_timeout(60_000)
            self._connection.execute("PRAGMA writable_schema=ON")  # else a file cut short cannot be read at all
            self._connection.execute("PRAGMA query_only=1")
            self._connection.execute("BEGIN")  # one view of it, also while others append
            version = self._connection.pragma("user_version")
        except apsw.Error as error:
            raise explain(error, self._path) from error
        if version != SCHEMA_VERSION:
            raise LogError(
                f"the decision log {path} has format {version}, not {SCHEMA_VERSION}: open it once with "
                "`distill log stats`, then verify it"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close(True)

    def store_id(self) -> str:
        """See `Ledger`."""
        found = self._fetch("SELECT store_id FROM log")
        if len(found) != 1 or not isinstance(found[0][0], str):
            raise LogError(f"the decision log {self._path} does not say which log it is")
        return found[0][0]

    def blocks(self) -> Iterator[Chained]:
        """See `Ledger`."""
        after = -(2**63)
        query = f"{BLOCK} WHERE first > ? ORDER BY first LIMIT 1"
        while found := self._fetch(query, after):
            after = found[0][0]
            try:
                yield chained(found[0])
            except DamagedBlockError as error:
                raise LogError(f"the block at position {after} is damaged: {error}") from None

    def index(self, first: int, last: int) -> list[IndexRow]:
        """See `Ledger`."""
        columns = ", ".join(INDEX_COLUMNS)
        return self._fetch(f"SELECT {columns} FROM events WHERE position BETWEEN ? AND ?", first, last)  # noqa: S608 - constants

    def index_rows(self) -> int:
        """See `Ledger`."""
        return int(self._fetch("SELECT count(*) FROM events NOT INDEXED")[0][0])

    def parts(self) -> Iterator[tuple[str, bytes | None]]:
        """See `Ledger`."""
        for (key,) in self._fetch("SELECT hash FROM parts"):
            ((stored,),) = self._fetch("SELECT data FROM parts WHERE hash = ?", key) or [(None,)]
            try:
                yield str(key), zstandard.decompress(stored)
            except (zstandard.ZstdError, TypeError):
                yield str(key), None

    def problems(self) -> Iterator[str]:
        """See `Ledger`."""
        if sorted(self._fetch(TABLES), key=str) != _tables_of_this_release():
            yield "the tables are not those that this release makes"
        for (line,) in self._fetch("PRAGMA integrity_check"):
            if line != "ok":
                yield f"SQLite: {line}"

    def _fetch(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, arguments).fetchall()
        except (apsw.Error, UnicodeDecodeError) as error:
            raise explain(error, self._path) from error


def _tables_of_this_release() -> list[tuple[Any, ...]]:
    model = apsw.Connection(":memory:")
    for statement in SCHEMA:
        model.execute(statement)
    return sorted(model.execute(TABLES).fetchall(), key=str)


def intact_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Positions and rows from the first on, up to the first damage: what is left of a broken log."""
    ledger, position, previous = SqliteLedger(path), 0, GENESIS
    try:
        for found in ledger.blocks():
            if found.previous != previous or not found.is_intact or found.first != position + 1:
                return
            yield from enumerate(blocks.rows(found.block), found.first)
            position, previous = found.last, found.hash
    except (LogError, DamagedBlockError):
        return
    finally:
        ledger.close()
