"""Which similarity threshold do these decisions bear? Asked of tasks held out, not assumed.

For each candidate the training folds are deduplicated, and the nearest kept row predicts the tools
of each held-out decision. A threshold is supported where that is not worse than with all rows by
more than one standard error (of the paired difference, clustered by task). The nearest neighbour
stands in for a student, as it takes no training; it is a check against harm, not a forecast of the
student's agreement. What this file does not know: how a student is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.curate.embed import Matrix
from ultracore.distillation.curate.pairs import TOLERANCE, find_pairs
from ultracore.distillation.curate.reduction import decision_key, merge_equal, merge_similar
from ultracore.distillation.decisions import Decision
from ultracore.distillation.splits import folds_by_task, units_of

__all__ = ["CANDIDATES", "ThresholdChoice", "ThresholdEvidence", "choose_threshold", "clustered_error"]

Hits: TypeAlias = NDArray[np.float64]

CANDIDATES = (0.995, 0.99, 0.98, 0.95)
FOLDS = 3
LEAST_UNITS = 30  # below this a standard error says too little to throw rows away on its word
MOST_ROWS = 10_000  # rows to validate on: a minute of one core at the very most
QUERIES = 512  # held-out rows compared at a time


class ThresholdEvidence(TypedDict):
    """One candidate, measured on held-out tasks; agreement is the share of equal tool choices (0..1)."""

    threshold: float
    kept_share: float
    agreement: float
    agreement_of_all_rows: float
    standard_error: float
    supported: bool


class ThresholdChoice(NamedTuple):
    """The lowest threshold that is supported with every one above it.

    Attributes:
        threshold: The choice; `None` where only exact duplicates should go.
        evidence: The candidates that were tried, from the highest.
        reason: One sentence for a person.
        agreement: Nearest-neighbour agreement at the chosen threshold; `None` where nothing was measured.
    """

    threshold: float | None
    evidence: list[ThresholdEvidence]
    reason: str
    agreement: float | None = None


def choose_threshold(
    decisions: Sequence[Decision], embeddings: Matrix, candidates: Sequence[float] = CANDIDATES, seed: int = 0
) -> ThresholdChoice:
    """Try the candidates from the most careful one down, and stop at the first that does harm.

    Args:
        decisions: The training part, duplicates included.
        embeddings: [decisions, dimensions] with rows of length 1.
        candidates: Cosines in (0, 1).
        seed: Of the folds.
    """
    rows = _sample(decisions)
    decisions, embeddings = [decisions[row] for row in rows], embeddings[rows]
    units = units_of(decisions)
    if not candidates or len(set(units)) < LEAST_UNITS:
        reason = f"{len(set(units))} tasks are too few to validate a threshold on ({LEAST_UNITS} are needed)"
        return ThresholdChoice(None, [], reason if candidates else "no candidate threshold was given")
    ordered = sorted(candidates, reverse=True)
    hits, kept = _cross_validate(decisions, embeddings, ordered, seed)
    weights = np.array([decision.weight for decision in decisions])
    return _decide(ordered, hits, kept, weights, units)


def _decide(
    candidates: Sequence[float], hits: Hits, kept: NDArray[np.float64], weights: Hits, units: Sequence[str]
) -> ThresholdChoice:
    everything, *reduced = (float(np.average(hit, weights=weights)) for hit in hits)
    choice = ThresholdChoice(None, [], "no candidate threshold was supported: only exact duplicates go", everything)
    for column, threshold in enumerate(candidates, 1):
        error = clustered_error(hits[column] - hits[0], weights, units)
        supported = reduced[column - 1] >= everything - error
        choice.evidence.append(
            ThresholdEvidence(
                threshold=threshold,
                kept_share=float(kept[column]),
                agreement=reduced[column - 1],
                agreement_of_all_rows=everything,
                standard_error=error,
                supported=supported,
            )
        )
        if not supported:
            break
        reason = f"{threshold} is the lowest candidate supported on held-out tasks"
        choice = choice._replace(threshold=threshold, reason=reason, agreement=reduced[column - 1])
    return choice


def _sample(decisions: Sequence[Decision]) -> list[int]:
    """All rows, or those of so many whole tasks as stay below the limit."""
    if len(decisions) <= MOST_ROWS:
        return list(range(len(decisions)))
    fold = folds_by_task(decisions, -(-len(decisions) // MOST_ROWS))
    return [row for row, part in enumerate(fold) if part == 0]


def _cross_validate(
    decisions: Sequence[Decision], embeddings: Matrix, candidates: Sequence[float], seed: int
) -> tuple[Hits, NDArray[np.float64]]:
    """Hits [1 + candidates, decisions] and the share of rows kept, first with all rows, then with each."""
    keys = [decision_key(decision) for decision in decisions]
    tools = np.array(merge_equal([_tools(decision) for decision in decisions]).owner)
    fold = np.array(folds_by_task(decisions, FOLDS, seed))
    hits, kept = np.zeros((1 + len(candidates), len(decisions))), np.zeros(1 + len(candidates))
    for part in range(FOLDS):
        train, test = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        distinct = train[merge_equal([(embeddings[row].tobytes(), keys[row]) for row in train]).kept]
        kept_sets = _kept_sets(embeddings[distinct], [keys[row] for row in distinct], candidates)
        for column, chosen in enumerate([np.arange(len(distinct)), *kept_sets]):
            neighbours = distinct[chosen][_nearest(embeddings[test], embeddings[distinct[chosen]])]
            hits[column, test] = tools[neighbours] == tools[test]
            kept[column] += len(chosen) / len(train) / FOLDS
    return hits, kept


def _tools(decision: Decision) -> tuple[str, ...]:
    return tuple(sorted(call.name for call in decision.calls))


def _kept_sets(embeddings: Matrix, keys: Sequence[bytes], candidates: Sequence[float]) -> list[NDArray[np.intp]]:
    pairs = find_pairs(embeddings, min(candidates))
    reached = (pairs.where(pairs.similarity >= threshold - TOLERANCE) for threshold in candidates)
    return [np.array(merge_similar(subset, keys).kept, dtype=np.intp) for subset in reached]


def _nearest(queries: Matrix, rows: Matrix) -> NDArray[np.intp]:
    blocks = (queries[start : start + QUERIES] for start in range(0, len(queries), QUERIES))
    return np.concatenate([(block @ rows.T).argmax(axis=1) for block in blocks])


def clustered_error(differences: Hits, weights: Hits, units: Sequence[str]) -> float:
    """Standard error of a weighted mean whose terms are dependent within a unit."""
    excess = weights * (differences - np.average(differences, weights=weights))
    _, unit = np.unique(units, return_inverse=True)
    sums = np.bincount(unit, weights=excess)
    return float(np.sqrt((sums**2).sum() * len(sums) / max(1, len(sums) - 1)) / weights.sum())
