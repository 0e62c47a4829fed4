"""Multinomial logistic regression of sparse rows, found in their span: outside of it the penalty leaves nothing.

The weights are X' A (the representer theorem; Schoelkopf et al. 2001), so that L-BFGS moves a number for each row and
class, not for each column and class, which are ten times as many where texts are long. Each vector is kept with its
image under X X', which measures the weights, so that an iteration needs one product of that size. What this file does
not know: what rows and classes mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ultracore.distillation.train.lbfgs import minimise

__all__ = ["Softmax", "fit_softmax_of"]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

ITERATIONS = 60
"""Of L-BFGS; bounds the time of a fit. Whether more would agree better was not measured."""

TOLERANCE = 1e-4
"""Relative progress at which to stop. The words' models of telecom, airline and SGD, two folds each, said as much of
held-out tasks as scikit-learn's: log loss 1.422 (1.423), 1.087 (1.085) and .606 (.611)."""

MOST_ROWS = 5000
"""Whose products with each other are kept, 100 MB; of more rows they are worked out anew each time."""

DENSE = 30
"""Dense multiplications that take as long as a sparse one there and back, about."""


class Softmax(NamedTuple):
    """Coefficients [columns, classes] and intercepts [classes]."""

    coefficients: Floats
    intercepts: Floats


def fit_softmax_of(matrix: csr_matrix, classes: NDArray[np.intp], weights: Doubles, *, c: float) -> Softmax:
    """Fit by penalised maximum likelihood; intercepts are free.

    Args:
        matrix: [rows, columns].
        classes: [rows] number of the class of each, from 0; each number is the class of some row.
        weights: [rows] importance.
        c: Inverse strength of the L2 penalty.
    """
    rows = matrix.shape[0]
    loss = _Loss(_products(matrix), classes, weights, c)
    found = minimise(loss, np.zeros(loss.shape, np.float32), iterations=ITERATIONS, tolerance=TOLERANCE, inner=_inner)
    return Softmax(np.asarray(matrix.T @ found[0, :rows]), found[0, rows])


def _inner(left: Floats, right: Floats) -> float:
    return float(np.vdot(left[0], right[1]))


class _Loss:
    """Negative log likelihood with its penalty, and its gradient.

    Points and gradients are [2, rows + 1, classes]: shares of the rows in the weights, below them the intercepts; then
    the image of that, in which the shares are multiplied with X X'.
    """

    def __init__(
        self, products: Callable[[Floats], Floats], classes: NDArray[np.intp], weights: Doubles, c: float
    ) -> None:
        self.products, self.weights, self.c = products, weights, c
        self.rows = np.arange(len(classes))
        self.classes = classes
        self.shape = 2, len(classes) + 1, int(classes.max()) + 1

    def __call__(self, point: Floats) -> tuple[float, Floats]:
        (shares, image), gradient = point[:, :-1], np.empty(self.shape, np.float32)
        scores = image + point[0, -1]
        scores -= scores.max(axis=1, keepdims=True)
        right = scores[self.rows, self.classes]
        errors = np.exp(scores, out=scores)
        total = errors.sum(axis=1, keepdims=True)
        errors /= total
        errors[self.rows, self.classes] -= 1.0
        errors *= self.weights.astype(np.float32)[:, None]
        loss = self.weights @ (np.log(total[:, 0]) - right) + np.vdot(shares, image) / (2.0 * self.c)
        gradient[0, :-1] = errors + shares / self.c
        gradient[1, :-1] = self.products(errors) + image / self.c
        gradient[:, -1] = errors.sum(axis=0)
        return float(loss), gradient


def _products(matrix: csr_matrix) -> Callable[[Floats], Floats]:
    """Multiplies with X X', [rows, rows]."""
    rows, columns = matrix.shape[0], matrix.T.tocsr()
    if rows > MOST_ROWS or rows * rows > DENSE * matrix.nnz:
        return lambda shares: np.asarray(matrix @ (columns @ shares))
    products = (matrix @ columns).toarray()
    return lambda shares: np.asarray(products @ shares)
