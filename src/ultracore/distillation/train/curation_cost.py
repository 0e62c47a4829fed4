"""What did curation cost? A student of the curated decisions beside a student of all, on the same held-out ones.

What this file does not know: how decisions were curated, and what loss is acceptable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.decisions import Decision
from ultracore.distillation.splits import units_of
from ultracore.distillation.students.compact.student import standing_in
from ultracore.distillation.train.evaluate import judge
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.metrics import bootstrap_shares

__all__ = ["CurationCost", "agreement_of", "compare_hits"]

Hits = NDArray[np.float64]


class CurationCost(NamedTuple):
    """Whole-call agreement (strict, 0..1; of tools alone where no arguments were recorded) on held-out decisions.

    Attributes:
        full: Of the student that learned from all.
        curated: Of the one that learned from what curation kept.
        loss: full - curated.
        interval: 95 % interval of the loss, paired, by resampling whole tasks; `None` with fewer than two.
        decisions: Held-out decisions compared.
        tasks: Their independent tasks.
    """

    full: float
    curated: float
    loss: float
    interval: tuple[float, float] | None
    decisions: int
    tasks: int


def agreement_of(train: Sequence[Decision], held_out: Sequence[Decision], seed: int = 0) -> Hits:
    """[held out] 1 where a student of `train` agrees with the teacher, else 0.

    Raises:
        DataError: The decisions to learn from belong to fewer than two tasks.
    """
    fit = fit_compact(train, seed=seed)
    proposals = [who.propose(d.state) for who, d in zip(standing_in(fit.student, held_out), held_out, strict=True)]
    rows = judge(held_out, proposals, fit.comparators)
    return np.array([row.tool if row.whole is None else row.whole for row in rows], np.float64)


def compare_hits(full: Hits, curated: Hits, held_out: Sequence[Decision]) -> CurationCost:
    """The cost, from what `agreement_of` says of two students on the same decisions."""
    names, unit = np.unique(units_of(held_out), return_inverse=True)
    excess = np.bincount(unit, weights=full - curated, minlength=len(names))
    (interval,) = bootstrap_shares(excess[:, None], np.bincount(unit)[:, None])
    means = float(full.mean()), float(curated.mean())
    return CurationCost(*means, means[0] - means[1], interval, len(held_out), len(names))
