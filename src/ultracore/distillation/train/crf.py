"""Maximum likelihood for linear-chain CRFs: forward-backward over all sentences at once, then L-BFGS.

Sentences are packed time-major, longest first: the tokens at one position are one block, and the
sentences that go on are its head, so that nothing is padded or masked. What this file does not know:
words and tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from ultracore.distillation.students.compact.crf import States

__all__ = ["CrfWeights", "Packing", "fit_crf", "pack"]

Doubles = NDArray[np.float64]

HISTORY = 8
"""Gradients that L-BFGS remembers; more cost memory and save no step."""


TOLERANCE = 1e-5
"""Relative progress at which to stop."""


class Packing(NamedTuple):
    """Sentences cut into blocks by position.

    Attributes:
        order: The sentences, longest first.
        blocks: For each position, the rows of the tokens there.
        heads: For each position, the rows at that position of the sentences that go on.
    """

    order: list[int]
    blocks: list[slice]
    heads: list[slice]


class CrfWeights(NamedTuple):
    """A fitted CRF.

    Attributes:
        weights: [features, labels] float32.
        transitions: [states, states] float32.
        first: [states] float32.
    """

    weights: NDArray[np.float32]
    transitions: NDArray[np.float32]
    first: NDArray[np.float32]


def pack(lengths: Sequence[int]) -> Packing:
    """Lay out sentences of the given lengths, each of at least one token."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    sizes = [sum(length > t for length in lengths) for t in range(max(lengths))]
    begin = np.cumsum([0, *sizes]).tolist()
    blocks = [slice(b, b + size) for b, size in zip(begin, sizes, strict=False)]
    heads = [slice(b, b + size) for b, size in zip(begin, [*sizes[1:], 0], strict=False)]
    return Packing(order, blocks, heads)


def fit_crf(
    features: csr_matrix, path: NDArray[np.intp], packing: Packing, states: States, *, l2: float, iterations: int
) -> CrfWeights:
    """Fit by penalised maximum likelihood.

    Args:
        features: [tokens, features], in packed order.
        path: [tokens] the true state of each.
        packing: Where the sentences are.
        states: What the states emit, and which may follow one another.
        l2: Strength of the penalty on squared weights.
        iterations: Of L-BFGS, at most.
    """
    likelihood = _Likelihood(features, path, packing, states, l2)
    options = {"maxiter": iterations, "maxcor": HISTORY, "ftol": TOLERANCE}
    start = np.zeros(likelihood.size)
    found = minimize(likelihood, start, jac=True, method="L-BFGS-B", options=options)
    weights, transitions, first = (part.astype(np.float32) for part in likelihood.parts(found.x))
    return CrfWeights(weights, transitions, first)


class _Likelihood:
    """The penalised negative log likelihood and its gradient, as a function of all weights in a row."""

    def __init__(
        self, features: csr_matrix, path: NDArray[np.intp], packing: Packing, states: States, l2: float
    ) -> None:
        self.features, self.columns = features, features.T.tocsr()
        self.packing, self.states, self.l2 = packing, states, l2
        n = len(states.label)
        self.emits = np.eye(int(states.label.max()) + 1)[states.label]
        self.shapes = [(features.shape[1], self.emits.shape[1]), (n, n), (n,)]
        self.cuts = np.cumsum([np.prod(shape) for shape in self.shapes])
        self.size = int(self.cuts[-1])
        self.observed = self._observe(path)

    def parts(self, theta: Doubles) -> list[Doubles]:
        """Weights, transitions and first weights as views of the row."""
        pieces = np.split(theta, self.cuts[:-1])
        return [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def __call__(self, theta: Doubles) -> tuple[float, Doubles]:
        weights, transitions, first = self.parts(theta)
        scores = (self.features @ weights)[:, self.states.label]
        log_total, expected = self._expect(scores, transitions, first)
        loss = log_total - self.observed @ theta + 0.5 * self.l2 * (theta @ theta)
        return float(loss), expected - self.observed + self.l2 * theta

    def _observe(self, path: NDArray[np.intp]) -> Doubles:
        """How often each weight is used by the true labelling."""
        pairs = np.zeros(self.shapes[1])
        for head, block in zip(self.packing.heads, self.packing.blocks[1:], strict=False):
            np.add.at(pairs, (path[head], path[block]), 1.0)
        first = np.bincount(path[self.packing.blocks[0]], minlength=len(pairs)).astype(np.float64)
        return self._flat(self.emits[path], pairs, first)

    def _expect(self, scores: Doubles, transitions: Doubles, first: Doubles) -> tuple[float, Doubles]:
        """Log partition function, and how often each weight is used by the model's labellings."""
        factor = np.exp(transitions) * self.states.allowed
        top = scores.max(axis=1, keepdims=True)
        emit = np.exp(scores - top)
        ahead, scale = self._forward(emit, factor, np.exp(first) * self.states.first)
        emit /= scale
        behind = np.ones_like(emit)
        pairs = np.zeros_like(factor)
        for head, block in reversed(list(zip(self.packing.heads, self.packing.blocks[1:], strict=False))):
            message = emit[block] * behind[block]
            pairs += ahead[head].T @ message
            behind[head] = message @ factor.T
        ahead *= behind
        starts = ahead[self.packing.blocks[0]].sum(axis=0)
        return float(np.log(scale).sum() + top.sum()), self._flat(ahead @ self.emits, pairs * factor, starts)

    def _forward(self, emit: Doubles, factor: Doubles, first: Doubles) -> tuple[Doubles, Doubles]:
        """Forward messages scaled to sum to one, and the scales."""
        ahead, scale = np.empty_like(emit), np.empty((len(emit), 1))
        before = np.broadcast_to(first, (len(emit[self.packing.blocks[0]]), len(first)))
        for head, block in zip(self.packing.heads, self.packing.blocks, strict=True):
            now = before * emit[block]
            scale[block] = now.sum(axis=1, keepdims=True)
            ahead[block] = now / scale[block]
            before = ahead[head] @ factor
        return ahead, scale

    def _flat(self, labels: Doubles, pairs: Doubles, first: Doubles) -> Doubles:
        return np.concatenate([(self.columns @ labels).ravel(), pairs.ravel(), first])
