"""A small neural ranker: one score for each alternative, softmax over the alternatives of a question.

Standardised features, one hidden layer, several networks averaged. The same shape ranks actions,
argument values and whole calls. What this file does not know: how it was fitted (`train.neural`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ranker", "softmax_by_group"]

Floats = NDArray[np.float32]

CLIP = 5.0
"""Standardised features are cut at this many standard deviations, so that a freak value cannot decide."""


class Ranker:
    """An averaged ensemble of one-hidden-layer networks.

    Args:
        arrays: `mean` and `scale` [features]; `w1` [networks, features, hidden], `b1` [networks, hidden],
            `w2` [networks, hidden], `b2` [networks].
    """

    def __init__(self, arrays: Mapping[str, Floats]) -> None:
        self.arrays = {name: np.asarray(arrays[name], np.float32) for name in ("mean", "scale", "w1", "b1", "w2", "b2")}
        self._networks, features, hidden = self.arrays["w1"].shape
        self._flat = self.arrays["w1"].transpose(1, 0, 2).reshape(features, self._networks * hidden)
        self._b1, self._w2 = self.arrays["b1"].reshape(-1), self.arrays["w2"].reshape(-1)
        self._b2 = self.arrays["b2"].sum()

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.arrays["mean"])

    def scores(self, rows: Floats) -> Floats:
        """Mean score of the networks: [rows] float32.

        Args:
            rows: [rows, features], raw; columns that came after this ranker was trained are left out.
        """
        x = rows[:, : self.width] - self.arrays["mean"]
        x *= self.arrays["scale"]
        np.minimum(np.maximum(x, -CLIP, out=x), CLIP, out=x)
        h = x @ self._flat
        h += self._b1
        scores = np.maximum(h, 0.0, out=h) @ self._w2
        scores += self._b2
        scores /= self._networks
        return np.asarray(scores, np.float32)


def softmax_by_group(scores: Floats, start: NDArray[np.int64]) -> Floats:
    """Softmax within consecutive groups.

    Args:
        scores: [rows].
        start: First row of each group; every group has at least one.
    """
    sizes = np.diff(np.append(start, len(scores)))
    top = np.repeat(np.maximum.reduceat(scores, start), sizes)
    shares = np.exp(scores - top)
    return np.asarray(shares / np.repeat(np.add.reduceat(shares, start), sizes), np.float32)
