"""The large tables as Parquet beside the rows, so that DuckDB can read a million of them in a second.

SQLite hands over about 100,000 rows a second to DuckDB, Parquet 1.3 million (measured on one core, 27 columns); SQLite
finds one row in 20 microseconds, and any number of processes may write it. So rows live there, and this is a copy of
them up to a position, to which what changed since is added. A copy is never changed: it is replaced whole. What this
file does not know: whose rows are whose.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import duckdb
import msgspec

from ultracore.distillation.errors import LogError
from ultracore.distillation.products.store import ProductStore

__all__ = ["TABLES", "Columns"]

KEYS = {"decisions": "position", "dataset_rows": "id"}
SMALL = ("datasets", "measurements")
TABLES = (*KEYS, *SMALL)
TYPES = {"TEXT": "VARCHAR", "REAL": "DOUBLE", "INT": "BIGINT", "INTEGER": "BIGINT"}
FLAGS = {
    "decisions": frozenset(
        ("tool_offered", "arguments_known", "arguments_valid", "success", "audit_agrees", "erased", "judged", "told")
    ),
    "measurements": frozenset({"certified"}),
}
"""Truth values: SQLite has none of its own."""

FRESH = 20_000
"""Rows that may be new or changed before the copy is written again: they are read from SQLite each time, 0.2 s."""

BATCH = 10_000
MEMORY = "512MB"


class Columns:
    """Parquet copies of the tables of a `ProductStore`.

    Args:
        rows: The rows.
    """

    def __init__(self, rows: ProductStore) -> None:
        self._rows = rows
        self._folder = rows.folder / "columns"

    def load(self, to: duckdb.DuckDBPyConnection, tenant: str | None) -> int:
        """Make the tables in a database, with the rows of one tenant, or of all; returns the position they are of."""
        self._rows.refresh()
        with self._locked(), self._rows.snapshot() as state:
            for table in KEYS:
                self._load_large(to, state, table, tenant)
            for table in SMALL:
                _create(to, state, table)
                _pour(to, state, table, "?1 IS NULL OR tenant_id = ?1", (tenant,))
            return int(_one(state, "SELECT position FROM tracking"))

    def _load_large(
        self, to: duckdb.DuckDBPyConnection, state: apsw.Connection, table: str, tenant: str | None
    ) -> None:
        copied, file = self._newest(state, table)
        if _one(state, f"SELECT count(*) FROM {table} WHERE {SINCE[table]}", copied) > FRESH:
            copied, file = self._write(state, table, copied, file)
        _create(to, state, table)
        self._merge(to, state, table, copied, file, tenant)

    def _merge(
        self,
        to: duckdb.DuckDBPyConnection,
        state: apsw.Connection,
        table: str,
        copied: int,
        file: Path | None,
        tenant: str | None,
    ) -> None:
        """What changed since the copy, then of the copy what did not."""
        _pour(to, state, table, f"{SINCE[table]} AND (?2 IS NULL OR tenant_id = ?2)", (copied, tenant))
        if file is not None:
            key = KEYS[table]
            gone = [key for (key,) in state.execute(f"SELECT {key} FROM {table} WHERE {SINCE[table]}", (copied,))]
            to.execute("CREATE TEMP TABLE gone (key BIGINT)")
            to.execute("INSERT INTO gone SELECT unnest(?::BIGINT[])", [gone])
            to.execute(
                f"INSERT INTO {table} SELECT * FROM read_parquet(?) WHERE (?::VARCHAR IS NULL OR tenant_id = ?) "
                f"AND {key} NOT IN (SELECT key FROM gone)",
                [str(file), tenant, tenant],
            )
            to.execute("DROP TABLE gone")

    def _write(self, state: apsw.Connection, table: str, copied: int, file: Path | None) -> tuple[int, Path]:
        """A new copy, there when it is whole; the old ones go, for whoever reads them has them open."""
        reached = int(_one(state, f"SELECT coalesce(max(changed), 0) FROM {table}"))
        target = self._folder / f"{table}-{_epoch(state)}-{reached}.parquet"
        draft = target.with_suffix(".draft")
        with duckdb.connect(config={"threads": 1, "memory_limit": MEMORY}) as scratch:
            scratch.execute(f"SET temp_directory = '{_quoted(self._folder / 'spill')}'")
            _create(scratch, state, table)
            self._merge(scratch, state, table, copied, file, None)
            scratch.execute(
                f"COPY (SELECT * FROM {table} ORDER BY {KEYS[table]}) TO '{_quoted(draft)}' (FORMAT parquet)"
            )
        draft.replace(target)
        for old in self._folder.glob(f"{table}-*.parquet"):
            if old != target:
                old.unlink(missing_ok=True)
        return reached, target

    def _newest(self, state: apsw.Connection, table: str) -> tuple[int, Path | None]:
        files = self._folder.glob(f"{table}-{_epoch(state)}-*.parquet")
        return max(((int(file.stem.rsplit("-", 1)[1]), file) for file in files), default=(0, None))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time: what it found to be the newest copy must not go before it was read."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LogError(f"{self._folder} cannot be written: {error}; check permissions and space") from error
        with _thread_lock:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)


def _create(to: duckdb.DuckDBPyConnection, state: apsw.Connection, table: str) -> None:
    to.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in _shape(state, table))})")


def _pour(to: duckdb.DuckDBPyConnection, state: apsw.Connection, table: str, where: str, values: Sequence[Any]) -> None:
    """From SQLite to DuckDB, a column of a batch as one JSON text: the fastest way without further packages."""
    lists = ", ".join(f"unnest(from_json(?, '[\"{kind}\"]'))" for _, kind in _shape(state, table))
    rows = state.execute(f"SELECT * FROM {table} WHERE {where}", tuple(values))
    while batch := list(islice(rows, BATCH)):
        told = [msgspec.json.encode(column).decode() for column in zip(*batch, strict=True)]
        to.execute(f"INSERT INTO {table} SELECT {lists}", told)


def _shape(state: apsw.Connection, table: str) -> list[tuple[str, str]]:
    flags = FLAGS.get(table, frozenset())
    columns = state.execute("SELECT name, type FROM pragma_table_info(?)", (table,))
    return [(name, "BOOLEAN" if name in flags else TYPES[kind]) for name, kind in columns]


def _epoch(state: apsw.Connection) -> str:
    return str(_one(state, "SELECT id FROM epoch"))


def _one(state: apsw.Connection, query: str, *values: Any) -> Any:
    return next(state.execute(query, values))[0]


_thread_lock = threading.Lock()
SINCE = {"decisions": "(position > ?1 OR (changed <> position AND changed > ?1))", "dataset_rows": "changed > ?1"}
"""New or changed rows: the first part by the key, the second by the index of those that ever changed."""


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
