"""What people say instead of a value: "philly" for `Philadelphia`, "scary" for `Horror`.

Learned from calls whose value nobody had said; whoever says the phrase to another tool means the same. What this file
does not know: how the phrases were found (`train.paraphrasing`), and which argument a value is for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec

from ultracore.distillation.students.compact.mentions import MAX_TURNS, Mention, around
from ultracore.distillation.students.compact.transcript import USERS, Transcript

__all__ = ["Meant", "Paraphrases", "phrases_in"]

LONGEST = 3
"""Words of a phrase."""

_WORD = re.compile(r"[^\W\d_]+|\d+")


class Meant(NamedTuple):
    """A value that was said in other words.

    Attributes:
        probability: That whoever says this gives the value (0..1), by all phrases of the newest turn that has any.
        mentions: Where its phrases stand.
    """

    probability: float
    mentions: list[Mention]


class Paraphrases(msgspec.Struct, frozen=True):
    """Phrases, and what they stand for.

    Attributes:
        values: Phrase -> text of a value -> probability that this phrase alone makes the call give it (0..1).
        names: Text of a value -> names of the arguments that it was given to.
        akin: Name of an argument -> names of those that take the same values, its own among them.
    """

    values: dict[str, dict[str, float]] = {}
    names: dict[str, list[str]] = {}
    akin: dict[str, list[str]] = {}

    def meant(self, transcript: Transcript) -> dict[str, Meant]:
        """Values that the user said in other words, by their text."""
        found: dict[str, list[tuple[Mention, float]]] = {}
        for text, asked, age in _turns(transcript):
            for phrase, start in phrases_in(text):
                for key, share in self.values.get(phrase, {}).items():
                    features, words = around(text, start, asked, "meant")
                    found.setdefault(key, []).append((Mention(key, "meant", age, features, words), share))
        return {key: _together(pairs) for key, pairs in found.items()}

    def suits(self, key: str, names: Collection[str]) -> bool:
        """Whether a value was given to an argument of one of these names, or to one that takes the same values."""
        known = {other for name in names for other in self.akin.get(name, (name,))}
        return not known.isdisjoint(self.names.get(key, ()))


def _together(pairs: list[tuple[Mention, float]]) -> Meant:
    newest = min(mention.age for mention, _ in pairs)
    missed = math.prod(1.0 - share for mention, share in pairs if mention.age == newest)
    return Meant(1.0 - missed, [mention for mention, _ in pairs])


def _turns(transcript: Transcript) -> Iterator[tuple[str, str, int]]:
    """The user's last turns, what each answers, and how many they took since."""
    turns = transcript.turns
    mine = [number for number, turn in enumerate(turns) if turn.role in USERS][-MAX_TURNS:]
    for age, number in zip(range(len(mine) - 1, -1, -1), mine, strict=True):
        before = turns[number - 1] if number else None
        yield turns[number].text, before.text if before is not None and before.role == "assistant" else "", age


@lru_cache(maxsize=8192)
def phrases_in(text: str) -> tuple[tuple[str, int], ...]:
    """Every phrase of up to `LONGEST` words in small letters, each with its offset.

    Example:
        >>> phrases_in("In LA")
        (('in', 0), ('in la', 0), ('la', 3))
    """
    words = [(match.group().lower(), match.start()) for match in _WORD.finditer(text[:20000])]
    return tuple(
        (" ".join(word for word, _ in words[place : place + length]), start)
        for place, (_, start) in enumerate(words)
        for length in range(1, min(LONGEST, len(words) - place) + 1)
    )
