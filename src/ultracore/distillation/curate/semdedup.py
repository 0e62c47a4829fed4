"""SemDeDup: keep one of each group of decisions made alike in (almost) the same state.

After "SemDeDup: Data-efficient learning at web-scale through semantic deduplication" (Abbas et
al., arXiv 2303.09540), with three differences: every pair at the threshold is found, a removed row
is similar to the very row that stands for it (not merely to another removed one), and rows are
merged only where the teacher decided the same. What this file does not know: whether the threshold
is good for a student (`validate`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ultracore.distillation.curate.cache import EmbeddingCache
from ultracore.distillation.curate.duplicates import DedupStats, Duplicates
from ultracore.distillation.curate.embed import Matrix, Row
from ultracore.distillation.curate.functions import EmbeddingFunction
from ultracore.distillation.curate.pairs import HERE, Progress, silent
from ultracore.distillation.curate.policies import KEEP
from ultracore.distillation.curate.workers import Workers
from ultracore.distillation.errors import ConfigurationError

__all__ = ["SemDeDup", "deduplicate_rows"]

FLOORS = (0.95, 0.9, 0.8, 0.7, 0.5)
"""How far down a wanted reduction is looked for; below, states have little in common but their form."""


class SemDeDup:
    """Removes semantic duplicates from decisions.

    A threshold of 0.95 suits free text. For agent traces it is too aggressive: neighbouring states
    differ by nothing but an id. Measured on tau2 traces (MiniLM vectors, 2,616 rows, tool name
    agreement of the student): all rows 81.2 %, exact duplicates removed (60 % kept) 80.6 %, 0.95
    (21 % kept) 76.4 %. `DataCuratorAgent` chooses the threshold on a validation split instead.

    Args:
        similarity_threshold: Cosine in (0, 1] from which two states count as the same.
        target_reduction: Share of the rows (0..1) to remove instead, at the highest threshold that
            does it; `stats["similarity_threshold"]` says which.
        keep: Which row of a group stays: `first`, `latest`, `outcome`, `consistent` or `farthest`
            (see `policies`).
        cache: Where embeddings are kept; in memory by default.
        say: Told how much of the search for pairs is done.
        workers: Where pairs are looked for: in this process, or `on_ray.OnRay`.

    Raises:
        ConfigurationError: The threshold is not in (0, 1], the share not in [0, 1), or `keep` unknown.
    """

    def __init__(
        self,
        similarity_threshold: float = 0.95,
        *,
        target_reduction: float | None = None,
        keep: str = "first",
        cache: EmbeddingCache | None = None,
        say: Progress = silent,
        workers: Workers = HERE,
    ) -> None:
        if not 0 < similarity_threshold <= 1:
            raise ConfigurationError(f"similarity_threshold must lie in (0, 1], not {similarity_threshold}")
        if target_reduction is not None and not 0 <= target_reduction < 1:
            raise ConfigurationError(f"target_reduction must lie in [0, 1), not {target_reduction}")
        if keep not in KEEP:
            raise ConfigurationError(f"keep must be one of {', '.join(KEEP)}; not {keep!r}")
        self.similarity_threshold = similarity_threshold
        self.target_reduction = target_reduction
        self.keep = keep
        self.say = say
        self.workers = workers
        self.cache = EmbeddingCache() if cache is None else cache

    async def deduplicate(
        self, decisions: Sequence[Row], embedding_function: EmbeddingFunction | None = None
    ) -> tuple[list[Any], DedupStats]:
        """Keep one row of each group of duplicates.

        Args:
            decisions: Rows as `get_history()` returns them, or decisions; they are not changed.
            embedding_function: text -> vector or list of texts -> matrix, synchronous or async; or an
                object with `encode`. By default `embed_decisions`.

        Returns:
            The kept rows in their order (with the `weight` they stand for and their
            `duplicate_ids`), and the account of it. `teacher_disagreements` counts the kept rows
            that have a similar row with another decision; such rows are never merged. A state that
            was embedded before is not embedded again.

        Raises:
            DataError: A row cannot be read, or the embeddings are unusable; what was embedded
                before an encoder failed stays in the cache.
        """
        embeddings = await self.embed(decisions, embedding_function)
        return await asyncio.to_thread(self.reduce, decisions, embeddings)

    async def find(self, decisions: Sequence[Row], embedding_function: EmbeddingFunction | None = None) -> Duplicates:
        """All pairs from the threshold on; its `rethreshold` merges at any higher one without a new search."""
        embeddings = await self.embed(decisions, embedding_function)
        return await asyncio.to_thread(self._found, decisions, embeddings, self.similarity_threshold)

    async def embed(self, decisions: Sequence[Row], embedding_function: EmbeddingFunction | None = None) -> Matrix:
        """The embeddings that `deduplicate` uses, [decisions, dimensions]; each distinct state is embedded once."""
        return await self.cache.embed(decisions, embedding_function)

    def clear_cache(self) -> None:
        """Forget all embeddings."""
        self.cache.clear()

    def get_cache_size(self) -> int:
        """How many distinct states have a cached embedding."""
        return len(self.cache)

    def reduce(self, rows: Sequence[Row], embeddings: Matrix) -> tuple[list[Any], DedupStats]:
        """As `deduplicate`, with the embeddings at hand: [rows, dimensions] with rows of length 1."""
        if self.target_reduction is None:
            found = self._found(rows, embeddings, self.similarity_threshold)
            return found.rethreshold(self.similarity_threshold, self.keep)
        for floor in FLOORS:
            found = self._found(rows, embeddings, floor)
            threshold = found.threshold_for(self.target_reduction, self.keep)
            if threshold is not None:
                break
        return found.rethreshold(found.floor if threshold is None else threshold, self.keep)

    def _found(self, rows: Sequence[Row], embeddings: Matrix, floor: float) -> Duplicates:
        return Duplicates(rows, embeddings, floor, self.say, self.workers)


def deduplicate_rows(
    rows: Sequence[Row],
    embeddings: Matrix | None = None,
    threshold: float = 1.0,
    *,
    keep: str = "first",
    say: Progress = silent,
    workers: Workers = HERE,
) -> tuple[list[Any], DedupStats]:
    """As `SemDeDup.deduplicate`, with the embeddings at hand.

    Args:
        rows: Rows as `get_history()` returns them, or decisions.
        embeddings: [rows, dimensions] with rows of length 1. Without them only rows with exactly
            equal states (`State.key`) are merged.
        threshold: Cosine in (0, 1] from which two states count as the same.
        keep: Which row of a group stays.
        say: Told how much of the search for pairs is done.
        workers: Where pairs are looked for.
    """
    return Duplicates(rows, embeddings, threshold, say, workers).rethreshold(threshold, keep)
