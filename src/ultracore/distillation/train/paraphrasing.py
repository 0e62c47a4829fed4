"""Finding what people say instead of values, from calls that give a value which nobody had said.

Each phrase of what the user said may have caused the value, alone or with others: a noisy-or, fitted by expectation
maximisation, so that of all that was said in such calls the phrase that explains most keeps the credit. What this file
does not know: what is made of phrases (`students.compact.paraphrases`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
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
    """One call that gives values which nobody had said."""

    task: str
    texts: Sequence[str]
    values: list[str]


def fit_paraphrases(examples: Sequence[Example], knowledge: Knowledge) -> Paraphrases | None:
    """Learn which phrases stand for values.

    Args:
        examples: The decisions to learn from.
        knowledge: The slots of tools.

    Returns:
        `None` where no phrase stands for anything.
    """
    given = [call for call in (_given(example, knowledge) for example in examples) if call.values]
    together = _together(given)
    if not together:
        return None
    said = _tasks_of(
        ((example.decision.task, example.transcript.user_texts) for example in examples), {p for p, _ in together}
    )
    often = {phrase: tasks + DOUBT for phrase, tasks in said.items()}
    shares = {pair: tasks / often[pair[0]] for pair, tasks in together.items()}
    shares = _explained({p: share for p, share in shares.items() if share >= LEAST_SHARE / 2}, often, given)
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for (phrase, value), share in sorted(shares.items()):
        if share >= LEAST_SHARE:
            values[phrase][value] = round(share, 4)
    return Paraphrases(dict(values)) if values else None


def _given(example: Example, knowledge: Knowledge) -> _Given:
    texts = example.transcript.user_texts
    said = f" {' | '.join(' '.join(words_of(text)) for text in texts)} "
    known = example.pool.index
    keys = dict.fromkeys(key for _, key in given_in(example, knowledge))
    unsaid = [key for key in keys if key not in known and f" {' '.join(words_of(key))} " not in said]
    return _Given(example.decision.task, texts, unsaid)


def _together(given: Sequence[_Given]) -> dict[Pair, int]:
    """In how many tasks a phrase was said and a value given, where that is `LEAST_TASKS`; one value after the other."""
    calls: dict[str, list[_Given]] = defaultdict(list)
    for call in given:
        for value in call.values:
            calls[value].append(call)
    return {
        (phrase, value): tasks
        for value, group in calls.items()
        for phrase, tasks in _tasks_of((call.task, call.texts) for call in group).items()
        if tasks >= LEAST_TASKS
    }


def _tasks_of(said: Iterable[tuple[str, Sequence[str]]], only: Set[str] | None = None) -> Counter[str]:
    """In how many tasks each phrase was said, `only` these; of one task after the other, since phrases are many."""
    texts: dict[str, dict[str, None]] = defaultdict(dict)
    for task, of_call in said:
        texts[task].update(dict.fromkeys(of_call))
    counts: Counter[str] = Counter()
    for of_task in texts.values():
        counts.update(_phrases(of_task, only))
    return counts


def _phrases(texts: Iterable[str], only: Set[str] | None = None) -> set[str]:
    found: set[str] = set()
    for text in texts:
        phrases = phrases_in(text).keys()
        found |= phrases if only is None else phrases & only
    return found


def _explained(shares: Mapping[Pair, float], often: Mapping[str, float], given: Sequence[_Given]) -> dict[Pair, float]:
    """For each phrase and value, the probability that the phrase makes a call give it."""
    only = {phrase for phrase, _ in shares}
    groups = list({(call.task, group[0][1]): group for call in given for group in _groups(call, shares, only)}.values())
    shares = dict(shares)
    for _ in range(ROUNDS):
        credit: dict[Pair, float] = defaultdict(float)
        for group in groups:
            any_of = 1.0 - math.prod(1.0 - shares[pair] for pair in group)
            for pair in group:
                credit[pair] += shares[pair] / any_of
        shares = {pair: credit[pair] / often[pair[0]] for pair in shares}
    return shares


def _groups(call: _Given, shares: Mapping[Pair, float], only: Set[str]) -> Iterator[list[Pair]]:
    """For each value that nobody had said, the phrases, `only` these, that may have caused it."""
    phrases = sorted(_phrases(call.texts, only))
    for value in call.values:
        if group := [(phrase, value) for phrase in phrases if (phrase, value) in shares]:
            yield group
