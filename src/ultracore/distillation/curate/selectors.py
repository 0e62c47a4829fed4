"""Ways to choose a few decisions out of many, behind one protocol; the rows left out lend their weight.

None of them is right for all data: `choose_selector` (in `validate`) asks held-out tasks. What this file
does not know: duplicates, and what is trained on the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from ultracore.distillation.curate.embed import Matrix, Row, check_matrix, read_decisions
from ultracore.distillation.curate.facility import Facility, facility_location, in_parts, shares
from ultracore.distillation.curate.features import Coverage, features_of
from ultracore.distillation.curate.greedy import Mixture, most_worth
from ultracore.distillation.curate.kmeans import Places, cluster
from ultracore.distillation.curate.quality import neighbour_agreement, quality
from ultracore.distillation.curate.reduction import weight_of
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import ConfigurationError

__all__ = ["SELECTORS", "Pool", "Selector", "select_rows"]

SPREAD = 0.75
"""Share of an action in the choice goes with its frequency to this power: 1 keeps the mix, 0 evens it out.
0.75 and 0.5 were best of 0, 0.5, 0.75 and 1 on three folds of tau2 telecom."""

FEATURES = 0.75
"""What features weigh in the mixture. 10 % of tau2 telecom and SNIPS, 5 folds, an earlier student's gain on random:
0 (`covering`) 8.3 and -6.1 points, 0.5 6.7 and 3.0, 0.75 6.6 and 4.3, 1 (`features`) -0.5 and 8.3. What 0.75 gains
with today's student, on two sets more, is in docs/curation.md."""


class Pool(NamedTuple):
    """What is chosen from.

    Attributes:
        rows: As they were given.
        decisions: The same, read.
        embeddings: [rows, dimensions] with rows of length 1.
    """

    rows: Sequence[Row]
    decisions: Sequence[Decision]
    embeddings: Matrix


class Selector(Protocol):
    """Chooses rows."""

    def __call__(self, pool: Pool, count: int, seed: int, /) -> Places:
        """Indices of `count` different rows, or of all where there are no more."""
        ...


def at_random(pool: Pool, count: int, seed: int) -> Places:
    """Every row with the same chance: what every other way has to beat."""
    return np.random.default_rng(seed).permutation(len(pool.rows))[:count]


def stratified(pool: Pool, count: int, seed: int) -> Places:
    """At random within each action, rare actions more than their share."""
    draw = np.random.default_rng(seed)
    return _by_action(pool, count, lambda rows, budget: draw.permutation(rows)[:budget])


def covering(pool: Pool, count: int, seed: int) -> Places:
    """Within each action the rows that represent it best together (facility location)."""
    return _by_action(pool, count, lambda rows, budget: rows[facility_location(pool.embeddings[rows], budget, seed)])


def covering_features(pool: Pool, count: int, seed: int) -> Places:
    """Within each action the rows that together show most words, arguments and histories; nothing is random."""
    shown = features_of(pool.decisions)
    return _by_action(
        pool, count, lambda rows, budget: rows[most_worth(Coverage([shown[row] for row in rows]), budget)]
    )


def mixture(pool: Pool, count: int, seed: int) -> Places:
    """Within each action the rows that represent it best and show most of it: `covering` and `features` at once."""
    shown = features_of(pool.decisions)

    def choose(rows: Places, budget: int) -> Places:
        def objective(part: Places) -> Mixture:
            some = rows[part]
            return Mixture(Facility(pool.embeddings[some]), Coverage([shown[row] for row in some]), FEATURES)

        return rows[in_parts(pool.embeddings[rows], budget, seed, objective)]

    return _by_action(pool, count, choose)


def covering_all(pool: Pool, count: int, seed: int) -> Places:
    """Facility location over all rows, whatever the teacher decided."""
    return facility_location(pool.embeddings, count, seed)


def cluster_and_rank(pool: Pool, count: int, seed: int) -> Places:
    """CaR as in the paper (arXiv 2402.18191): half by quality alone, half the best of each of sqrt(n / 2) clusters."""
    if not len(pool.rows):
        return np.zeros(0, np.intp)
    score = quality(pool.rows, pool.decisions, pool.embeddings)
    best = np.argsort(-score, kind="stable")
    top = best[: count // 2]
    rest = best[count // 2 :]
    label = cluster(pool.embeddings, max(1, round((len(score) / 2) ** 0.5)), seed=seed).label[rest]
    budgets = shares(np.bincount(label), count - len(top), power=0.0)
    diverse = [rest[label == number][:budget] for number, budget in enumerate(budgets.tolist())]
    return np.concatenate([top, *diverse])


def hardest_first(pool: Pool, count: int, seed: int) -> Places:
    """Those whose neighbours of other tasks decide otherwise."""
    agreement = neighbour_agreement(pool.decisions, pool.embeddings)
    return np.lexsort((np.random.default_rng(seed).random(len(agreement)), agreement))[:count]


SELECTORS: dict[str, Selector] = {
    "mixture": mixture,
    "features": covering_features,
    "covering": covering,
    "covering_all": covering_all,
    "stratified": stratified,
    "car": cluster_and_rank,
    "hardest_first": hardest_first,
    "random": at_random,
}


def select_rows(
    rows: Sequence[Row], embeddings: Any, count: int, selector: str = "mixture", seed: int = 0
) -> list[Any]:
    """Choose so many decisions; they stand for all.

    Args:
        rows: Rows as `get_history()` returns them, or decisions; they are not changed.
        embeddings: [rows, dimensions], as `embed_decisions(rows)` makes them.
        count: How many to choose, at least 1; all are kept where there are no more.
        selector: A name in `SELECTORS`.
        seed: Of all that is random.

    Returns:
        The chosen rows in their order, all with the same weight, so that the weights add up to those
        of all rows. Weights by nearness to what was left out cost 5 points of whole-call agreement
        (10 % of tau2 telecom, three folds): few rows with large weights drown the others.

    Raises:
        ConfigurationError: There is no such selector, or the count is less than 1.
        DataError: A row cannot be read, or the embeddings are unusable.

    Example:
        >>> from ultracore.distillation.curate import embed_decisions
        >>> rows = [{"context": {"text": text}, "tool_selected": "x"} for text in ("a b c", "a b d", "q r")]
        >>> [(row["context"]["text"], row["weight"]) for row in select_rows(rows, embed_decisions(rows), 2)]
        [('a b c', 1.5), ('q r', 1.5)]
    """
    if selector not in SELECTORS:
        raise ConfigurationError(f"selector must be one of {', '.join(SELECTORS)}; not {selector!r}")
    if count < 1:
        raise ConfigurationError(f"at least 1 row must be chosen, not {count}")
    decisions = read_decisions(rows)
    matrix = check_matrix(embeddings, len(rows)) if len(rows) else np.zeros((0, 1), np.float32)
    chosen = np.sort(SELECTORS[selector](Pool(rows, decisions, matrix), count, seed))
    total = sum(weight_of(row) for row in rows)
    return [_weighed(rows[place], total / len(chosen)) for place in chosen.tolist()]


def _by_action(pool: Pool, count: int, choose: Any) -> Places:
    _, action = np.unique([decision.action for decision in pool.decisions], return_inverse=True)
    groups = [np.flatnonzero(action == number) for number in range(int(action.max(initial=-1)) + 1)]
    budgets = shares(np.array([len(group) for group in groups], dtype=np.intp), count, SPREAD)
    chosen = [choose(group, budget) for group, budget in zip(groups, budgets.tolist(), strict=True)]
    return np.concatenate(chosen) if chosen else np.zeros(0, np.intp)


def _weighed(row: Row, weight: float) -> Row:
    return msgspec.structs.replace(row, weight=weight) if isinstance(row, Decision) else {**row, "weight": weight}
