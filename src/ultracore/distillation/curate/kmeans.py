"""Spherical k-means in matrix products: the cells of `SemDeDup` and the clusters of `CaR`.

After Dhillon and Modha (2001): the cosine decides, and centres have length 1. It learns from a sample
of so many rows a centre (more change the cost, hardly the result) and then looks at each row once, in
blocks of bounded size. What this file does not know: what the rows stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["BLOCK", "Clusters", "blocks", "cluster", "fit_centres", "nearest_centres"]

Matrix: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.intp]

BLOCK = 2_000_000  # similarities at a time: 8 MB stay near the cache; 64 MB cost a third more time
SEEDED = 64  # so many centres are spread by k-means++; beyond, its passes cost more than they save
LEAST = 1e-6  # length of a centre without a direction


class Clusters(NamedTuple):
    """Rows by cluster.

    Attributes:
        centres: [clusters, dimensions], each of length 1.
        label: [rows] the cluster of each row; every cluster from 0 on has a row.
        cosine: [rows] cosine of each row with the centre of its cluster.
    """

    centres: Matrix
    label: Places
    cosine: NDArray[np.float32]


def cluster(
    embeddings: Matrix, clusters: int, *, seed: int = 0, rounds: int = 20, rows_per_centre: int = 256
) -> Clusters:
    """Cluster rows; fewer clusters come out where there are not so many distinct rows.

    Args:
        embeddings: [rows, dimensions] with rows of length 1, at least one.
        clusters: How many to look for, at least 1.
        seed: Of the sample and of the first centres.
        rounds: Most passes over the sample.
        rows_per_centre: Size of the sample.

    Example:
        >>> import numpy as np
        >>> label = cluster(np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]], 3).label
        >>> bool(label[0] == label[1]), bool(label[2] == label[3]), len(set(label.tolist()))
        (True, True, 3)
    """
    centres = fit_centres(embeddings, clusters, seed=seed, rounds=rounds, rows_per_centre=rows_per_centre)
    label, cosine = nearest_centres(embeddings, centres)
    used, label = np.unique(label, return_inverse=True)
    return Clusters(centres[used], label, cosine)


def fit_centres(embeddings: Matrix, clusters: int, *, seed: int = 0, rounds: int, rows_per_centre: int) -> Matrix:
    """[at most clusters, dimensions] of length 1, from a sample of the rows."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(embeddings))[: rows_per_centre * clusters]
    sample = embeddings[np.sort(order)]
    centres = _first(sample, min(clusters, len(sample)), random)
    before = None
    for _ in range(rounds):
        label, cosine = nearest_centres(sample, centres)
        if before is not None and np.array_equal(label, before):
            break
        before = label
        centres = _centres(sample, label, cosine, len(centres))
    return centres


def nearest_centres(embeddings: Matrix, centres: Matrix) -> tuple[Places, NDArray[np.float32]]:
    """The nearest centre of each row, the first of equally near ones, and the cosine with it."""
    label, cosine = np.zeros(len(embeddings), np.intp), np.zeros(len(embeddings), np.float32)
    for part in blocks(len(embeddings), len(centres)):
        near = embeddings[part] @ centres.T
        label[part] = near.argmax(axis=1)
        cosine[part] = near[np.arange(len(near)), label[part]]
    return label, cosine


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows, so that rows x columns numbers fit into a block."""
    step = max(1, BLOCK // max(1, columns))
    return (slice(start, start + step) for start in range(0, rows, step))


def _first(sample: Matrix, clusters: int, random: np.random.Generator) -> Matrix:
    if clusters > SEEDED:
        return sample[random.permutation(len(sample))[:clusters]]
    chosen = [int(random.integers(len(sample)))]
    apart = 1 - sample @ sample[chosen[0]]
    while len(chosen) < clusters:
        chance = np.maximum(apart, 0).astype(np.float64)
        if chance.max() < LEAST:  # no further distinct row
            break
        chosen.append(int(random.choice(len(sample), p=chance / chance.sum())))
        apart = np.minimum(apart, 1 - sample @ sample[chosen[-1]])
    return sample[chosen]


def _centres(sample: Matrix, label: Places, cosine: NDArray[np.float32], clusters: int) -> Matrix:
    """Mean directions; an empty cluster starts again at one of the rows that are worst served."""
    ones = np.ones(len(sample), np.float32)
    member = sparse.csr_matrix((ones, (label, np.arange(len(sample)))), shape=(clusters, len(sample)))
    sums: Matrix = np.asarray(member @ sample)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    empty = np.flatnonzero(length[:, 0] < LEAST)
    if len(empty):
        sums[empty] = sample[np.argpartition(cosine, len(empty) - 1)[: len(empty)]]
        length[empty] = 1
    centres: Matrix = sums / length
    return centres
