"""SQL over all products, joined, by DuckDB: one statement that only reads, of one tenant's rows, within limits.

The database is in memory and holds the asker's rows alone; files, the network and extensions are shut off before the
first statement is seen, and the configuration is locked. Beyond that, DuckDB's own parser must find one SELECT. What
this file does not know: who may ask.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec

from ultracore.distillation.errors import ProductError
from ultracore.distillation.products.columns import Columns
from ultracore.distillation.products.contract import PRODUCT_IDS, contract_of
from ultracore.distillation.products.store import VIEWS, ProductStore

__all__ = ["Answer", "Limits", "Session", "open_session"]

MAX_CHARACTERS = 20_000
MAX_BYTES = 64_000_000
CHUNK = 2048
SOURCES = frozenset({"range", "generate_series", "unnest"})
TELLING = frozenset({"current_setting", "getvariable", "current_user", "session_user", "user", "version"})


class Limits(NamedTuple):
    """What one query may cost.

    Attributes:
        seconds: Wall-clock time; then it is interrupted.
        memory: As DuckDB writes it.
        threads: CPU threads.
        rows: Rows of an answer; more are refused.
    """

    seconds: float = 10.0
    memory: str = "768MB"
    threads: int = 1
    rows: int = 100_000


class Answer(NamedTuple):
    """Rows of a query with the names of their columns, as they come."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class Session:
    """The products of one tenant at one position of the log.

    Args:
        connection: Holds the tables and views.
        position: Up to where the log is in them.
        limits: For each query.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, position: int, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self.position = position

    def ask(self, query: str) -> Answer:
        """Run one SELECT.

        Raises:
            ProductError: It is no single SELECT, DuckDB refuses it, or it takes too long, too much or too many rows.
        """
        _check(self._connection, query)
        cursor = self._connection.cursor()
        with _Watch(cursor, self._limits.seconds) as watch:
            try:
                cursor.execute(query)
                found = self._fetched(cursor)
            except duckdb.Error as error:
                raise _explained(error, watch, self._limits) from None
        return Answer([column[0] for column in cursor.description or ()], found)

    def _fetched(self, cursor: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        size = 0
        while chunk := cursor.fetchmany(CHUNK):
            found += chunk
            size += sum(len(value) if isinstance(value, str | bytes) else 8 for row in chunk for value in row)
            if len(found) > self._limits.rows or size > MAX_BYTES:
                most = f"{self._limits.rows:,} rows or {MAX_BYTES // 10**6} MB"
                raise ProductError(f"the answer has more than {most}: add a LIMIT, aggregate, or export a product")
        return found

    def close(self) -> None:
        """Let go of the rows."""
        self._connection.close()


def open_session(rows: ProductStore, tenant: str | None, limits: Limits | None = None) -> Session:
    """A database in memory with one tenant's products as views, locked.

    Args:
        rows: The projected rows.
        tenant: Whose; `None` for all, which is for the operator of the machine.
        limits: For each query.

    Raises:
        LogError: The rows cannot be read.
    """
    limits = limits or Limits()
    connection = prepared(rows, tenant, limits)
    for statement in _LOCKS:
        connection.execute(statement)
    return Session(connection, _position(connection), limits)


def prepared(rows: ProductStore, tenant: str | None, limits: Limits) -> duckdb.DuckDBPyConnection:
    """The same, not locked yet: for our own statements."""
    connection = duckdb.connect(":memory:", config={"threads": limits.threads, "memory_limit": limits.memory})
    connection.execute(f"SET temp_directory = '{_quoted(rows.folder / 'columns' / 'spill')}'")
    connection.execute("SET max_temp_directory_size = '2GB'")
    position = Columns(rows).load(connection, tenant)
    connection.execute("CREATE TABLE position_of AS SELECT ?::BIGINT AS position", [position])
    for product_id in PRODUCT_IDS:
        columns = ", ".join(contract_of(product_id).plain)
        connection.execute(f"CREATE VIEW {product_id} AS SELECT {columns} FROM ({VIEWS[product_id]})")
    return connection


_LOCKS = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class _Watch:
    """Interrupts a connection when its time is over."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, seconds: float) -> None:
        self.late = False
        self._connection = connection
        self._timer = threading.Timer(seconds, self._interrupt)

    def _interrupt(self) -> None:
        self.late = True
        self._connection.interrupt()

    def __enter__(self) -> _Watch:
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _check(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    if len(query) > MAX_CHARACTERS:
        raise ProductError(f"a query has at most {MAX_CHARACTERS:,} characters")
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise ProductError(_first_line(error)) from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ProductError("one query that only reads, please: SELECT ... FROM " + ", ".join(PRODUCT_IDS))
    parsed = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchone()
    for name in _functions(msgspec.json.decode(parsed[0]) if parsed else {}):
        raise ProductError(f"the function {name} is not for queries over the products")


def _functions(node: Any, *, is_source: bool = False) -> Iterator[str]:
    """Functions in a parsed query that tell of the server, or read anything but the products."""
    if isinstance(node, list):
        for item in node:
            yield from _functions(item)
    elif isinstance(node, dict):
        name = node.get("function_name")
        if isinstance(name, str) and (name not in SOURCES if is_source else name in TELLING):
            yield name
        for key, item in node.items():
            yield from _functions(item, is_source=node.get("type") == "TABLE_FUNCTION" and key == "function")


def _explained(error: duckdb.Error, watch: _Watch, limits: Limits) -> ProductError:
    if watch.late:
        return ProductError(f"the query took more than {limits.seconds:g} s and was stopped: filter more, or aggregate")
    if isinstance(error, duckdb.OutOfMemoryException):
        return ProductError(f"the query needs more than {limits.memory} of memory: filter first, or aggregate")
    return ProductError(f"{_first_line(error)} (the products are {', '.join(PRODUCT_IDS)})")


def _first_line(error: duckdb.Error) -> str:
    return str(error).strip().splitlines()[0]


def _position(connection: duckdb.DuckDBPyConnection) -> int:
    found = connection.execute("SELECT position FROM position_of").fetchone()
    return int(found[0]) if found else 0


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
