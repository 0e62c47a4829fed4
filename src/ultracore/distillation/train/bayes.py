"""Naive Bayes of what was said: how much likelier each word is before one class than before any.

Beside the logistic regression of the same words it is another opinion, not a better one: it counts where that one
discriminates, and needs fewer rows of a class (Ng & Jordan 2002). With both, the ranker of actions, out of fold on
3,000 training rows of Banking77, chose 84.3 instead of 83.4 % of the tools; on those of MetaTool, BFCL, bank, airline
and telecom-solo as many as before (-.1 to +.3), with less log loss on each. What this file does not know: what the
features mean, and who weighs the opinions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ultracore.distillation.students.compact.sparse import Linear, Vector
from ultracore.distillation.train.linear import matrix_of

__all__ = ["fit_bayes"]


def fit_bayes(
    rows: Sequence[Vector], columns: tuple[int, int], labels: Sequence[str], weights: NDArray[np.float64]
) -> Linear:
    """Log odds of the presence of features, smoothed by as many of them as one row has (Zhai & Lafferty 2004, eq. 6).

    Args:
        rows: Sparse features, at least one row; only whether they are there counts.
        columns: The first column that counts, and the first that no longer does.
        labels: The class of each row.
        weights: [rows] importance.
    """
    first, width = columns
    classes, numbers = np.unique(np.array(labels, object), return_inverse=True)
    of_class = csr_matrix((weights, (numbers, np.arange(len(rows)))))
    there = matrix_of(rows, width)
    there.data[:] = there.indices >= first
    found = (of_class @ there).toarray()
    everywhere, mean = found.sum(axis=0), float(found.sum() / weights.sum())
    odds = np.zeros((width, len(classes)), np.float32)
    known = everywhere > 0.0
    share = everywhere[known] / max(everywhere.sum(), 1.0)
    smoothed = (found[:, known] + mean * share) / (found.sum(axis=1, keepdims=True) + mean)
    odds[known] = np.log(smoothed / share).T
    prior = np.log(np.bincount(numbers, weights) / weights.sum())
    return Linear([str(name) for name in classes], odds, prior.astype(np.float32))
