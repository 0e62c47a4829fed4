"""Embeddings by the content of the state: none is made twice, and a failure loses none that was made.

In memory by default; in a file where one is named, so that another process goes on where this one
stopped. What this file does not know: what an embedding function does.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.curate.embed import Matrix, Row, check_matrix, embed_decisions, read_decisions, state_text
from ultracore.distillation.curate.functions import EmbeddingFunction, call_function, name_of
from ultracore.distillation.curate.pairs import Progress, silent
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import DataError

__all__ = ["EmbeddingCache"]

BATCH = 1024
"""States embedded at a time, and then kept: so many are lost, at most, to a failure."""

Key = tuple[str, bytes]


class EmbeddingCache:
    """Keeps embeddings.

    Args:
        file: A SQLite file to keep them in as well. Vectors in it are found again by the *name* of the
            function (see `functions.name_of`): give two functions two names, or two files.
        masked: Fields of the state in which words with a digit all look the same, as in `embed_decisions`.

    Example:
        >>> import asyncio
        >>> cache = EmbeddingCache()
        >>> asyncio.run(cache.embed([{"context": {"city": "Oslo"}}] * 3)).shape, len(cache)
        ((3, 512), 1)
    """

    def __init__(self, file: Path | None = None, masked: Collection[str] = ()) -> None:
        self.file, self.masked = file, masked
        self._functions: list[EmbeddingFunction | None] = []  # kept alive, so that an id stays one function's
        self._vectors: dict[Key, NDArray[np.float32]] = {}

    async def embed(
        self, decisions: Sequence[Row], function: EmbeddingFunction | None = None, say: Progress = silent
    ) -> Matrix:
        """The embeddings of decisions, [decisions, dimensions] with rows of length 1.

        Args:
            decisions: Rows as `get_history()` returns them, or decisions.
            function: Embeds what is not known yet; `None` hashes.
            say: Told how many of those are done.

        Raises:
            DataError: A row cannot be read, or the function's vectors are unusable.
        """
        read = read_decisions(decisions)
        name = self._name(function)
        keys = [(name, _digest(state_text(decision, self.masked))) for decision in read]
        self._vectors.update(self._stored({key for key in keys if key not in self._vectors}))
        new = {key: row for row, key in enumerate(keys) if key not in self._vectors}
        todo = list(new.items())
        for start in range(0, len(todo), BATCH):
            part = todo[start : start + BATCH]
            vectors = await _vectors([read[row] for _, row in part], function, self.masked)
            self._keep(dict(zip((key for key, _ in part), vectors, strict=True)))
            say(start + len(part), len(todo))
        lengths = {len(self._vectors[key]) for key in keys}
        if len(lengths) > 1:
            raise DataError(f"embeddings must have one length, but some have {min(lengths)} and some {max(lengths)}")
        return np.stack([self._vectors[key] for key in keys]) if keys else np.zeros((0, 1), np.float32)

    def clear(self) -> None:
        """Forget all, in the file too."""
        self._vectors.clear()
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._vectors)

    def _name(self, function: EmbeddingFunction | None) -> str:
        """In memory two functions are two, whatever they are called."""
        if function is None:
            return "hashed"
        if self.file is not None:
            return name_of(function)
        if function not in self._functions:
            self._functions.append(function)
        return f"function {self._functions.index(function)}"

    def _stored(self, keys: Iterable[Key]) -> dict[Key, NDArray[np.float32]]:
        if self.file is None or not self.file.exists():
            return {}
        with _opened(self.file) as table:
            select = "SELECT vector FROM embeddings WHERE function = ? AND state = ?"
            rows = {key: table.execute(select, key).fetchone() for key in keys}
        return {key: np.frombuffer(row[0], np.float32) for key, row in rows.items() if row is not None}

    def _keep(self, vectors: Mapping[Key, NDArray[np.float32]]) -> None:
        self._vectors.update(vectors)
        if self.file is not None:
            with _opened(self.file) as table:
                rows = ((*key, vector.tobytes()) for key, vector in vectors.items())
                table.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file)) as table, table:
        table.execute("CREATE TABLE IF NOT EXISTS embeddings (function, state, vector, PRIMARY KEY (function, state))")
        yield table


async def _vectors(
    decisions: Sequence[Decision], function: EmbeddingFunction | None, masked: Collection[str]
) -> Matrix:
    if function is None:
        return await asyncio.to_thread(embed_decisions, decisions, masked=masked)
    return check_matrix(await call_function(function, [state_text(d, masked) for d in decisions]), len(decisions))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
