"""Finding what people say instead of values, from calls that give a value which nobody had said.

Each phrase of what the user said may have caused the value, alone or with others: a noisy-or, fitted by expectation
maximisation, so that of all that was said in such calls the phrase that explains most keeps the credit. What this file
does not know: what is made of phrases (`students.compact.paraphrases`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ultracore.distillation.students.compact.knowledge import Knowledge, gold_values
from ultracore.distillation.students.compact.paraphrases import Paraphrases, phrases_in
from ultracore.distillation.students.compact.text import words_of
from ultracore.distillation.students.compact.topics import truth_of
from ultracore.distillation.students.compact.transcript import key_of
from ultracore.distillation.train.examples import Example

__all__ = ["fit_paraphrases"]

ROUNDS = 8
LEAST_TASKS = 2
"""In which a phrase was said and a value given."""

LEAST_SHARE = 0.15
"""Probability from which on a phrase is kept."""

DOUBT = 2.0
"""Tasks in which a phrase is taken to have been said for nothing, beside those that were seen."""

SHARED_VALUES, SHARED_SHARE = 3, 0.2
"""Values that two arguments have in common, at least, and their share of those of the one with fewer."""

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
    takers: dict[str, set[str]] = defaultdict(set)
    given = [_given(example, knowledge, takers) for example in examples]
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
    meant = {value for found in values.values() for value in found}
    names = {value: sorted(takers[value]) for value in sorted(meant)}
    return Paraphrases(dict(values), names, _akin(takers)) if values else None


def _given(example: Example, knowledge: Knowledge, takers: dict[str, set[str]]) -> _Given:
    """Also notes which arguments take which values."""
    decision, transcript = example.decision, example.transcript
    texts = transcript.user_texts
    phrases = frozenset(phrase for text in texts for phrase, _ in phrases_in(text))
    said = f" {' | '.join(' '.join(words_of(text)) for text in texts)} "
    unsaid: list[str] = []
    for call in decision.calls[:1]:
        if call.arguments is None or call.name not in transcript.tools:
            continue
        for slot in knowledge.slots_of(transcript.tools[call.name]):
            for value in gold_values(slot, call.arguments) if slot.kind in ("scalar", "list") else ():
                key = key_of(value)
                if isinstance(value, str) and value and not truth_of(key) and slot.key not in knowledge.free_text:
                    takers[key].add(slot.name)
                    if key not in example.pool.index and f" {' '.join(words_of(key))} " not in said:
                        unsaid.append(key)
    return _Given(decision.task, phrases, unsaid)


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


def _akin(takers: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Names of arguments that take the same values."""
    values: Counter[str] = Counter()
    shared: Counter[Pair] = Counter()
    for names in takers.values():
        values.update(names)
        shared.update((a, b) for a in names for b in names)
    akin: dict[str, list[str]] = defaultdict(list)
    for (a, b), n in sorted(shared.items()):
        if a == b or n >= max(SHARED_VALUES, SHARED_SHARE * min(values[a], values[b])):
            akin[a].append(b)
    return dict(akin)
