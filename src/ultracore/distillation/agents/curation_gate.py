"""Keeps more where less would cost too much: students of the curated and of all rows, on tasks held out.

A recipe passes when the upper end of the 95 % interval of its loss (paired, by whole tasks) is within the
limit; the ways to choose are compared on other tasks than those that the gate measures. Merging equal
states loses nothing a student could learn, so that the last resort needs no student. What this file
does not know: how rows are curated, and how a student is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.curate.embed import Matrix
from ultracore.distillation.curate.pairs import HERE, Progress, silent
from ultracore.distillation.curate.recipe import Recipe
from ultracore.distillation.curate.validate import clustered_error
from ultracore.distillation.curate.workers import Workers
from ultracore.distillation.decisions import Decision
from ultracore.distillation.splits import folds_by_task, parts_by_task, units_of
from ultracore.distillation.train.curation_cost import agreement_of, compare_hits

__all__ = ["LOSS_LIMIT", "GateEvidence", "Gated", "best_selector", "gate"]

LOSS_LIMIT = 0.01
HELD = 0.3
FOLDS = 2
ASKED = 400
"""Decisions on which ways to choose are compared, spread over all tasks."""
LEAST_TASKS = 30  # below it an interval says too little to drop rows on its word
CANDIDATES = ("mixture", "features", "random")
"""On each set that was measured one of these was best or as good: `python -m benchmarks curation`."""


class GateEvidence(TypedDict):
    """One recipe on held-out tasks; agreement of whole calls (0..1), and what is lost against all rows."""

    threshold: float | None
    keep: float | None
    selector: str
    kept_share: float
    agreement: float
    agreement_of_all_rows: float
    loss: float
    interval: tuple[float, float] | None
    decisions: int
    tasks: int
    accepted: bool


class Gated(NamedTuple):
    """The first recipe that passed; what was measured; and a sentence for a person."""

    recipe: Recipe
    evidence: list[GateEvidence]
    reason: str


def gate(
    decisions: Sequence[Decision],
    embeddings: Matrix,
    recipes: Sequence[Recipe],
    limit: float,
    seed: int = 0,
    *,
    say: Progress = silent,
    workers: Workers = HERE,
) -> Gated:
    """Try recipes in turn, the one that drops most first; none passes: equal states are merged, and nothing else.

    Args:
        decisions: The training part.
        embeddings: [decisions, dimensions] with rows of length 1.
        recipes: From the boldest to the most careful.
        limit: Largest acceptable loss, as the upper end of its interval (0..1).
        seed: Of the split, of the selection and of the students.
        say: Told how many students there are, of how many at most.
        workers: Where similar states are looked for.
    """
    exact = Recipe()
    if len(set(units_of(decisions))) < LEAST_TASKS:
        return Gated(exact, [], f"fewer than {LEAST_TASKS} tasks: too few to measure a loss; only equal states go")
    fit, held = _parts(decisions, seed)
    rows, held_out = [decisions[row] for row in fit], [decisions[row] for row in held]
    full = agreement_of(exact.apply(rows, None)[0], held_out, seed)
    evidence: list[GateEvidence] = []
    for number, recipe in enumerate(recipes, 1):
        say(number, 1 + len(recipes))
        kept, _ = recipe.apply(rows, embeddings[fit], seed, workers=workers)
        cost = compare_hits(full, agreement_of(kept, held_out, seed), held_out)
        accepted = cost.interval is not None and cost.interval[1] <= limit
        evidence.append(
            {
                **recipe._asdict(),  # type: ignore[typeddict-item]
                "kept_share": len(kept) / len(rows),
                "agreement": cost.curated,
                "agreement_of_all_rows": cost.full,
                "loss": cost.loss,
                "interval": cost.interval,
                "decisions": cost.decisions,
                "tasks": cost.tasks,
                "accepted": accepted,
            }
        )
        if accepted:
            return Gated(recipe, evidence, f"the loss is at most {100 * limit:g} points, with 95 % confidence")
    return Gated(
        exact, evidence, f"a loss of more than {100 * limit:g} points could not be ruled out: only equal states go"
    )


def best_selector(
    decisions: Sequence[Decision],
    embeddings: Matrix,
    keep: float,
    seed: int = 0,
    candidates: Sequence[str] = CANDIDATES,
    say: Progress = silent,
) -> str:
    """The way to choose whose students agree most on held-out tasks, none of which `gate` measures on.

    It has to beat `random` by more than a standard error (whole tasks resampled), else it is `random`: with few
    tasks the best of several is mostly the luckiest.
    """
    fit, _ = _parts(decisions, seed)
    rows, vectors = [decisions[row] for row in fit], embeddings[fit]
    # As many rows as will be kept, but no more than half of those there: beyond, the ways hardly differ.
    share = max(keep, min(0.5, keep * len(decisions) * FOLDS / (FOLDS - 1) / len(rows)))
    asked = np.sort(np.random.default_rng(seed).permutation(len(rows))[:ASKED])
    hits: dict[str, NDArray[np.float64]] = {}
    for number, name in enumerate(dict.fromkeys(["random", *candidates])):
        say(number, len(candidates))
        hits[name] = _cross_validated(rows, vectors, Recipe(None, share, name), asked, seed)
    best = max(hits, key=lambda name: float(hits[name].mean()))
    gain = hits[best] - hits["random"]
    error = clustered_error(gain, np.ones(len(gain)), units_of([rows[row] for row in asked.tolist()]))
    return best if gain.mean() > error else "random"


def _cross_validated(
    rows: Sequence[Decision], embeddings: Matrix, recipe: Recipe, asked: NDArray[np.intp], seed: int
) -> NDArray[np.float64]:
    """[asked] 1 where a student that learned from what the recipe keeps of the other folds agrees, else 0."""
    fold = np.array(folds_by_task(rows, FOLDS, seed + 1))
    hits = np.zeros(len(asked))
    for part in range(FOLDS):
        train, held = np.flatnonzero(fold != part), np.flatnonzero(fold[asked] == part)
        kept, _ = recipe.apply([rows[row] for row in train.tolist()], embeddings[train], seed)
        if len(held):
            hits[held] = agreement_of(kept, [rows[row] for row in asked[held].tolist()], seed)
    return hits


def _parts(decisions: Sequence[Decision], seed: int) -> tuple[list[int], list[int]]:
    part = np.array(parts_by_task(decisions, (1 - HELD, HELD), seed))
    return np.flatnonzero(part == 0).tolist(), np.flatnonzero(part == 1).tolist()
