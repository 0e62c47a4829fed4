"""Fitting the linear models: logistic regression by scikit-learn, exported to plain arrays.

What this file does not know: what the features mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import csr_matrix, diags_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ultracore.distillation.students.compact.logistic import Logistic
from ultracore.distillation.students.compact.ranker import CLIP
from ultracore.distillation.students.compact.sparse import Linear, Vector, stack

__all__ = [
    "choose_strength",
    "fit_binary",
    "fit_binary_of",
    "fit_logistic",
    "fit_multilabel",
    "fit_softmax",
    "matrix_of",
]

GATE_C = 0.1
"""Inverse strength of the gate's L2 penalty; on tau2 telecom .01 covered less. No other value or set was compared."""

STRENGTHS = (0.3, 3.0)
"""Inverse strengths of the L2 penalty of the words: .3 suits tau2 telecom and tau-bench airline best, 3 Banking77."""

UNHEARD = 1e-4
"""The probability that a class gets which was never learned."""

LEAST_DEVIATION = 1e-6

Doubles = NDArray[np.float64]

ITERATIONS = 60
"""Of L-BFGS; bounds the time of a fit. Whether more would agree better was not measured."""

FEW_ROWS = 1000
"""With fewer rows (and more columns) products of rows are cheaper than sparse columns: eight classifiers of SNIPS on
310 or 340 rows took a quarter of the time, and their held-out log loss differed by .0004 at most; 2,250 rows took
longer, and so did eleven questions of yes or no on 600."""

SAME_WAY = 5
"""Decimals to which columns of length 1 must be equal to be taken for one: rows are single precision."""

RIDGE, TINY = 1e-6, 1e-9
"""Added to the products of rows, by their mean square, so that equal rows have a root."""


def matrix_of(rows: Sequence[Vector], width: int) -> csr_matrix:
    """Sparse rows as a CSR matrix of the given width; columns beyond it are dropped."""
    value, index, pointer = stack(rows)
    inside = index < width
    kept = np.concatenate([[0], np.cumsum(inside)])[pointer]
    return csr_matrix((value[inside], index[inside], kept), shape=(len(rows), width))


def fit_softmax(
    rows: Sequence[Vector], width: int, labels: Sequence[str], weights: NDArray[np.float64], *, c: float
) -> Linear:
    """Multinomial logistic regression.

    Args:
        rows: Sparse features.
        width: Number of leading columns to use.
        labels: The class of each row.
        weights: [rows] importance.
        c: Inverse strength of the L2 penalty.
    """
    classes = sorted(set(labels))
    if len(classes) < 2:
        return Linear(classes, np.zeros((width, len(classes)), np.float32), np.zeros(len(classes), np.float32))
    matrix = matrix_of(rows, width)
    active = np.unique(matrix.indices)  # the penalty leaves every other weight at zero
    joined = _joined(matrix[:, active])
    found, intercept, names = _fit(joined.matrix, np.array(labels), weights, c)
    coefficients = np.zeros((width, len(found)))
    coefficients[active] = found.T[joined.group] * joined.share[:, None]
    if len(classes) == 2:  # scikit-learn keeps one column for two classes
        coefficients = np.hstack([np.zeros_like(coefficients), coefficients])
        intercept = np.array([0.0, intercept[0]])
    return Linear([str(name) for name in names], coefficients.astype(np.float32), intercept.astype(np.float32))


def choose_strength(
    rows: Sequence[Vector],
    width: int,
    labels: Sequence[str],
    weights: NDArray[np.float64],
    held: NDArray[np.bool_],
) -> float:
    """The inverse strength, of `STRENGTHS`, whose fit without the held rows says most (log loss) of these.

    Where there are few classes and much talk the penalty must be strong, where there are a hundred tools weak.
    """
    kept = np.flatnonzero(~held).tolist()
    if not held.any() or not kept:
        return STRENGTHS[0]
    learned, known = [rows[n] for n in kept], [labels[n] for n in kept]
    losses = {c: _loss(fit_softmax(learned, width, known, weights[kept], c=c), rows, labels, held) for c in STRENGTHS}
    return min(losses, key=lambda c: losses[c])


def _loss(model: Linear, rows: Sequence[Vector], labels: Sequence[str], held: NDArray[np.bool_]) -> float:
    asked = np.flatnonzero(held).tolist()
    return float(-np.mean([np.log(model.softmax(rows[n]).get(labels[n], 0.0) + UNHEARD) for n in asked]))


def fit_logistic(rows: NDArray[np.float32], labels: NDArray[np.float32], weights: NDArray[np.float32]) -> Logistic:
    """Logistic regression on dense rows, standardised here.

    Args:
        rows: [rows, features].
        labels: [rows] 0 or 1.
        weights: [rows] importance.
    """
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(deviation > LEAST_DEVIATION, 1.0 / np.maximum(deviation, LEAST_DEVIATION), 0.0)
    right = float((labels * weights).sum() + 0.5) / float(weights.sum() + 1.0)
    coefficients, bias = np.zeros(rows.shape[1]), float(np.log(right / (1.0 - right)))
    if len(set(labels[weights > 0].tolist())) == 2:
        x = np.clip((rows - mean) * scale, -CLIP, CLIP)
        model = LogisticRegression(C=GATE_C, max_iter=300).fit(x, labels > 0, sample_weight=weights)
        coefficients, bias = model.coef_[0], float(model.intercept_[0])
    arrays = {"mean": mean, "scale": scale, "weights": coefficients, "bias": np.array([bias])}
    return Logistic({name: np.asarray(array, np.float32) for name, array in arrays.items()})


def fit_multilabel(rows: Sequence[Vector], width: int, labels: Sequence[frozenset[str]], *, c: float) -> Linear:
    """One logistic regression for each class that is sometimes, not always, among the labels of a row."""
    classes = sorted(frozenset().union(*labels)) if labels else []
    matrix = matrix_of(rows, width)
    weights = np.zeros((width, len(classes)), np.float32)
    bias = np.zeros(len(classes), np.float32)
    for column, name in enumerate(classes):
        truth = np.array([name in row for row in labels])
        if truth.all():
            bias[column] = 6.0
            continue
        found, intercept, _ = _regress(matrix, truth, np.ones(len(truth)), c)
        weights[:, column], bias[column] = found[0], intercept[0]
    return Linear(classes, weights, bias)


def fit_binary(
    rows: Sequence[Vector], width: int, labels: NDArray[np.bool_], weights: NDArray[np.float64], *, c: float
) -> tuple[NDArray[np.float32], float]:
    """Logistic regression of one yes or no: its weights, [width] float32, and its bias."""
    return fit_binary_of(matrix_of(rows, width), labels, weights, c=c)


def fit_binary_of(
    matrix: csr_matrix, labels: NDArray[np.bool_], weights: NDArray[np.float64], *, c: float
) -> tuple[NDArray[np.float32], float]:
    """As `fit_binary`, of rows that are a matrix already."""
    found = np.zeros(matrix.shape[1], np.float32)
    share = float((labels.sum() + 0.5) / (len(labels) + 1.0))
    if labels.all() or not labels.any():
        return found, float(np.log(share / (1.0 - share)))
    active = np.unique(matrix.indices)
    coefficients, intercept, _ = _regress(matrix[:, active], labels, weights, c)
    found[active] = coefficients[0]
    return found, float(intercept[0])


class _Joined(NamedTuple):
    """A matrix with one column for all those of one direction; `group` and `share` [columns] lead back."""

    matrix: csr_matrix
    group: NDArray[np.intp]
    share: Doubles


def _joined(matrix: csr_matrix) -> _Joined:
    """Columns that differ by a factor at most, as one that is as long as all together.

    The penalty divides a weight among them as their lengths are, so that nothing is lost, and L-BFGS takes the same
    steps with fewer numbers: half as many where texts are long and their pieces come together.
    """
    columns = matrix.tocsc().astype(np.float64)
    columns.eliminate_zeros()
    columns.sort_indices()
    bounds, owner = columns.indptr.tolist(), np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
    length = np.sqrt(np.bincount(owner, columns.data**2, columns.shape[1]))
    way = np.round(columns.data / length[owner], SAME_WAY)
    groups: dict[tuple[bytes, bytes], int] = {}
    group = np.array(
        [
            groups.setdefault((columns.indices[a:b].tobytes(), way[a:b].tobytes()), len(groups))
            for a, b in pairwise(bounds)
        ],
        np.intp,
    )
    total = np.sqrt(np.bincount(group, length**2, len(groups)))
    first = np.unique(group, return_index=True)[1]
    scale = total / np.where(length[first] > 0.0, length[first], 1.0)
    share = length / np.where(total > 0.0, total, 1.0)[group]
    return _Joined(csr_matrix(columns[:, first] @ diags_array(scale)), group, share)


class _Fitted(NamedTuple):
    """Coefficients [classes, columns] (one row for two classes), intercepts [classes], and the classes."""

    coefficients: Doubles
    intercepts: Doubles
    classes: NDArray[Any]


def _fit(matrix: csr_matrix, labels: NDArray[Any], weights: Doubles, c: float) -> _Fitted:
    if matrix.shape[0] < min(matrix.shape[1], FEW_ROWS):
        return _fit_few(matrix, labels, weights, c)
    return _regress(matrix, labels, weights, c)


def _fit_few(matrix: csr_matrix, labels: NDArray[Any], weights: Doubles, c: float) -> _Fitted:
    """The same in coordinates of the rows' own span, outside of which the penalty leaves nothing.

    With X X' = L L' the coefficients U for the rows L are as long as X' inv(L') U, those for the rows X.
    """
    rows = matrix.astype(np.float64)
    products = (rows @ rows.T).toarray()
    products[np.diag_indices(len(products))] += RIDGE * np.trace(products) / len(products) + TINY
    low = cholesky(products, lower=True)
    found = _regress(low, labels, weights, c)
    spread = solve_triangular(low, found.coefficients.T, lower=True, trans="T")
    return found._replace(coefficients=(rows.T @ spread).T)


def _regress(matrix: csr_matrix | Doubles, labels: NDArray[Any], weights: Doubles, c: float) -> _Fitted:
    model = LogisticRegression(C=c, max_iter=ITERATIONS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is wanted, see ITERATIONS
        model.fit(matrix, labels, sample_weight=weights)
    return _Fitted(model.coef_, model.intercept_, model.classes_)
