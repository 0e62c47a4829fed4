"""Two models on the same decisions: is the new one no worse? A paired test that may be looked at at any time.

Units are conversations, in the order in which they began. The test is by betting: under "worse than the margin" no
stake has an expected gain, so the wealth exceeds 1 / alpha at any time at all with probability alpha at most (Ville's
inequality; Waudby-Smith & Ramdas 2024). What this file does not know: where the pairs come from.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from ultracore.distillation.autonomy.rules import PromotionRules

__all__ = ["Comparison", "Paired", "Share", "compare"]

STAKES = (0.1, 0.3, 0.9)
"""Shares of the largest safe stake; each holds a third of the wealth. Chosen for their round numbers alone."""

ENOUGH = 20.0
"""Logarithm of a wealth that leaves no doubt; more would only be a long number in the log."""

Verdict = Literal["better", "worse", "open"]


class Paired(NamedTuple):
    """One decision of both models.

    Attributes:
        unit: The conversation.
        action: What the teacher did, or what was sent where nobody knows.
        worse: 1 where only the new model sends a wrong call, -1 where only the old one does, else 0. An upper
            bound where the teacher was not asked.
        less: 1 where only the old model sends a call, -1 where only the new one does, else 0.
    """

    unit: str
    action: str
    worse: float
    less: float


class Share(msgspec.Struct, frozen=True):
    """A mean difference, and what can be said of it at any time.

    Attributes:
        mean: Over the conversations.
        margin: What is allowed.
        within: Evidence (wealth) that the expected difference lies below the margin.
        beyond: Evidence that it lies above.
    """

    mean: float
    margin: float
    within: float
    beyond: float


class Comparison(msgspec.Struct, frozen=True):
    """What a comparison shows.

    Attributes:
        verdict: `better` (no worse than the margins), `worse`, or `open`.
        reason: One sentence with the numbers.
        units: Conversations.
        decisions: Pairs.
        errors: How much more the new model answers wrongly.
        coverage: How much less it answers.
        actions: Of the actions that are worse than their margin, by how much.
    """

    verdict: Verdict
    reason: str
    units: int
    decisions: int
    errors: Share
    coverage: Share
    actions: dict[str, float] = {}


def compare(pairs: Sequence[Paired], rules: PromotionRules) -> Comparison:
    """Compare on all pairs so far; the same pairs and some more may be compared later.

    Args:
        pairs: In the order of the log.
        rules: Declared before.

    Example:
        >>> same = [Paired(str(i), "f", 0.0, 0.0) for i in range(200)]
        >>> compare(same, PromotionRules()).verdict
        'better'
        >>> compare(same[:40], PromotionRules()).verdict
        'open'
        >>> compare([Paired(str(i), "f", 1.0, 0.0) for i in range(60)], PromotionRules()).verdict
        'worse'
    """
    errors = _share(_means((p.unit, p.worse) for p in pairs), rules.error_margin)
    coverage = _share(_means((p.unit, p.less) for p in pairs), rules.coverage_margin)
    units, needed = len({p.unit for p in pairs}), 1.0 / rules.alpha
    actions = _worse_actions(pairs, rules)
    figures = f"wrong answers {errors.mean:+.1%}, answered {-coverage.mean:+.1%} over {units:,} conversations"
    verdict: Verdict = "open"
    if units < rules.least_units:
        reason = f"not enough data: {units:,} of at least {rules.least_units:,} conversations"
    elif max(errors.beyond, coverage.beyond) >= needed:
        verdict, reason = "worse", f"worse than the margin: {figures}"
    elif min(errors.within, coverage.within) >= needed and not actions:
        verdict, reason = "better", f"not worse: {figures}"
    elif units >= rules.most_units:
        verdict, reason = "worse", f"not shown to be as good: {figures}{_named(actions)}"
    else:
        reason = f"not decided yet: {figures}{_named(actions)}"
    return Comparison(verdict, reason, units, len(pairs), errors, coverage, actions)


def _named(actions: dict[str, float]) -> str:
    return "".join(f"; {action} is worse by {by:.1%}" for action, by in actions.items())


def _means(values: Iterable[tuple[str, float]]) -> list[float]:
    """The mean of each conversation, in the order in which they began: bounded, however long one is."""
    of: dict[str, list[float]] = defaultdict(list)
    for unit, value in values:
        of[unit].append(value)
    return [sum(found) / len(found) for found in of.values()]


def _share(means: Sequence[float], margin: float) -> Share:
    mean = sum(means) / len(means) if means else 0.0
    within = _wealth([margin - x for x in means], 1.0 / (1.0 - margin))
    return Share(mean, margin, within, _wealth([x - margin for x in means], 1.0 / (1.0 + margin)))


def _wealth(gains: Sequence[float], largest: float) -> float:
    """The largest wealth ever held; `largest` is the stake at which the worst gain loses all."""
    logs = [0.0] * len(STAKES)
    best = 0.0
    for gain in gains:
        logs = [log + math.log1p(share * largest * gain) for log, share in zip(logs, STAKES, strict=True)]
        best = max(best, sum(math.exp(min(log, ENOUGH)) for log in logs) / len(logs))
    return best


def _worse_actions(pairs: Sequence[Paired], rules: PromotionRules) -> dict[str, float]:
    of: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        of[pair.action].append(pair.worse)
    means = {action: sum(v) / len(v) for action, v in of.items() if len(v) >= rules.least_of_action}
    return {action: mean for action, mean in sorted(means.items()) if mean > rules.action_margin}
