"""Rows waiting for their transaction: in memory while they are few, in a temporary file beyond that.

What this file does not know: events, and where the rows go.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from ultracore.distillation.errors import LogError

__all__ = ["Row", "Spool"]

MAX_BYTES_IN_MEMORY = 16 * 1024 * 1024


class Row(NamedTuple):
    """One line of the table, without its position."""

    event_id: str
    type: str
    version: int
    aggregate: str
    aggregate_type: str
    tenant: str
    occurred_at: str
    causation: str | None
    correlation: str | None
    payload: str


class Spool:
    """Rows in order; `add` them all, then iterate.

    Args:
        folder: Where the temporary file is made; it has no name, so that a crash leaves nothing behind.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[Row] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None

    def add(self, row: Row) -> None:
        """Append one row."""
        self._rows.append(row)
        self._bytes += len(row.payload)
        if self._bytes > MAX_BYTES_IN_MEMORY:
            self._spill()

    def __iter__(self) -> Iterator[Row]:
        if self._file is not None:
            self._file.seek(0)
            for line in self._file:
                yield msgspec.json.decode(line, type=Row)
        yield from self._rows

    def close(self) -> None:
        """Let go of the rows."""
        self._rows = []
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - lives as long as the spool
            self._file.write(msgspec.json.Encoder().encode_lines(self._rows))
        except OSError as error:
            raise LogError(
                f"no room beside the log for a large append: {error}; free space in {self._folder}"
            ) from None
        self._rows, self._bytes = [], 0
