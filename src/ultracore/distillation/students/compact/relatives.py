"""Which arguments, and which tools, seen in training mean the same as a new one? Names and descriptions say so.

`City where the event is happening` and `City where the salon is located` are filled from the same places, with values
that look alike. What this file does not know: what is known of the relatives (`knowledge`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

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

    def near(self, thing: About) -> list[Relative]:
        """What is most like it, nearest first; nothing where all are far."""
        bag = self._bag(thing)
        found = [
            Relative(key, math.fsum(amount * other.get(word, 0.0) for word, amount in bag.items()))
            for key, kind, other in self._known
            if kind == thing[2]
        ]
        found.sort(key=lambda relative: (-relative.likeness, relative.key))
        return [r for r in found[:MOST] if r.likeness >= max(self._least, CLOSE * found[0].likeness)]

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
