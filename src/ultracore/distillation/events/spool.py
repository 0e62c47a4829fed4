"""Rows waiting for their transaction: in memory while they are few, packed in a temporary file beyond that.

What this file does not know: events, and where the rows go.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.block import MAX_BYTES, MAX_EVENTS, Block, Row, pack, rows, split

__all__ = ["Run", "Spool"]

MAX_BYTES_IN_MEMORY = 16 * 1024 * 1024
LENGTHS = struct.Struct("<IQQQ")


class Run(NamedTuple):
    """Rows that fit into one block; those that waited on disk are packed already."""

    rows: list[Row]
    block: Block | None


class Spool:
    """Rows in order; `add` them all, then take them as `runs`.

    Args:
        folder: Where the temporary file is made; it has no name, so that a crash leaves nothing behind.

    Attributes:
        parts: What the rows name by hash.
    """

    def __init__(self, folder: Path) -> None:
        self.parts: dict[str, bytes] = {}
        self._folder = folder
        self._rows: list[Row] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None

    @classmethod
    def joined(cls, spools: Sequence[Spool]) -> Spool:
        """The rows of several, none of which is `spilled`, one after the other."""
        whole = cls(spools[0]._folder)
        for spool in spools:
            whole._rows += spool._rows
            whole._bytes += spool._bytes
            whole.parts |= spool.parts
        return whole

    def __len__(self) -> int:
        """How many rows are in memory: all, unless it is `spilled`."""
        return len(self._rows)

    def add(self, row: Row) -> None:
        """Append one row."""
        self._rows.append(row)
        self._bytes += len(row.payload)
        if self._bytes > MAX_BYTES_IN_MEMORY:
            self._spill()

    @property
    def spilled(self) -> bool:
        """Whether some of them wait on disk, packed."""
        return self._file is not None

    def runs(self) -> Iterator[Run]:
        """All of them in order; may be taken more than once."""
        if self._file is not None:
            self._file.seek(0)
            yield from (Run(rows(block), block) for block in _blocks(self._file))
        if len(self._rows) <= MAX_EVENTS and self._bytes <= MAX_BYTES:
            if self._rows:
                yield Run(self._rows, None)
            return
        yield from (Run(run, None) for run in split(self._rows))

    def close(self) -> None:
        """Let go of the rows."""
        self._rows = []
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - lives as long as the spool
            for run in split(self._rows):
                events, *content = pack(run)
                self._file.write(LENGTHS.pack(events, *map(len, content)) + b"".join(content))
        except OSError as error:
            raise LogError(
                f"no room beside the log for a large append: {error}; free space in {self._folder}"
            ) from None
        self._rows, self._bytes = [], 0


def _blocks(file: IO[bytes]) -> Iterator[Block]:
    while header := file.read(LENGTHS.size):
        events, *lengths = LENGTHS.unpack(header)
        yield Block(events, *(file.read(length) for length in lengths))
