"""How good is a decision as an example? A number from 0 to 1, from what the rows say themselves.

The mean of: its outcome (success 1, unknown 1/2, failure 0), the share of similar states in which the
teacher decided the same, whether its calls keep the schemas of their tools, and the rarity of its
action. It is the quality score of CaR (arXiv 2402.18191), which asks a trained model instead. What this
file does not know: what is chosen by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.curate.embed import Matrix, Row
from ultracore.distillation.curate.kmeans import blocks
from ultracore.distillation.decisions import Decision
from ultracore.distillation.splits import units_of
from ultracore.distillation.students.schema import is_valid

__all__ = ["NEIGHBOURS", "neighbour_agreement", "quality"]

Numbers: TypeAlias = NDArray[np.float64]

NEIGHBOURS = 10


def quality(rows: Sequence[Row], decisions: Sequence[Decision], embeddings: Matrix) -> Numbers:
    """[rows] quality, 0 to 1.

    Args:
        rows: As they were given; their `outcome` is looked at.
        decisions: The same, read.
        embeddings: [rows, dimensions] with rows of length 1.
    """
    parts = [
        np.array([_outcome(row) for row in rows]),
        neighbour_agreement(decisions, embeddings),
        np.array([_keeps_schema(decision) for decision in decisions], dtype=np.float64),
        _rarity(decisions),
    ]
    return np.asarray(np.mean(parts, axis=0))


def neighbour_agreement(decisions: Sequence[Decision], embeddings: Matrix, neighbours: int = NEIGHBOURS) -> Numbers:
    """[rows] share of the most similar states *of other tasks* whose action is the same; 1 where there are none."""
    unit = np.unique(units_of(decisions), return_inverse=True)[1]
    action = np.unique([decision.action for decision in decisions], return_inverse=True)[1]
    agreement = np.ones(len(decisions))
    for part in blocks(len(decisions), len(decisions)):
        near = embeddings[part] @ embeddings.T
        near[unit[part][:, None] == unit[None]] = -np.inf
        found = np.argpartition(-near, min(neighbours, len(decisions) - 1), axis=1)[:, :neighbours]
        known = np.isfinite(np.take_along_axis(near, found, axis=1))
        same = known & (action[found] == action[part][:, None])
        agreement[part] = np.where(known.any(axis=1), same.sum(axis=1) / np.maximum(1, known.sum(axis=1)), 1.0)
    return agreement


def _outcome(row: Row) -> float:
    outcome = row.get("outcome") if isinstance(row, Mapping) else None
    success = outcome.get("success") if isinstance(outcome, Mapping) else None
    return 0.5 if success is None else float(bool(success))


def _keeps_schema(decision: Decision) -> bool:
    tools = {tool.name: tool for tool in decision.state.tools}
    known = [(tools[call.name], call.arguments) for call in decision.calls if call.name in tools]
    return all(arguments is None or is_valid(tool, arguments) for tool, arguments in known)


def _rarity(decisions: Sequence[Decision]) -> Numbers:
    """1 for an action that occurs once, 0 for the only one there is."""
    count = Counter(decision.action for decision in decisions)
    most = np.log(max(2, len(decisions)))
    return np.array([1 - np.log(count[decision.action]) / most for decision in decisions])
