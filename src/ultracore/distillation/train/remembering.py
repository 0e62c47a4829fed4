"""Out-of-fold proposals as they would be served: with the context memory in front of the rankers.

Thresholds are developed on what is sent later, and that is what is remembered, too. What this file does not know: how
the rankers propose (`train.layers`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.decisions import teachers_apart
from ultracore.distillation.students.compact.memory import ContextMemory
from ultracore.distillation.train.layers import OutOfFold

__all__ = ["with_memories"]


def with_memories(development: Sequence[OutOfFold], folds: NDArray[np.int64]) -> list[OutOfFold]:
    """What is remembered from the other folds takes the place of what the rankers proposed.

    Args:
        development: Proposals of the rankers, calibrated.
        folds: [proposals] fold of each, from 0.
    """
    decisions = [out.decision for out in development]
    keys = [decision.state.key for decision in decisions]
    often = Counter(keys)
    recurring = [place for place, key in enumerate(keys) if often[key] > 1 or decisions[place].weight > 1.0]
    teachers, found = teachers_apart(decisions), list(development)
    for fold in sorted({int(folds[place]) for place in recurring}):
        memory = ContextMemory.build([decisions[place] for place in recurring if folds[place] != fold])
        for place in recurring:
            if folds[place] == fold:
                remembered = memory.recall(decisions[place].state, teachers[place])
                found[place] = found[place]._replace(proposal=remembered) if remembered else found[place]
    return found
