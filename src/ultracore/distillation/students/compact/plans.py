"""What a slot wants, and what training knows of it: worked out once, for all conversations.

What this file does not know: conversations.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ultracore.distillation.students.compact.knowledge import Knowledge, likewise
from ultracore.distillation.students.compact.matching import name_words
from ultracore.distillation.students.compact.slots import ABSENT, Slot, coerce
from ultracore.distillation.students.compact.sources import Alternative
from ultracore.distillation.students.compact.spelling import begins_with_capitals, has_capitals_throughout
from ultracore.distillation.students.compact.text import shape_of, trigram_similarity, words_of
from ultracore.distillation.students.compact.topics import STEM, stem
from ultracore.distillation.students.compact.transcript import key_of

__all__ = ["Plan", "plan_of"]

MIN_TASKS = 2
"""A value of this many tasks may be a constant of the slot."""

MIN_AFFIX = 3
"""Times that a prefix or suffix must have been seen."""

NAME_SIMILARITY = 0.5
"""A path whose last step is at least this similar to the argument's name is a source without evidence."""

SIMILAR = np.float32(0.02)
"""The prior of such a path, times the similarity."""

REMEMBERED = 8192
"""Slots of one student: tools come with requests, and nobody says how many."""


class Source(NamedTuple):
    """What a path says of the values that lie there.

    Attributes:
        prior: As `SlotKnowledge.priors`; 0 without evidence.
        likeness: Of its last step to the argument's name (0..1).
        worth: The more that either says.
    """

    prior: float
    likeness: float
    worth: float


class Plan:
    """A slot, ready to be filled.

    Args:
        slot: The slot.
        knowledge: What training knows.

    Attributes:
        slot: As given.
        counts: Those of the slot, or of the slots that are most like it.
        priors: `SlotKnowledge.priors` of these.
        strangeness: How little the slot is known (0..1).
        is_named: Whether its values are names, which begin with a capital.
        is_titled: Whether each word of them does.
        affixes: Prefix, shape of what was said, suffix.
        values: Members of the enum, then constants.
        is_known: Whether the slot itself was seen, not only others like it.
        may_be_absent: Whether the argument may be left out.
        name: Words of the argument's name.
        description: Its description, in small letters.
        described: Words of the description that the name has not.
        topic: Stems of the name's words, with their weights; see `topics`.
        explained: Those that only the description has.
        sources: What paths say (`source`), as far as it was asked.
        habits: What is known of values (`habit`), likewise.
    """

    def __init__(self, slot: Slot, knowledge: Knowledge) -> None:
        self.slot = slot
        self.counts = knowledge.of(slot)
        self.priors = self.counts.priors()
        self.strangeness = knowledge.strangeness(slot) / 3
        self.is_named = begins_with_capitals(self.counts.shapes)
        self.is_titled = self.is_named and has_capitals_throughout(self.counts.shapes)
        # sorted, as a saved model holds them: candidates come in this order
        self.affixes = [affix.split("\t") for affix, times in sorted(self.counts.affixes.items()) if times >= MIN_AFFIX]
        self._members: dict[str, Any] = {}
        for member in slot.allowed:
            self._members.setdefault(key_of(member).casefold(), member)
        self._is_text = slot.schema.get("type") == "string" and not slot.allowed and slot.kind != "whole"
        often = [value for _, (value, _, tasks) in sorted(self.counts.constants.items()) if tasks >= MIN_TASKS]
        constants = [self.typed(value) for value in often]
        values = [*slot.allowed, *(value for value in constants if value is not ABSENT)]
        self.values = [Alternative(-1, value, key_of(value)) for value in values]
        self.is_known = slot.key in knowledge.slots
        seldom = not self.is_known or self.counts.present < self.counts.calls
        self.may_be_absent = not slot.required and (slot.repeats or seldom)
        self.name = frozenset(name_words(slot.name))
        self._name_size = max(len(self.name), 1)
        self.topic = _topic(self.name, knowledge)
        self.description = str(slot.schema.get("description") or "").lower()
        self.described = frozenset(words_of(self.description)) - self.name
        described = _topic(self.described, knowledge)
        self.explained = {word: weight for word, weight in described.items() if word not in self.topic}
        self.sources: dict[str, Source] = {}
        self._evidence: dict[frozenset[str], tuple[float, float, float]] = {}
        self.habits: dict[str, tuple[float, float, float, float]] = {}

    def habit(self, key: str) -> tuple[float, float, float, float]:
        """Of a value's text: its share, its tasks, the share of its shape, whether the description has it."""
        found = self.habits.get(key)
        if found is None:
            if len(self.habits) >= REMEMBERED:
                self.habits.clear()
            n = self.counts.values + 1.0
            _, times, tasks = self.counts.constants.get(key, (None, 0, 0))
            shapes = self.counts.shapes.get(shape_of(key), 0) / n if key else 0.0
            described = float(len(key) > 2 and key.lower() in self.description)
            found = self.habits[key] = times / n, min(tasks, 5) / 5, shapes, described
        return found

    def typed(self, value: Any) -> Any:
        """The value as the slot's schema and enum hold it, else `ABSENT`."""
        if self._is_text and type(value) is str:
            return value
        if isinstance(value, dict | list) != (self.slot.kind == "whole"):
            return ABSENT
        plain = coerce(value, self.slot.schema)
        if plain is not ABSENT and self.slot.allowed:
            return self._members.get(key_of(plain).casefold(), ABSENT)  # letter case aside
        return plain

    def source(self, path: str) -> Source:
        """What a path says."""
        found = self.sources.get(path)
        if found is None:
            if len(self.sources) >= REMEMBERED:
                self.sources.clear()
            prior, likeness = self.priors.get(path, 0.0), _likeness(path, self.slot.name)
            if not prior and not self.is_known:
                prior = self.priors.get(likewise(path, self.slot.name), 0.0)
            named = float(SIMILAR * np.float32(likeness)) if likeness >= NAME_SIMILARITY else 0.0
            found = self.sources[path] = Source(prior, likeness, max(prior, named))
        return found

    def beside(self, words: frozenset[str]) -> tuple[float, float]:
        """How many of the name's words, and of the description's, stand beside a value."""
        return len(words & self.name) / self._name_size, min(len(words & self.described), 4) / 4

    def evidence(self, attributes: frozenset[str]) -> tuple[float, float, float]:
        """Smallest, largest and mean log share of right values whose object had these attributes."""
        found = self._evidence.get(attributes)
        if found is None:
            if len(self._evidence) >= REMEMBERED:
                self._evidence.clear()
            found = self._evidence[attributes] = self._weigh(attributes)
        return found

    def _weigh(self, attributes: Collection[str]) -> tuple[float, float, float]:
        total = self.counts.values + 1.0
        logs = [math.log((self.counts.attributes.get(a, 0) + 0.5) / total) for a in attributes]
        # fsum does not depend on the order, and that of a set differs from process to process
        return (min(logs), max(logs), math.fsum(logs) / len(logs)) if logs else (0.0, 0.0, 0.0)


def _topic(words: Collection[str], knowledge: Knowledge) -> dict[str, float]:
    """Stems of the longer words, rarer ones weighing more; of all words where none is long."""
    chosen = [word for word in sorted(words) if len(word) >= STEM] or sorted(words)
    return {stem(word): knowledge.rarity(word) for word in chosen}


@lru_cache(maxsize=65536)
def _likeness(path: str, name: str) -> float:
    last = path.rsplit("/", 1)[-1]
    if last in ("[]", "*", "*key"):
        steps = [step for step in path.split("/")[1:] if step not in ("[]", "*", "*key")]
        last = steps[-1] if steps else last
    return 0.0 if ":" in last else trigram_similarity(last, name)


_plans: WeakKeyDictionary[Knowledge, dict[int, Plan]] = WeakKeyDictionary()


def plan_of(slot: Slot, knowledge: Knowledge) -> Plan:
    """The plan of a slot, made once; it holds the slot, whose identity is hence its own for good."""
    mine = _plans.setdefault(knowledge, {})
    found = mine.get(id(slot))
    if found is None:
        if len(mine) >= REMEMBERED:
            mine.clear()
        found = mine[id(slot)] = Plan(slot, knowledge)
    return found
