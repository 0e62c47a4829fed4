"""Which arguments, and which tools, seen in training mean the same as a new one? Names and descriptions say so.

`City where the event is happening` and `City where the salon is located` are filled from the same places, with values
that look alike. What this file does not know: what is known of the relatives (`knowledge`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ultracore.distillation.students.compact.matching import name_words
from ultracore.distillation.students.compact.slots import Slot
from ultracore.distillation.students.compact.text import words_of
from ultracore.distillation.tools import Tool

__all__ = ["LEAST_OF_SLOTS", "LEAST_OF_TOOLS", "About", "Relative", "Relatives", "about", "about_tool"]

About = tuple[list[str], list[str], str]
"""Words of a name, words of a description, and a kind: only things of one kind are compared."""

COMMON = 0.4
"""Weight of a word that all have, against that of one that none has: phrases recur where meanings do."""

LEAST_OF_SLOTS, LEAST_OF_TOOLS = 0.55, 0.3
"""Likeness (cosine, 0..1) from which on two are relatives. With a part of the services of SGD's training file held out
(563 calls of these, 52 tools learned), arguments from .3 on lost what tools from .3 on won: a name
of one thing is not the name of another."""

CLOSE = 0.8
"""Of the nearest one's likeness: others as near are heard as well."""

ROUNDING = 1e-9
"""By which two ways of adding up may differ."""

MOST = 6

DESCRIBED = 0.7
"""Weight of a word of the description against one of the name."""


class Relative(NamedTuple):
    """The key of something known, and how much alike it is (0..1)."""

    key: str
    likeness: float


def about(slot: Slot) -> About:
    """What the schema says of a slot."""
    declared = slot.schema.get("type")
    kind = f"{slot.kind}:{declared if isinstance(declared, str) else ''}:{'enum' if slot.allowed else ''}"
    return sorted(set(name_words(slot.name))), sorted(set(words_of(str(slot.schema.get("description") or "")))), kind


def about_tool(tool: Tool) -> About:
    """What a tool says of itself."""
    return sorted(set(name_words(tool.name))), sorted(set(words_of(tool.description))), "tool"


class _Index:
    """Where each word stands in what is known of one kind: with 3,376 tools one look took milliseconds without it."""

    def __init__(self, known: Sequence[tuple[str, str, Mapping[str, float]]], kind: str) -> None:
        self._places = [place for place, (_, other, _) in enumerate(known) if other == kind]
        found: dict[str, list[tuple[int, float]]] = {}
        for row, place in enumerate(self._places):
            for word, amount in known[place][2].items():
                found.setdefault(word, []).append((row, amount))
        self._words = {
            word: (np.array([row for row, _ in pairs], np.int64), np.array([amount for _, amount in pairs]))
            for word, pairs in found.items()
        }

    def about(self, bag: Mapping[str, float], least: float) -> list[int]:
        """Places of those that may be relatives, a few too many rather than one too few."""
        likeness = np.zeros(len(self._places))
        for word, amount in bag.items():
            if word in self._words:
                rows, amounts = self._words[word]
                likeness[rows] += amount * amounts
        least = max(least, CLOSE * float(likeness.max())) - ROUNDING
        return [self._places[row] for row in np.flatnonzero(likeness >= least).tolist()]


class Relatives:
    """Compares something new with what is known.

    Args:
        known: Key -> what is said of it.
        least: Likeness from which on two are relatives.

    Example:
        >>> known = {"fly/town": (["town"], ["where", "to", "fly"], "s"), "fly/day": (["day"], ["of", "flight"], "s")}
        >>> [relative.key for relative in Relatives(known, 0.5).near((["town"], ["to", "sleep", "in"], "s"))]
        ['fly/town']
    """

    def __init__(self, known: Mapping[str, About], least: float) -> None:
        self._least = least
        self._size = len(known)
        self._times = Counter(word for name, described, _ in known.values() for word in {*name, *described})
        self._known = [(key, things[2], self._bag(things)) for key, things in sorted(known.items())]
        self._index = {kind: _Index(self._known, kind) for kind in {kind for _, kind, _ in self._known}}

    def near(self, thing: About, fit: Callable[[str], float] = lambda key: 1.0) -> list[Relative]:
        """What is most like it, nearest first; nothing where all are far.

        Args:
            thing: What is new.
            fit: How well something known would do otherwise (0..1), by its key: of those that are as much alike, the
                ones that do best are taken.
        """
        bag = self._bag(thing)
        index = self._index.get(thing[2])
        if index is None:
            return []
        found = [
            Relative(key, math.fsum(amount * other.get(word, 0.0) for word, amount in bag.items()))
            for key, _, other in map(self._known.__getitem__, index.about(bag, self._least))
        ]
        worth = {r.key: r.likeness * fit(r.key) for r in found if r.likeness >= self._least}
        best = max(worth.values(), default=0.0)
        near = [r for r in found if worth.get(r.key, -1.0) >= CLOSE * best]
        return sorted(near, key=lambda r: (-worth[r.key], r.key))[:MOST]

    def rarity(self, word: str) -> float:
        """Of a word among what is known; 1 for one that nothing has."""
        share = math.log((2.0 + self._size) / (1.0 + self._times[word])) / math.log(2.0 + self._size)
        return COMMON + (1.0 - COMMON) * share

    def _bag(self, thing: About) -> dict[str, float]:
        """Its words, of length 1."""
        name, described, _ = thing
        bag = {word: DESCRIBED * self.rarity(word) for word in described} | {w: self.rarity(w) for w in name}
        length = math.sqrt(math.fsum(amount * amount for amount in bag.values())) or 1.0
        return {word: amount / length for word, amount in bag.items()}
