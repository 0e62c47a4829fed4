"""Fitting the linear models: one of several classes by `softmax`, yes or no by scikit-learn, as plain arrays.

What this file does not know: what the features mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ultracore.distillation.students.compact.logistic import Logistic
from ultracore.distillation.students.compact.ranker import CLIP
from ultracore.distillation.students.compact.sparse import Linear, Vector, stack
from ultracore.distillation.train.softmax import fit_softmax_of

__all__ = [
    "Chosen",
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
"""Of a column that says anything at all."""
NOISE = 0.03
"""Standard deviation that each of the gate's features has besides: what rankers of other folds differ in, and the final
one again. Where rankers are all but certain of an argument, a logarithm of .006 or .004 told which fold a row was of;
in units of its own deviation (.0008) the final ranker's was so far out that a student surer than its folds became a
log odds less sure, and no call passed its threshold: with 14 seeds on 150 easy rows, 10 of 42 certificates
were refused (three levels), and 1 with this, or with .01 or .1."""

Doubles = NDArray[np.float64]

ITERATIONS = 60
"""Of L-BFGS; bounds the time of a fit. Whether more would agree better was not measured."""


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
    classes, numbers = np.unique(np.array(labels, object), return_inverse=True)
    weight, bias = np.zeros((width, len(classes)), np.float32), np.zeros(len(classes), np.float32)
    if len(classes) > 1:
        matrix = matrix_of(rows, width)
        active = np.unique(matrix.indices)  # the penalty leaves every other weight at zero
        # two columns share between them what one would carry alone
        found = fit_softmax_of(matrix[:, active], numbers, weights, c=c / 2.0 if len(classes) == 2 else c)
        weight[active], bias = found
    return Linear([str(name) for name in classes], weight, bias)


class Chosen(NamedTuple):
    """An inverse strength of the penalty, and the model that was fitted with it; `None` where nothing was compared."""

    c: float
    model: Linear | None


def choose_strength(
    rows: Sequence[Vector],
    width: int,
    labels: Sequence[str],
    weights: NDArray[np.float64],
    held: tuple[Sequence[Vector], Sequence[str]],
) -> Chosen:
    """The inverse strength, of `STRENGTHS`, whose fit says most (log loss) of the labels of held rows.

    Where there are few classes and much talk the penalty must be strong, where there are a hundred tools weak.
    """
    if not rows or not held[0]:
        return Chosen(STRENGTHS[0], None)
    models = {c: fit_softmax(rows, width, labels, weights, c=c) for c in STRENGTHS}
    best = min(models, key=lambda c: _loss(models[c], *held))
    return Chosen(best, models[best])


def _loss(model: Linear, rows: Sequence[Vector], labels: Sequence[str]) -> float:
    asked = zip(rows, labels, strict=True)
    return float(-np.mean([np.log(model.softmax(row).get(label, 0.0) + UNHEARD) for row, label in asked]))


def fit_logistic(rows: NDArray[np.float32], labels: NDArray[np.float32], weights: NDArray[np.float32]) -> Logistic:
    """Logistic regression on dense rows, standardised here.

    Args:
        rows: [rows, features].
        labels: [rows] 0 or 1.
        weights: [rows] importance.
    """
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(deviation > LEAST_DEVIATION, 1.0 / np.hypot(deviation, NOISE), 0.0)
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


class _Fitted(NamedTuple):
    """Coefficients [classes, columns] (one row for two classes), intercepts [classes], and the classes."""

    coefficients: Doubles
    intercepts: Doubles
    classes: NDArray[Any]


def _regress(matrix: csr_matrix, labels: NDArray[Any], weights: Doubles, c: float) -> _Fitted:
    model = LogisticRegression(C=c, max_iter=ITERATIONS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is wanted, see ITERATIONS
        model.fit(matrix, labels, sample_weight=weights)
    return _Fitted(model.coef_, model.intercept_, model.classes_)
