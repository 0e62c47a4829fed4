"""Which decision of a group of duplicates stays.

Each policy gives every row a number; the row with the least stays, the earlier one of two equal ones.
What this file does not know: which rows are duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.curate.kmeans import Matrix, cluster
from ultracore.distillation.curate.reduction import Row
from ultracore.distillation.errors import ConfigurationError

__all__ = ["KEEP", "Candidates", "preference"]

Numbers: TypeAlias = NDArray[np.float64]

ROWS_A_CLUSTER = 100  # the paper's clusters are larger still; they have to be larger than groups of duplicates


class Candidates(NamedTuple):
    """What a policy may look at.

    Attributes:
        rows: As they were given.
        embeddings: [rows, dimensions] with rows of length 1; `None` where only equal states are merged.
        disputes: [rows] how many similar states each has in which the teacher decided otherwise.
    """

    rows: Sequence[Row]
    embeddings: Matrix | None
    disputes: NDArray[np.intp]


def first(candidates: Candidates) -> Numbers:
    """The earliest row of the input."""
    return np.zeros(len(candidates.rows))


def latest(candidates: Candidates) -> Numbers:
    """The most recent by `timestamp`; without one, the last of the input."""
    times = [str(_field(row, "timestamp") or "") for row in candidates.rows]
    order = sorted(range(len(times)), key=lambda row: (times[row], row), reverse=True)
    return np.argsort(np.array(order, dtype=np.intp)).astype(np.float64)


def outcome(candidates: Candidates) -> Numbers:
    """One that succeeded before one without an outcome, and that before one that failed."""
    return np.array([_failed(row) for row in candidates.rows], dtype=np.float64)


def consistent(candidates: Candidates) -> Numbers:
    """The one with the fewest similar states in which the teacher decided otherwise."""
    return candidates.disputes.astype(np.float64)


def farthest(candidates: Candidates) -> Numbers:
    """The one farthest from the centre of its cluster, as in the paper of SemDeDup."""
    if candidates.embeddings is None or not len(candidates.rows):
        return first(candidates)
    return cluster(candidates.embeddings, max(1, len(candidates.rows) // ROWS_A_CLUSTER)).cosine.astype(np.float64)


KEEP: dict[str, Callable[[Candidates], Numbers]] = {
    "first": first,
    "latest": latest,
    "outcome": outcome,
    "consistent": consistent,
    "farthest": farthest,
}


def preference(keep: str, candidates: Candidates) -> NDArray[np.intp]:
    """[rows] place of each row in the order of preference, from 0.

    Raises:
        ConfigurationError: There is no such policy.
    """
    if keep not in KEEP:
        raise ConfigurationError(f"keep must be one of {', '.join(KEEP)}; not {keep!r}")
    order = np.argsort(KEEP[keep](candidates), kind="stable")
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    return place


def _failed(row: Row) -> int:
    outcome = _field(row, "outcome")
    success = outcome.get("success") if isinstance(outcome, Mapping) else None
    return 1 if success is None else 2 * (not success)


def _field(row: Row, name: str) -> Any:
    return row.get(name) if isinstance(row, Mapping) else None
