"""Counting which values were given to which arguments.

What this file does not know: what is made of it (`students.compact.gazetteer`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ultracore.distillation.students.compact.gazetteer import Gazetteer, hash_of
from ultracore.distillation.students.compact.knowledge import Knowledge, gold_values
from ultracore.distillation.students.compact.topics import truth_of
from ultracore.distillation.students.compact.transcript import key_of
from ultracore.distillation.train.examples import Example

__all__ = ["fit_gazetteer", "given_in"]

SHARED_VALUES, SHARED_SHARE = 3, 0.2
"""Values that two arguments have in common, at least, and their share of those of the one with fewer."""


def fit_gazetteer(examples: Sequence[Example], knowledge: Knowledge) -> Gazetteer:
    """Count over calls whose arguments are known."""
    takers: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        for name, key in given_in(example, knowledge):
            takers[hash_of(key)].add(name)
    names = {value: sorted(takers[value]) for value in sorted(takers)}
    return Gazetteer(names, _akin(names))


def given_in(example: Example, knowledge: Knowledge) -> Iterator[tuple[str, str]]:
    """Name of the argument, and text, of every text that a call gives and that is no prose, yes or no."""
    tools = example.transcript.tools
    for call in example.decision.calls[:1]:
        if call.arguments is None or call.name not in tools:
            continue
        for slot in knowledge.slots_of(tools[call.name]):
            if slot.kind in ("scalar", "list") and slot.key not in knowledge.free_text:
                for value in gold_values(slot, call.arguments):
                    if isinstance(value, str) and value and not truth_of(value):
                        yield slot.name, key_of(value)


def _akin(names: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Names of arguments that take the same values."""
    values: Counter[str] = Counter()
    shared: Counter[tuple[str, str]] = Counter()
    for takers in names.values():
        values.update(takers)
        shared.update((a, b) for a in takers for b in takers)
    akin: dict[str, list[str]] = defaultdict(list)
    for (a, b), n in sorted(shared.items()):
        if a == b or n >= max(SHARED_VALUES, SHARED_SHARE * min(values[a], values[b])):
            akin[a].append(b)
    return dict(akin)
