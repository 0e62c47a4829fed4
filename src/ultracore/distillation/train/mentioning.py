"""Fitting what stands around a value: for each argument name, is a value that was said the one that was given?

Arguments of one name are learned together, whatever their tool, so that a new tool with such an argument
profits. What this file does not know: values that were not said (`students.compact.candidates`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ultracore.distillation.students.compact.knowledge import Knowledge, gold_values
from ultracore.distillation.students.compact.mentions import Mention, Mentions, mentions_of
from ultracore.distillation.students.compact.paraphrases import Paraphrases
from ultracore.distillation.students.compact.sparse import Linear
from ultracore.distillation.students.compact.transcript import key_of
from ultracore.distillation.train.examples import Example
from ultracore.distillation.train.linear import fit_binary

__all__ = ["fit_mentions"]

LEAST_EXAMPLES = 10
"""Decisions in which an argument's value was said."""

OTHERS = 8
"""Other values of one decision that an argument's value is told from, the newest ones."""

MIN_COUNT = 3
"""Mentions that a feature must describe."""


class _Told(NamedTuple):
    """A mention, whether it is the argument's value, and its weight."""

    mention: Mention
    right: bool
    weight: float


def fit_mentions(examples: Sequence[Example], knowledge: Knowledge, paraphrases: Paraphrases | None) -> Mentions | None:
    """Fit one model for each argument name whose values were often said.

    Args:
        examples: The decisions to learn from.
        knowledge: The slots of tools.
        paraphrases: What is said instead of values.

    Returns:
        `None` where no argument's values were said often enough.
    """
    told: dict[str, list[_Told]] = defaultdict(list)
    decisions: Counter[str] = Counter()
    for example in examples:
        for name, group in _told(example, knowledge, paraphrases):
            told[name] += group
            decisions[name] += 1
    names = sorted(name for name, n in decisions.items() if n >= LEAST_EXAMPLES)
    counts = Counter(f for name in names for one in told[name] for f in one.mention.around)
    features = sorted(feature for feature, n in counts.items() if n >= MIN_COUNT)
    if not features:
        return None
    blank = Mentions(features, Linear([], np.zeros((len(features), 0), np.float32), np.zeros(0, np.float32)))
    weights, bias = np.zeros((len(features), len(names)), np.float32), np.zeros(len(names), np.float32)
    around = {one.mention.around for name in names for one in told[name]}
    encoded = {features: blank.encode(features) for features in around}
    for column, name in enumerate(names):
        rows = [encoded[one.mention.around] for one in told[name]]
        right = np.array([one.right for one in told[name]])
        amounts = np.array([one.weight for one in told[name]])
        weights[:, column], bias[column] = fit_binary(rows, len(features), right, amounts, c=0.3)
    return Mentions(features, Linear(names, weights, bias))


def _told(example: Example, knowledge: Knowledge, paraphrases: Paraphrases | None) -> list[tuple[str, list[_Told]]]:
    """For each argument of the teacher's first call whose value was said: those mentions, and some others."""
    call = next(iter(example.decision.calls), None)
    if call is None or call.arguments is None or call.name not in example.transcript.tools:
        return []
    said = [mention for found in mentions_of(example.transcript).values() for mention in found]
    if paraphrases is not None:
        said += [mention for meant in paraphrases.meant(example.transcript).values() for mention in meant.mentions]
    out = []
    for slot in knowledge.slots_of(example.transcript.tools[call.name]):
        wanted = {key_of(value) for value in gold_values(slot, call.arguments)}
        right = [mention for mention in said if mention.key in wanted]
        if right:
            kinds = {mention.kind for mention in right}
            others = [mention for mention in said if mention.key not in wanted and mention.kind in kinds]
            others = sorted(others, key=lambda mention: mention.age)[:OTHERS]
            group = [(mention, True) for mention in right] + [(mention, False) for mention in others]
            out.append((slot.name, [_Told(m, is_right, example.decision.weight) for m, is_right in group]))
    return out
