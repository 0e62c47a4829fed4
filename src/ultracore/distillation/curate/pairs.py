"""Every pair of rows at or above a cosine similarity: none is missed, none is approximate.

Rows are grouped into cells by k-means. A row also visits, as a guest, each cell whose boundary is
at most half the search radius away; of two rows within the radius in different cells at least one
visits the other's, so that looking inside the cells finds every pair. Within a cell a 64-number
upper bound of the cosine comes first (Cauchy-Schwarz on what a projection leaves out), and only
what may reach the threshold is compared in full. Plain SemDeDup (arXiv 2303.09540) looks inside
the home cells alone and lost 11-16 % of the pairs where decisions cluster. What this file does not
know: what the rows stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.errors import DataError

__all__ = ["TOLERANCE", "Pairs", "find_pairs"]

Matrix: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.intp]

TOLERANCE = 1e-6
"""A cosine of float32 rows is known no better than this; a pair so near the threshold counts as at it."""

ROUNDING = 1e-5  # of float32 matrix products: a slack for what only pre-selects
ONE_CELL = 20_000  # below this, cells cost more than they save
PROJECTED = 63
BLOCK = 16_000_000  # numbers in one block of similarities: 64 MB


class Pairs(NamedTuple):
    """Pairs of rows, sorted by `second`, then by `first`.

    Attributes:
        first: [pairs] the earlier row.
        second: [pairs] the later row.
        similarity: [pairs] their cosine.
    """

    first: Places
    second: Places
    similarity: NDArray[np.float64]

    def where(self, mask: NDArray[np.bool_]) -> Pairs:
        """Those pairs for which the mask is true."""
        return Pairs(self.first[mask], self.second[mask], self.similarity[mask])


def find_pairs(embeddings: Matrix, threshold: float, *, cells: int | None = None, limit: int = 50_000_000) -> Pairs:
    """Find every pair with cosine >= `threshold` (up to `TOLERANCE`).

    Args:
        embeddings: [rows, dimensions] with rows of length 1.
        threshold: Cosine in (0, 1].
        cells: How many cells; by default 1 below 20,000 rows, else the square root of their number.
            The result does not depend on it.
        limit: Most pairs to hold in memory (about 50 bytes each).

    Raises:
        DataError: There are more pairs than `limit`.
    """
    rows = len(embeddings)
    cells = cells or (1 if rows < ONE_CELL else round(rows**0.5))
    keys = np.zeros(0, np.int64)
    similarity = np.zeros(0)
    found, count = [(keys, similarity)], 0
    bound = _project(embeddings)
    for homes, members in _cells(embeddings, threshold, min(cells, max(rows, 1))):
        for candidates in _candidates(bound, homes, members, threshold):
            found.append(_confirm(embeddings, *candidates, threshold))
            count += len(found[-1][0])
            if count > 2 * limit:  # a pair may be met twice
                raise DataError(
                    f"more than {limit:,} pairs of rows are at least {threshold} similar; raise the threshold, "
                    "or deduplicate the rows in smaller parts first"
                )
    keys, where = np.unique(np.concatenate([key for key, _ in found]), return_index=True)
    similarity = np.concatenate([values for _, values in found])[where]
    return Pairs(keys % max(rows, 1), keys // max(rows, 1), similarity)


def _cells(embeddings: Matrix, threshold: float, cells: int) -> Iterator[tuple[Places, Places]]:
    """(rows at home, rows at home and guests) of each cell."""
    if cells == 1:
        rows = np.arange(len(embeddings))
        yield rows, rows
        return
    home, row, cell = _visits(embeddings, _centres(embeddings, cells), threshold)
    yield from zip(_by_cell(np.arange(len(home)), home, cells), _by_cell(row, cell, cells), strict=True)


def _by_cell(rows: Places, cell: Places, cells: int) -> list[Places]:
    ends = np.cumsum(np.bincount(cell, minlength=cells))
    return np.split(rows[np.argsort(cell, kind="stable")], ends[:-1])


def _visits(embeddings: Matrix, centres: Matrix, threshold: float) -> tuple[Places, Places, Places]:
    """Home cell of each row; and the rows and cells of all visits, those at home included."""
    # Rounding may only make two centres seem further apart: that adds guests, and loses none.
    apart = np.sqrt(np.maximum(0, 2 - 2 * centres @ centres.T) + TOLERANCE)
    radius = np.sqrt(max(0.0, 2 - 2 * (threshold - TOLERANCE)))
    step = max(1, BLOCK // len(centres))
    homes, visits = [], []
    for start in range(0, len(embeddings), step):
        near = embeddings[start : start + step] @ centres.T
        own = near.argmax(axis=1)
        homes.append(own)
        # near.max - near is |home - centre| times the distance to the boundary between the two cells.
        row, cell = np.nonzero(near.max(axis=1, keepdims=True) - near <= radius / 2 * apart[own] + ROUNDING)
        visits.append((row + start, cell))
    rows, cells = (np.concatenate(part) for part in zip(*visits, strict=True))
    return np.concatenate(homes), rows, cells


def _centres(embeddings: Matrix, cells: int) -> Matrix:
    """Rough centres suffice: the guests make the search exact whatever they are."""
    from sklearn.cluster import MiniBatchKMeans

    sample = np.random.default_rng(0).permutation(len(embeddings))[: 128 * cells]
    means = MiniBatchKMeans(cells, init="random", n_init=1, max_iter=6, batch_size=8192, random_state=0)
    centres: Matrix = means.fit(embeddings[np.sort(sample)]).cluster_centers_
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-6)
    return centres


def _project(embeddings: Matrix) -> Matrix:
    """[rows, 64] whose dot products bound the cosines from above: a projection, and the norm of the rest."""
    if embeddings.shape[1] <= PROJECTED + 1:
        return embeddings
    sample = embeddings[:: max(1, len(embeddings) // 20_000)]
    _, vectors = np.linalg.eigh(sample.T @ sample)
    projected: Matrix = embeddings @ vectors[:, -PROJECTED:]
    rest = np.sqrt(np.maximum(0, 1 - (projected**2).sum(axis=1, keepdims=True)))
    return np.hstack([projected, rest])


def _candidates(bound: Matrix, homes: Places, members: Places, threshold: float) -> Iterator[tuple[Places, Places]]:
    step = max(1, BLOCK // max(1, len(members)))
    for start in range(0, len(homes), step):
        block = homes[start : start + step]
        left, right = np.nonzero(bound[block] @ bound[members].T >= threshold - ROUNDING)
        left, right = block[left], members[right]
        once = left != right
        yield np.minimum(left, right)[once], np.maximum(left, right)[once]


def _confirm(
    embeddings: Matrix, first: Places, second: Places, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Keys and cosines of those that reach the threshold; one pair's cosine depends on nothing but the pair."""
    keys = np.unique(second.astype(np.int64) * len(embeddings) + first)
    second, first = np.divmod(keys, len(embeddings))
    similarity = np.zeros(len(keys))
    for start in range(0, len(keys), 4096):
        part = slice(start, start + 4096)
        similarity[part] = (embeddings[first[part]].astype(np.float64) * embeddings[second[part]]).sum(axis=1)
    reached = similarity >= threshold - TOLERANCE
    return keys[reached], similarity[reached]
