"""Logistic regression on standardised features: the gate's confidence.

A network in its place ranked the surest calls worse: on tau2 telecom (5-fold by task) the share of
decisions that could be sent at 93 % agreement was .11 with a network, .16 with boosting, .26 with this.
These shares are of the test folds that the choice was made on, so they flatter it.
What this file does not know: how it was fitted (`train.linear`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.ranker import CLIP

__all__ = ["Logistic"]

Floats = NDArray[np.float32]

NAMES = ("mean", "scale", "weights", "bias", "knots")


class Logistic:
    """Probability of yes for each row.

    Args:
        arrays: `mean`, `scale` and `weights` [features], `bias` [1]; `knots` [2, n] where the probability is
            calibrated: raw and calibrated ones, both rising.
    """

    def __init__(self, arrays: Mapping[str, Floats]) -> None:
        self.arrays = {name: np.asarray(arrays[name], np.float32) for name in NAMES if name in arrays}
        if missing := set(NAMES[:-1]) - set(self.arrays):
            raise KeyError(f"no {min(missing)}")

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.arrays["mean"])

    def probabilities(self, rows: Floats) -> Floats:
        """Probability of yes: [rows] float32.

        Args:
            rows: [rows, features], raw.
        """
        a = self.arrays
        x = np.clip((rows - a["mean"]) * a["scale"], -CLIP, CLIP)
        raw = 1.0 / (1.0 + np.exp(-(x @ a["weights"] + a["bias"][0])))
        return np.asarray(raw if "knots" not in a else np.interp(raw, *a["knots"]), np.float32)

    def calibrated(self, knots: Floats | None) -> Logistic:
        """The same with a map from raw to calibrated probabilities; `None` for none."""
        return self if knots is None else Logistic({**self.arrays, "knots": knots})
