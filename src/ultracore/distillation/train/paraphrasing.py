"""Finding what people say instead of values, from calls that give a value which nobody had said.

Each phrase of what the user said may have caused the value, alone or with others: a noisy-or, fitted by expectation
maximisation, so that of all that was said in such calls the phrase that explains most keeps the credit. What this file
does not know: what is made of phrases (`students.compact.paraphrases`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ultracore.distillation.students.compact.knowledge import Knowledge
from ultracore.distillation.students.compact.paraphrases import Paraphrases, phrases_in
from ultracore.distillation.students.compact.text import words_of
from ultracore.distillation.train.examples import Example
from ultracore.distillation.train.gazetteers import given_in

__all__ = ["fit_paraphrases"]

ROUNDS = 8
LEAST_TASKS = 2
"""In which a phrase was said and a value given."""

LEAST_SHARE = 0.15
"""Probability from which on a phrase is kept."""

DOUBT = 2.0
"""Tasks in which a phrase is taken to have been said for nothing, beside those that were seen."""

Pair = tuple[str, str]
"""A phrase, and the text of a value."""


class _Given(NamedTuple):
    """One call: its task, what the user had said, the values that nobody had said."""

    task: str
    phrases: frozenset[str]
    values: list[str]


def fit_paraphrases(examples: Sequence[Example], knowledge: Knowledge) -> Paraphrases | None:
    """Learn which phrases stand for values.

    Args:
        examples: The decisions to learn from.
        knowledge: The slots of tools.

    Returns:
        `None` where no phrase stands for anything.
    """
    given = [_given(example, knowledge) for example in examples]
    said: dict[str, set[str]] = defaultdict(set)
    together: dict[Pair, set[str]] = defaultdict(set)
    for call in given:
        for phrase in call.phrases:
            said[phrase].add(call.task)
            for value in call.values:
                together[phrase, value].add(call.task)
    often = {phrase: len(tasks) + DOUBT for phrase, tasks in said.items()}
    shares = {p: len(tasks) / often[p[0]] for p, tasks in together.items() if len(tasks) >= LEAST_TASKS}
    shares = _explained({p: share for p, share in shares.items() if share >= LEAST_SHARE / 2}, often, given)
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for (phrase, value), share in sorted(shares.items()):
        if share >= LEAST_SHARE:
            values[phrase][value] = round(share, 4)
    return Paraphrases(dict(values)) if values else None


def _given(example: Example, knowledge: Knowledge) -> _Given:
    texts = example.transcript.user_texts
    phrases = frozenset[str]().union(*map(phrases_in, texts))
    said = f" {' | '.join(' '.join(words_of(text)) for text in texts)} "
    known = example.pool.index
    keys = dict.fromkeys(key for _, key in given_in(example, knowledge))
    unsaid = [key for key in keys if key not in known and f" {' '.join(words_of(key))} " not in said]
    return _Given(example.decision.task, phrases, unsaid)


def _explained(shares: Mapping[Pair, float], often: Mapping[str, float], given: Sequence[_Given]) -> dict[Pair, float]:
    """For each phrase and value, the probability that the phrase makes a call give it."""
    groups = list({(call.task, group[0][1]): group for call in given for group in _groups(call, shares)}.values())
    shares = dict(shares)
    for _ in range(ROUNDS):
        credit: dict[Pair, float] = defaultdict(float)
        for group in groups:
            any_of = 1.0 - math.prod(1.0 - shares[pair] for pair in group)
            for pair in group:
                credit[pair] += shares[pair] / any_of
        shares = {pair: credit[pair] / often[pair[0]] for pair in shares}
    return shares


def _groups(call: _Given, shares: Mapping[Pair, float]) -> Iterator[list[Pair]]:
    """For each value that nobody had said, the phrases that may have caused it."""
    for value in call.values:
        group = sorted((phrase, value) for phrase in call.phrases if (phrase, value) in shares)
        if group:
            yield group
