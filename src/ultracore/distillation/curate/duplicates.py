"""The duplicates among decisions, found once: who stands for whom at any threshold above a floor.

Pairs are found once; merging them at another threshold, or for a wanted share, needs no second
search. What this file does not know: how embeddings are made, and which threshold is wise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.curate.embed import Matrix, Row, read_decisions
from ultracore.distillation.curate.pairs import HERE, TOLERANCE, Pairs, Progress, find_pairs, silent
from ultracore.distillation.curate.policies import Candidates, preference
from ultracore.distillation.curate.reduction import (
    Reduction,
    decision_key,
    disputes,
    merge_equal,
    merge_rows,
    merge_similar,
)
from ultracore.distillation.curate.workers import Workers
from ultracore.distillation.errors import ConfigurationError, DataError

__all__ = ["DedupStats", "DuplicatePair", "Duplicates"]


class DuplicatePair(TypedDict):
    """A removed row (by its index in the input), the kept row that stands for it, and their cosine."""

    removed: int
    kept: int
    similarity: float


class DedupStats(TypedDict):
    """What deduplication did; indices are those of the input rows.

    `disputed` are the kept rows that have a similar (or the same) state with another decision of the
    teacher: such rows are never merged. There are `teacher_disagreements` of them.
    """

    original_count: int
    deduplicated_count: int
    duplicates_removed: int
    reduction_rate: float
    similarity_threshold: float
    keep: str
    exact_duplicates: int
    teacher_disagreements: int
    disputed: list[int]
    pairs: list[DuplicatePair]
    groups: list[list[int]]


class Duplicates:
    """All pairs of decisions that are at least so similar.

    Args:
        rows: Rows as `get_history()` returns them, or decisions.
        embeddings: [rows, dimensions] with rows of length 1. Without them only rows with exactly
            equal states (`State.key`) are duplicates. Rows of different teachers never are by being equal.
        floor: Least cosine to look for, in (0, 1].
        say: Told how much of the search is done.
        workers: Where the search is done.

    Raises:
        DataError: A row cannot be read, or the embeddings are not one row of length 1 for each.

    Example:
        >>> from ultracore.distillation.curate import embed_decisions
        >>> rows = [{"context": {"text": text}, "tool_selected": "x"} for text in ("a b c d", "a b c e", "q")]
        >>> found = Duplicates(rows, embed_decisions(rows), floor=0.3)
        >>> [len(found.rethreshold(cosine)[0]) for cosine in (0.3, 0.99)]
        [2, 3]
    """

    def __init__(
        self,
        rows: Sequence[Row],
        embeddings: Matrix | None = None,
        floor: float = 1.0,
        say: Progress = silent,
        workers: Workers = HERE,
    ) -> None:
        self.rows, self.embeddings, self.floor = rows, embeddings, floor
        read = read_decisions(rows)
        if embeddings is not None and len(embeddings) != len(read):
            raise DataError(f"there are {len(read)} rows, but {len(embeddings)} embeddings")
        self._keys = [decision_key(decision) for decision in read]
        if embeddings is None:
            self._states: list[Hashable] = [(decision.teacher, decision.state.key) for decision in read]
        else:
            self._states = [(d.teacher, vector.tobytes()) for d, vector in zip(read, embeddings, strict=True)]
        self._exact = merge_equal(list(zip(self._states, self._keys, strict=True)))
        places = np.array(self._exact.kept, dtype=np.intp)
        none = Pairs(places[:0], places[:0], np.zeros(0))
        # Pairs are among the distinct rows; their indices are those of the input.
        found = none if embeddings is None else find_pairs(embeddings[places], floor, say=say, workers=workers)
        self._pairs = Pairs(places[found.first], places[found.second], found.similarity)

    def rethreshold(self, threshold: float, keep: str = "first") -> tuple[list[Any], DedupStats]:
        """The kept rows, in their order, and the account of it; nothing is searched again.

        Args:
            threshold: Cosine from the floor to 1.
            keep: A policy of `policies.KEEP`: which row of a group stays.

        Raises:
            ConfigurationError: The threshold is below the floor, or there is no such policy.
        """
        if not self.floor <= threshold <= 1:
            raise ConfigurationError(
                f"pairs were found from {self.floor} on; {threshold} must lie in [{self.floor}, 1]"
            )
        reduction, pairs = self._reduce(threshold, keep)
        return merge_rows(self.rows, reduction), self._stats(reduction, pairs, threshold, keep)

    def threshold_for(self, reduction_rate: float, keep: str = "first") -> float | None:
        """The highest threshold that removes such a share (0..1) of the rows; `None` where even the floor does not."""
        steps = [1.0, *np.unique(self._pairs.similarity.clip(max=1.0))[::-1].tolist(), self.floor]
        low, high = 0, len(steps) - 1
        if self._rate(steps[high], keep) < reduction_rate:
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._rate(steps[middle], keep) >= reduction_rate else (middle + 1, high)
        return float(max(self.floor, steps[low]))

    def _rate(self, threshold: float, keep: str) -> float:
        removed = len(self.rows) - len(self._reduce(threshold, keep)[0].kept)
        return removed / max(1, len(self.rows))

    def _reduce(self, threshold: float, keep: str) -> tuple[Reduction, Pairs]:
        """Merge by preference: of equal rows, then of similar ones, the most preferred stays."""
        pairs = self._pairs.where(self._pairs.similarity >= threshold - TOLERANCE)
        place = preference(keep, Candidates(self.rows, self.embeddings, disputes(pairs, self._keys)))
        exact = _preferred(self._exact, place)
        order = np.array(exact.kept, dtype=np.intp)
        order = order[np.argsort(place[order])]
        through = np.zeros(len(self.rows), np.intp)  # of each row: its place among the distinct ones
        through[order] = np.arange(len(order))
        through = through[np.array(exact.owner, dtype=np.intp)]
        near = merge_similar(pairs.renamed(through), [self._keys[row] for row in order])
        owner = order[np.array(near.owner, dtype=np.intp)]
        similarity = np.array(near.similarity)
        return Reduction(owner[through].tolist(), similarity[through].tolist()), pairs

    def _stats(self, reduction: Reduction, pairs: Pairs, threshold: float, keep: str) -> DedupStats:
        rows, kept = len(self.rows), reduction.kept
        disputed = self._disputed(pairs, kept)
        return {
            "original_count": rows,
            "deduplicated_count": len(kept),
            "duplicates_removed": rows - len(kept),
            "reduction_rate": 1 - len(kept) / rows if rows else 0.0,
            "similarity_threshold": threshold,
            "keep": keep,
            "exact_duplicates": rows - len(self._exact.kept),
            "teacher_disagreements": len(disputed),
            "disputed": disputed,
            "pairs": [
                {"removed": row, "kept": owner, "similarity": reduction.similarity[row]}
                for row, owner in enumerate(reduction.owner)
                if row != owner
            ],
            "groups": [[row, *others] for row, others in reduction.groups().items()],
        }

    def _disputed(self, pairs: Pairs, kept: Sequence[int]) -> list[int]:
        """Those kept rows that have a similar row, or one in the same state, with another decision."""
        apart = disputes(pairs, self._keys)
        states = Counter(self._states[row] for row in self._exact.kept)
        exact = self._exact.owner
        return [row for row in kept if apart[exact[row]] or states[self._states[row]] > 1]


def _preferred(exact: Reduction, place: NDArray[np.intp]) -> Reduction:
    """The same groups, each with its most preferred row as the owner."""
    best: dict[int, int] = {}
    for row in np.argsort(place).tolist():
        best.setdefault(exact.owner[row], row)
    return Reduction([best[owner] for owner in exact.owner], exact.similarity)
