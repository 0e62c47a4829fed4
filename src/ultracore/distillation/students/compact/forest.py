"""Trees that vote for an action: what several facts mean together, which no sum of weights can say.

Extremely randomised trees (Geurts et al. 2006, Machine Learning 63:3-42) over the sparse features that the
linear model weighs most. What this file does not know: how they were grown (`train.forest`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.sparse import Vector

__all__ = ["Forest"]

_DTYPES = {
    "columns": np.int32,
    "roots": np.int32,
    "feature": np.int16,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "voters": np.int32,
    "votes_class": np.int32,
    "votes_share": np.float32,
}


class Forest:
    """An ensemble of binary trees; a row's class shares are the mean of those at the leaves it falls to.

    Args:
        classes: What is voted for.
        arrays: `columns` [features] that are read of a row; `roots` [trees]; for each node `feature` (-1: a leaf),
            `threshold`, `left` (where the feature is at most the threshold) and `right`, children after parents;
            `voters` [nodes + 1], where each node's votes begin in `votes_class` and `votes_share`.

    Raises:
        KeyError: The arrays do not make trees.
    """

    def __init__(self, classes: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.classes = list(classes)
        self.arrays = {name: np.asarray(arrays[name], dtype) for name, dtype in _DTYPES.items()}
        self._verify()
        a = self.arrays
        self._roots = a["roots"].tolist()
        nodes = (a[name].tolist() for name in ("feature", "threshold", "left", "right"))
        self._nodes = list(zip(*nodes, strict=True))
        self._voters = a["voters"].tolist()
        votes = zip(a["votes_class"].tolist(), a["votes_share"].tolist(), strict=True)
        self._votes = [(self.classes[number], share / len(self._roots)) for number, share in votes]
        self._places = np.full(int(a["columns"].max(initial=-1)) + 1, -1, np.int32)
        self._places[a["columns"]] = np.arange(len(a["columns"]))

    def shares(self, row: Vector) -> dict[str, float]:
        """Share of the votes for each class."""
        values = self._read(row)
        out = dict.fromkeys(self.classes, 0.0)
        for root in self._roots:
            leaf = self._leaf(root, values)
            for name, share in self._votes[self._voters[leaf] : self._voters[leaf + 1]]:
                out[name] += share
        return out

    def _read(self, row: Vector) -> list[float]:
        values = np.zeros(len(self.arrays["columns"]), np.float32)
        inside = row.columns < len(self._places)
        places = self._places[row.columns[inside]]
        values[places[places >= 0]] = row.amounts[inside][places >= 0]
        return values.tolist()

    def _leaf(self, node: int, values: Sequence[float]) -> int:
        nodes = self._nodes
        feature, threshold, left, right = nodes[node]
        while feature >= 0:
            node = left if values[feature] <= threshold else right
            feature, threshold, left, right = nodes[node]
        return node

    def _verify(self) -> None:
        """Whatever the arrays hold, a walk ends at a leaf whose votes exist."""
        a, nodes = self.arrays, len(self.arrays["feature"])
        inner = np.flatnonzero(a["feature"] >= 0)
        children = [a[name][inner] for name in ("left", "right")]
        sound = all(len(a[name]) == nodes for name in ("threshold", "left", "right")) and len(a["voters"]) == nodes + 1
        sound = sound and all(((c > inner) & (c < nodes)).all() for c in children)
        sound = sound and bool(((a["roots"] >= 0) & (a["roots"] < nodes)).all()) and len(a["roots"]) > 0
        sound = sound and bool((a["feature"] < len(a["columns"])).all()) and bool((a["columns"] >= 0).all())
        sound = sound and bool((np.diff(a["voters"]) >= 0).all()) and a["voters"][0] == 0
        sound = sound and a["voters"][-1] == len(a["votes_class"]) == len(a["votes_share"])
        sound = sound and bool(((a["votes_class"] >= 0) & (a["votes_class"] < len(self.classes))).all())
        if not sound:
            raise KeyError("forest: its arrays do not make trees")
