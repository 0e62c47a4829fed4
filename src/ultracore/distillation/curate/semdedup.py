"""SemDeDup: keep one of each group of decisions made alike in (almost) the same state.

After "SemDeDup: Data-efficient learning at web-scale through semantic deduplication" (Abbas et
al., arXiv 2303.09540), with three differences: every pair at the threshold is found, a removed row
is similar to the very row that stands for it (not merely to another removed one), and rows are
merged only where the teacher decided the same. What this file does not know: whether the threshold
is good for a student (`validate`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, TypedDict

import numpy as np

from ultracore.distillation.curate.embed import Matrix, Row, check_matrix, embed_decisions, read_decisions, state_text
from ultracore.distillation.curate.functions import EmbeddingFunction, call_function
from ultracore.distillation.curate.pairs import find_pairs
from ultracore.distillation.curate.reduction import (
    Reduction,
    decision_key,
    disagreeing,
    merge_equal,
    merge_rows,
    merge_similar,
)
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError

__all__ = ["DedupStats", "DuplicatePair", "SemDeDup", "deduplicate_rows"]


class DuplicatePair(TypedDict):
    """A removed row (by its index in the input), the kept row that stands for it, and their cosine."""

    removed: int
    kept: int
    similarity: float


class DedupStats(TypedDict):
    """What deduplication did; indices are those of the input rows."""

    original_count: int
    deduplicated_count: int
    duplicates_removed: int
    reduction_rate: float
    similarity_threshold: float
    exact_duplicates: int
    teacher_disagreements: int
    pairs: list[DuplicatePair]
    groups: list[list[int]]


class SemDeDup:
    """Removes semantic duplicates from decisions.

    A threshold of 0.95 suits free text. For agent traces it is too aggressive: neighbouring states
    differ by nothing but an id. Measured on tau2 traces (MiniLM vectors, 2,616 rows, tool name
    agreement of the student): all rows 81.2 %, exact duplicates removed (60 % kept) 80.6 %, 0.95
    (21 % kept) 76.4 %. `DataCuratorAgent` chooses the threshold on a validation split instead.

    Args:
        similarity_threshold: Cosine in (0, 1] from which two states count as the same.

    Raises:
        ConfigurationError: The threshold is not in (0, 1].
    """

    def __init__(self, similarity_threshold: float = 0.95) -> None:
        if not 0 < similarity_threshold <= 1:
            raise ConfigurationError(f"similarity_threshold must lie in (0, 1], not {similarity_threshold}")
        self.similarity_threshold = similarity_threshold
        self._cache: dict[tuple[EmbeddingFunction | None, bytes], Matrix] = {}

    async def deduplicate(
        self, decisions: Sequence[Row], embedding_function: EmbeddingFunction | None = None
    ) -> tuple[list[Any], DedupStats]:
        """Keep the first row of each group of duplicates.

        Args:
            decisions: Rows as `get_history()` returns them, or decisions; they are not changed.
            embedding_function: text -> vector or list of texts -> matrix, synchronous or async. By
                default `embed_decisions`.

        Returns:
            The kept rows in their order (with the `weight` they stand for and their
            `duplicate_ids`), and the account of it. `teacher_disagreements` counts the kept rows
            that have a similar row with another decision; such rows are never merged. A state that
            was embedded before is not embedded again.

        Raises:
            DataError: A row cannot be read, or the embeddings are unusable.
        """
        embeddings = await self.embed(decisions, embedding_function)
        return await asyncio.to_thread(deduplicate_rows, decisions, embeddings, self.similarity_threshold)

    async def embed(self, decisions: Sequence[Row], embedding_function: EmbeddingFunction | None = None) -> Matrix:
        """The embeddings that `deduplicate` uses, [decisions, dimensions]; each distinct state is embedded once."""
        read = read_decisions(decisions)
        keys = [(embedding_function, _digest(state_text(decision))) for decision in read]
        new = {key: row for row, key in enumerate(keys) if key not in self._cache}
        if new:
            vectors = await _vectors([read[row] for row in new.values()], embedding_function)
            self._cache.update(zip(new, vectors, strict=True))
        return np.stack([self._cache[key] for key in keys]) if keys else np.zeros((0, 1), np.float32)

    def clear_cache(self) -> None:
        """Forget all embeddings."""
        self._cache.clear()

    def get_cache_size(self) -> int:
        """How many distinct states have a cached embedding."""
        return len(self._cache)


def deduplicate_rows(
    rows: Sequence[Row], embeddings: Matrix | None = None, threshold: float = 1.0
) -> tuple[list[Any], DedupStats]:
    """As `SemDeDup.deduplicate`, with the embeddings at hand.

    Args:
        rows: Rows as `get_history()` returns them, or decisions.
        embeddings: [rows, dimensions] with rows of length 1. Without them only rows with exactly
            equal states (`State.key`) are merged.
        threshold: Cosine in (0, 1] from which two states count as the same.
    """
    read = read_decisions(rows)
    keys = [decision_key(decision) for decision in read]
    if embeddings is None:
        states: list[Hashable] = [decision.state.key for decision in read]
    else:
        states = [vector.tobytes() for vector in embeddings]
    exact = merge_equal(list(zip(states, keys, strict=True)))
    near, disputed = _similar(embeddings, exact.kept, keys, threshold)
    both = _compose(exact, near)
    disputed |= _same_state(states, exact.kept)
    return merge_rows(rows, both), _stats(both, exact, len(disputed.intersection(both.kept)), threshold)


def _similar(
    embeddings: Matrix | None, rows: list[int], keys: Sequence[bytes], threshold: float
) -> tuple[Reduction, set[int]]:
    """Merge what is similar among these rows; and those of them that have a similar row with another decision."""
    own_keys = [keys[row] for row in rows]
    if embeddings is None:
        return merge_equal(range(len(rows))), set()
    pairs = find_pairs(embeddings[rows], threshold)
    return merge_similar(pairs, own_keys), {rows[place] for place in disagreeing(pairs, own_keys)}


def _same_state(states: Sequence[Hashable], rows: Sequence[int]) -> set[int]:
    """Those of the rows, all distinct, that share a state: their decisions differ."""
    count = Counter(states[row] for row in rows)
    return {row for row in rows if count[states[row]] > 1}


async def _vectors(decisions: Sequence[Decision], function: EmbeddingFunction | None) -> Matrix:
    if function is None:
        return await asyncio.to_thread(embed_decisions, decisions)
    return check_matrix(await call_function(function, [state_text(d) for d in decisions]), len(decisions))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _compose(exact: Reduction, near: Reduction) -> Reduction:
    """Two reductions in a row as one: `near` is about the rows that `exact` kept."""
    place = {row: i for i, row in enumerate(exact.kept)}
    through = [place[owner] for owner in exact.owner]
    return Reduction([exact.kept[near.owner[i]] for i in through], [near.similarity[i] for i in through])


def _stats(reduction: Reduction, exact: Reduction, disagreements: int, threshold: float) -> DedupStats:
    rows, kept = len(reduction.owner), len(reduction.kept)
    return {
        "original_count": rows,
        "deduplicated_count": kept,
        "duplicates_removed": rows - kept,
        "reduction_rate": 1 - kept / rows if rows else 0.0,
        "similarity_threshold": threshold,
        "exact_duplicates": rows - len(exact.kept),
        "teacher_disagreements": disagreements,
        "pairs": [
            {"removed": row, "kept": owner, "similarity": reduction.similarity[row]}
            for row, owner in enumerate(reduction.owner)
            if row != owner
        ],
        "groups": [[kept, *others] for kept, others in reduction.groups().items()],
    }
