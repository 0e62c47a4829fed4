"""Growing a `Forest`: scikit-learn's extremely randomised trees, exported to plain arrays.

What this file does not know: what the features mean, and whether trees help (`train.evidence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.ensemble import ExtraTreesClassifier

from ultracore.distillation.students.compact.forest import Forest
from ultracore.distillation.students.compact.sparse import Linear, Vector
from ultracore.distillation.train.linear import matrix_of

__all__ = ["fit_forest"]

TREES = 30
FEATURES = 800
"""Columns that trees may ask about; all of them (3,000 to 9,000) chose tools no better and took ten times as long."""
TRIED = 0.2
"""Share of the columns that is tried at each node."""
LEAST_ROWS = 3
"""In which a column must differ from zero."""


def fit_forest(
    rows: Sequence[Vector], labels: Sequence[str], weights: NDArray[np.float64], linear: Linear, seed: int
) -> Forest | None:
    """Grow trees that tell the labels apart; `None` where there is nothing to ask about.

    Args:
        rows: Sparse features.
        labels: The class of each row.
        weights: [rows] importance.
        linear: Fitted on the same rows: the columns that it weighs most are the ones asked about.
        seed: Of the trees.
    """
    matrix = matrix_of(rows, len(linear.weights))
    columns = _telling(matrix, linear)
    if not len(columns):
        return None
    dense = matrix[:, columns].toarray().astype(np.float32)
    trees = ExtraTreesClassifier(TREES, max_features=TRIED, random_state=seed)
    trees.fit(dense, np.array(labels), sample_weight=weights)
    return Forest([str(name) for name in trees.classes_], {"columns": columns, **_arrays(trees)})


def _telling(matrix: csr_matrix, linear: Linear) -> NDArray[np.int64]:
    """The columns whose weights move the scores most: length of the weights times the column's deviation."""
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    square = np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel()
    moved = np.sqrt((linear.weights.astype(np.float64) ** 2).sum(axis=1) * np.maximum(square - mean**2, 0.0))
    moved[matrix.getnnz(axis=0) < LEAST_ROWS] = 0.0
    order = np.argsort(-moved, kind="stable")[:FEATURES]
    return np.sort(order[moved[order] > 0.0])


def _arrays(trees: ExtraTreesClassifier) -> dict[str, NDArray[Any]]:
    """All trees one after another; their nodes are numbered on."""
    grown = [estimator.tree_ for estimator in trees.estimators_]
    roots = np.concatenate([[0], np.cumsum([tree.node_count for tree in grown])])
    is_leaf = np.concatenate([tree.children_left < 0 for tree in grown])
    share = np.concatenate([tree.value[:, 0, :] for tree in grown]) * is_leaf[:, None]
    node, voted = np.nonzero(share)
    return {
        "roots": roots[:-1],
        "feature": np.where(is_leaf, -1, np.concatenate([tree.feature for tree in grown])),
        "threshold": np.concatenate([tree.threshold for tree in grown]),
        "left": np.concatenate([tree.children_left + root for tree, root in zip(grown, roots, strict=False)]),
        "right": np.concatenate([tree.children_right + root for tree, root in zip(grown, roots, strict=False)]),
        "voters": np.concatenate([[0], np.cumsum((share > 0).sum(axis=1))]),
        "votes_class": voted,
        "votes_share": share[node, voted],
    }
