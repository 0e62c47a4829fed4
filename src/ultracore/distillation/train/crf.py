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
from scipy.sparse import csr_matrix

from ultracore.distillation.students.compact.crf import may_follow
from ultracore.distillation.train.lbfgs import minimise

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
        transitions: [labels + 1, labels] float32; the last row is for the first token.
    """

    weights: NDArray[np.float32]
    transitions: NDArray[np.float32]


def pack(lengths: Sequence[int]) -> Packing:
    """Lay out sentences of the given lengths, each of at least one token."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    sizes = [sum(length > t for length in lengths) for t in range(max(lengths))]
    begin = np.cumsum([0, *sizes]).tolist()
    blocks = [slice(b, b + size) for b, size in zip(begin, sizes, strict=False)]
    heads = [slice(b, b + size) for b, size in zip(begin, [*sizes[1:], 0], strict=False)]
    return Packing(order, blocks, heads)


def fit_crf(
    features: csr_matrix, path: NDArray[np.intp], packing: Packing, slots: int, *, l2: float, iterations: int
) -> CrfWeights:
    """Fit by penalised maximum likelihood.

    Args:
        features: [tokens, features], in packed order.
        path: [tokens] the true label of each, as `may_follow` numbers them.
        packing: Where the sentences are.
        slots: How many there are.
        l2: Strength of the penalty on squared weights.
        iterations: Of L-BFGS, at most.
    """
    likelihood = _Likelihood(features, path, packing, slots, l2)
    start = np.zeros(likelihood.size)
    found = minimise(likelihood, start, iterations=iterations, tolerance=TOLERANCE, memory=HISTORY)
    weights, transitions = likelihood.parts(found)
    return CrfWeights(weights.astype(np.float32), transitions.astype(np.float32))


class _Likelihood:
    """The penalised negative log likelihood and its gradient, as a function of all weights in a row."""

    def __init__(self, features: csr_matrix, path: NDArray[np.intp], packing: Packing, slots: int, l2: float) -> None:
        self.features, self.columns = features, features.T.tocsr()
        self.packing, self.l2 = packing, l2
        self.allowed = may_follow(slots)
        self.labels = self.allowed.shape[1]
        self.cut = features.shape[1] * self.labels
        self.size = self.cut + self.allowed.size
        self.observed = self._observe(path)

    def parts(self, theta: Doubles) -> tuple[Doubles, Doubles]:
        """[features, labels] weights and [labels + 1, labels] transitions as views of the row."""
        return theta[: self.cut].reshape(-1, self.labels), theta[self.cut :].reshape(-1, self.labels)

    def __call__(self, theta: Doubles) -> tuple[float, Doubles]:
        weights, transitions = self.parts(theta)
        log_total, expected = self._expect(self.features @ weights, np.exp(transitions) * self.allowed)
        loss = log_total - self.observed @ theta + 0.5 * self.l2 * (theta @ theta)
        return float(loss), expected - self.observed + self.l2 * theta

    def _observe(self, path: NDArray[np.intp]) -> Doubles:
        """How often each weight is used by the true labelling."""
        steps = np.zeros_like(self.allowed)
        for head, block in zip(self.packing.heads, self.packing.blocks[1:], strict=False):
            np.add.at(steps, (path[head], path[block]), 1.0)
        steps[-1] = np.bincount(path[self.packing.blocks[0]], minlength=self.labels)
        return self._flat(np.eye(self.labels)[path], steps)

    def _expect(self, scores: Doubles, factor: Doubles) -> tuple[float, Doubles]:
        """Log partition function, and how often each weight is used by the model's labellings."""
        top = scores.max(axis=1, keepdims=True)
        emit = np.exp(scores - top)
        ahead, scale = self._forward(emit, factor)
        emit /= scale
        behind, steps = np.ones_like(emit), np.zeros_like(factor)
        for head, block in reversed(list(zip(self.packing.heads, self.packing.blocks[1:], strict=False))):
            message = emit[block] * behind[block]
            steps[:-1] += ahead[head].T @ message
            behind[head] = message @ factor[:-1].T
        steps *= factor
        ahead *= behind
        steps[-1] = ahead[self.packing.blocks[0]].sum(axis=0)
        return float(np.log(scale).sum() + top.sum()), self._flat(ahead, steps)

    def _forward(self, emit: Doubles, factor: Doubles) -> tuple[Doubles, Doubles]:
        """Forward messages scaled to sum to one, and the scales."""
        ahead, scale = np.empty_like(emit), np.empty((len(emit), 1))
        before = factor[-1:]
        for head, block in zip(self.packing.heads, self.packing.blocks, strict=True):
            now = before * emit[block]
            scale[block] = now.sum(axis=1, keepdims=True)
            ahead[block] = now / scale[block]
            before = ahead[head] @ factor[:-1]
        return ahead, scale

    def _flat(self, labels: Doubles, steps: Doubles) -> Doubles:
        return np.concatenate([(self.columns @ labels).ravel(), steps.ravel()])
