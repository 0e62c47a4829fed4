"""Every pair of rows at or above a cosine similarity: none is missed, none is approximate.

Rows are grouped into cells by k-means. A row also visits, as a guest, each cell whose boundary is
at most half the search radius away; of two rows within the radius in different cells at least one
visits the other's, so that looking inside the cells finds every pair. Within a cell a 32-number
upper bound of the cosine comes first (Cauchy-Schwarz on what a projection leaves out), and only
what may reach the threshold is compared in full. Plain SemDeDup (arXiv 2303.09540) looks inside
the home cells alone and lost 11-16 % of the pairs where decisions cluster. What this file does not
know: what the rows stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.curate.kmeans import blocks, fit_centres
from ultracore.distillation.curate.workers import InProcess, Workers
from ultracore.distillation.errors import DataError

__all__ = ["HERE", "TOLERANCE", "Pairs", "Progress", "find_pairs", "silent"]

Matrix: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.intp]
Rows: TypeAlias = NDArray[np.int32]
"""Numbers of rows or cells, in 32 bits: at a million rows there are 26 million visits to hold."""
Keyed: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
Progress: TypeAlias = Callable[[int, int], None]
"""Told how much is done, and of how much."""


def silent(done: int, total: int) -> None:
    """Tells nobody."""


HERE: Workers = InProcess()

TOLERANCE = 1e-6
"""A cosine of float32 rows is known no better than this; a pair so near the threshold counts as at it."""

ROUNDING = 1e-5  # of float32 matrix products: a slack for what only pre-selects
UNIT = 1e-3  # how far the square of a length may be from 1
MANY = 100_000
"""From so many rows on there are sqrt(rows) cells; below, in proportion fewer: 3 times fewer at 30,000 take 2/3 of the
time, and up to some 3,000 rows one cell is best."""
PROJECTED = 31
"""63 leave 4 times fewer pairs to compare in full (300,000 rows), but their products take half as long again."""
CONFIRMED = 512  # pairs compared at a time: their rows stay in the cache, 3 to 6 times faster than 4,096
SAMPLE = 10_000  # rows that the projection is fitted to; any projection bounds, a good one bounds closely


class Pairs(NamedTuple):
    """Pairs of rows, sorted by `second`, then by `first`.

    Attributes:
        first: [pairs] the earlier row.
        second: [pairs] the later row.
        similarity: [pairs] their cosine, to `TOLERANCE`.
    """

    first: Places
    second: Places
    similarity: NDArray[np.float64]

    def where(self, mask: NDArray[np.bool_]) -> Pairs:
        """Those pairs for which the mask is true."""
        return Pairs(self.first[mask], self.second[mask], self.similarity[mask])

    def renamed(self, place: Places) -> Pairs:
        """The same pairs under other numbers, sorted by those; `place` is the new number of each row."""
        first, second = place[self.first], place[self.second]
        first, second = np.minimum(first, second), np.maximum(first, second)
        order = np.lexsort((first, second))
        return Pairs(first[order], second[order], self.similarity[order])


def find_pairs(
    embeddings: Matrix,
    threshold: float,
    *,
    cells: int | None = None,
    limit: int = 50_000_000,
    say: Progress = silent,
    workers: Workers = HERE,
) -> Pairs:
    """Find every pair with cosine >= `threshold` (up to `TOLERANCE`).

    Args:
        embeddings: [rows, dimensions] with rows of length 1.
        threshold: Cosine in (0, 1].
        cells: How many cells; by default the square root of the number of rows, and fewer below `MANY`.
            The result does not depend on it.
        limit: Most pairs to hold in memory (about 50 bytes each).
        say: Told after each cell how many are done, and of how many.
        workers: Where cells are looked through; the result does not depend on it.

    Raises:
        DataError: There are more pairs than `limit`, or a row has not the length 1 (or a NaN).
    """
    rows = len(embeddings)
    _check(embeddings)
    cells = min(cells or max(1, round(rows**0.5 * min(1.0, rows / MANY))), max(rows, 1))
    found, count = [(np.zeros(0, np.int64), np.zeros(0))], 0
    for done, pairs in enumerate(_pairs_of_cells(embeddings, threshold, cells, workers), 1):
        found.append(pairs)
        count += len(pairs[0])
        if count > 2 * limit:  # a pair may be met twice
            raise DataError(
                f"more than {limit:,} pairs of rows are at least {threshold} similar; raise the threshold, "
                "or deduplicate the rows in smaller parts first"
            )
        say(done, cells)
    return _merged(found, rows)


def _check(embeddings: Matrix) -> None:
    """Refuse what would find no pair and say nothing."""
    is_unit = np.abs(np.einsum("ij,ij->i", embeddings, embeddings) - 1) < UNIT
    if not is_unit.all():
        raise DataError(f"row {is_unit.argmin()} of the embeddings has not the length 1; `embed_decisions` scales them")


def _merged(found: Sequence[Keyed], rows: int) -> Pairs:
    keys, where = np.unique(np.concatenate([key for key, _ in found]), return_index=True)
    similarity = np.concatenate([values for _, values in found])[where]
    return Pairs(keys % max(rows, 1), keys // max(rows, 1), similarity)


def _pairs_of_cells(embeddings: Matrix, threshold: float, cells: int, workers: Workers) -> Iterator[Keyed]:
    searched = ((homes, guests, threshold) for homes, guests in _cells(embeddings, threshold, cells, workers))
    return workers.map(_pairs_of_cell, (embeddings, _project(embeddings)), searched)


def _pairs_of_cell(embeddings: Matrix, bound: Matrix, homes: Rows, guests: Rows, threshold: float) -> Keyed:
    """Pairs of one cell, as keys `second * rows + first` and cosines; cells do not depend on each other."""
    found = list(_candidates(bound, homes, guests, threshold))
    first, second = (np.concatenate([pair[i] for pair in found] or [homes[:0]]) for i in (0, 1))
    return _confirm(embeddings, first, second, threshold)


def _cells(embeddings: Matrix, threshold: float, cells: int, workers: Workers) -> Iterator[tuple[Rows, Rows]]:
    """(rows at home, guests) of each cell."""
    if cells == 1:
        yield np.arange(len(embeddings), dtype=np.int32), np.zeros(0, np.int32)
        return
    # Rough centres suffice: the guests make the search exact whatever they are.
    centres = fit_centres(embeddings, cells, rounds=6, rows_per_centre=128)
    home, row, cell = _visits(embeddings, centres, threshold, workers)
    rows = np.arange(len(home), dtype=np.int32)
    yield from zip(_by_cell(rows, home, len(centres)), _by_cell(row, cell, len(centres)), strict=True)


def _by_cell(rows: Rows, cell: Rows, cells: int) -> list[Rows]:
    ends = np.cumsum(np.bincount(cell, minlength=cells))
    return np.split(rows[np.argsort(cell, kind="stable")], ends[:-1])


def _visits(embeddings: Matrix, centres: Matrix, threshold: float, workers: Workers) -> tuple[Rows, Rows, Rows]:
    """Home cell of each row; and the rows and cells of all visits to others."""
    # Rounding may only make two centres seem further apart: that adds guests, and loses none.
    apart = np.sqrt(np.maximum(0, 2 - 2 * centres @ centres.T) + TOLERANCE)
    reach = np.float32(np.sqrt(max(0.0, 2 - 2 * (threshold - TOLERANCE))) / 2) * apart + ROUNDING
    parts = ((part,) for part in blocks(len(embeddings), len(centres)))
    found = workers.map(_visits_of_block, (embeddings, centres, reach), parts)
    home, row, cell = (np.concatenate(part) for part in zip(*found, strict=True))
    return home, row, cell


def _visits_of_block(embeddings: Matrix, centres: Matrix, reach: Matrix, part: slice) -> tuple[Rows, Rows, Rows]:
    near = embeddings[part] @ centres.T
    own = near.argmax(axis=1)
    # near.max - near is |home - centre| times the distance to the boundary between the two cells.
    near += reach[own]
    best = near[np.arange(len(own)), own] - reach[own, own]
    near[np.arange(len(own)), own] = -np.inf
    row, cell = np.nonzero(near >= best[:, None])
    return own.astype(np.int32), (row + part.start).astype(np.int32), cell.astype(np.int32)


def _project(embeddings: Matrix) -> Matrix:
    """[rows, 32] whose dot products bound the cosines from above: a projection, and the norm of the rest."""
    if embeddings.shape[1] <= PROJECTED + 1:
        return embeddings
    sample = embeddings[:: max(1, len(embeddings) // SAMPLE)]
    axes = np.random.default_rng(0).standard_normal((embeddings.shape[1], PROJECTED), dtype=np.float32)
    for _ in range(2):  # subspace iteration; all eigenvectors cost more than the search in 2,000 rows
        axes, _ = np.linalg.qr(sample.T @ (sample @ axes))
    bound = np.empty((len(embeddings), PROJECTED + 1), np.float32)
    np.matmul(embeddings, axes, out=bound[:, :PROJECTED])
    kept = np.einsum("ij,ij->i", bound[:, :PROJECTED], bound[:, :PROJECTED])
    bound[:, PROJECTED] = np.sqrt(np.maximum(0, 1 - kept))
    return bound


def _candidates(bound: Matrix, homes: Rows, guests: Rows, threshold: float) -> Iterator[tuple[Rows, Rows]]:
    """Pairs whose bound reaches the threshold: each home with the homes after it, and with the guests."""
    members = np.concatenate([homes, guests])
    columns = np.ascontiguousarray(bound[members].T)
    for part in blocks(len(homes), len(members)):
        rest = members[part.start :]
        reached = bound[homes[part]] @ columns[:, part.start :] >= threshold - ROUNDING
        left, right = np.divmod(np.flatnonzero(reached), len(rest))
        once = left < right
        left, right = rest[left[once]], rest[right[once]]
        yield np.minimum(left, right), np.maximum(left, right)


def _confirm(embeddings: Matrix, first: Rows, second: Rows, threshold: float) -> Keyed:
    """Keys and cosines of those that reach the threshold; one pair's cosine depends on nothing but the pair."""
    keys, cosines = [np.zeros(0, np.int64)], [np.zeros(0)]
    for start in range(0, len(first), CONFIRMED):
        left, right = first[start : start + CONFIRMED], second[start : start + CONFIRMED]
        one, other = embeddings[left], embeddings[right]
        cosine = (one * other).sum(axis=1).astype(np.float64)  # pairwise sums: within 1e-6, mostly 1e-7
        close = np.abs(cosine - threshold) < ROUNDING  # few; float64 decides
        cosine[close] = (one[close].astype(np.float64) * other[close]).sum(axis=1)
        reached = cosine >= threshold - TOLERANCE
        keys.append((right.astype(np.int64) * len(embeddings) + left)[reached])
        cosines.append(cosine[reached])
    return np.concatenate(keys), np.concatenate(cosines)
