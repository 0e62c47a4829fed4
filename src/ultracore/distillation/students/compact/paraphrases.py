"""What people say instead of a value: "philly" for `Philadelphia`, "scary" for `Horror`.

Learned from calls whose value nobody had said; whoever says the phrase to another tool means the same. What this file
does not know: how the phrases were found (`train.paraphrasing`), and which argument a value is for (`gazetteer`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import msgspec

from ultracore.distillation.students.compact.mentions import MAX_TURNS, Mention, around
from ultracore.distillation.students.compact.transcript import USERS, Transcript, Turn

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

    @property
    def told(self) -> tuple[float, float]:
        """Its probability, and how lately it was said (0..1]."""
        return self.probability, 1.0 / (1.0 + min(mention.age for mention in self.mentions))


class Paraphrases(msgspec.Struct, frozen=True, dict=True):
    """Phrases, and what they stand for.

    Attributes:
        values: Phrase -> text of a value -> probability that this phrase alone makes the call give it (0..1).
    """

    values: dict[str, dict[str, float]] = {}

    def meant(self, transcript: Transcript) -> dict[str, Meant]:
        """Values that the user said in other words, by their text."""
        found: dict[str, list[tuple[Mention, float]]] = {}
        for turn, asked, age in _turns(transcript):
            if self._beginnings.isdisjoint(turn.words):
                continue
            places = phrases_in(turn.text, self._beginnings)
            for phrase in sorted(self.values.keys() & places):
                features, words = around(turn.text, places[phrase], asked, "meant")
                for key, share in self.values[phrase].items():
                    found.setdefault(key, []).append((Mention(key, "meant", age, features, words), share))
        return {key: _together(pairs) for key, pairs in found.items()}

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        """First words of phrases: in most turns there is none."""
        return frozenset(phrase.partition(" ")[0] for phrase in self.values)


def _together(pairs: list[tuple[Mention, float]]) -> Meant:
    newest = min(mention.age for mention, _ in pairs)
    missed = math.prod(1.0 - share for mention, share in pairs if mention.age == newest)
    return Meant(1.0 - missed, [mention for mention, _ in pairs])


def _turns(transcript: Transcript) -> Iterator[tuple[Turn, str, int]]:
    """The user's last turns, what each answers, and how many they took since."""
    turns = transcript.turns
    mine = [number for number, turn in enumerate(turns) if turn.role in USERS][-MAX_TURNS:]
    for age, number in zip(range(len(mine) - 1, -1, -1), mine, strict=True):
        before = turns[number - 1] if number else None
        yield turns[number], before.text if before is not None and before.role == "assistant" else "", age


def phrases_in(text: str, beginnings: frozenset[str] | None = None) -> dict[str, int]:
    """Every phrase of up to `LONGEST` words in small letters, each with its first offset.

    Args:
        text: What was said.
        beginnings: Words that a phrase may begin with; `None` for any.

    Example:
        >>> phrases_in("In LA")
        {'la': 3, 'in': 0, 'in la': 0}
    """
    words = [(match.group().lower(), match.start()) for match in _WORD.finditer(text[:20000])]
    return {
        " ".join([word for word, _ in words[place : place + length]]): words[place][1]
        for place in range(len(words) - 1, -1, -1)
        if beginnings is None or words[place][0] in beginnings
        for length in range(1, min(LONGEST, len(words) - place) + 1)
    }
