"""What stands around a value where the user said it: does it say which argument the value is for?

"Pick it up on the 7th and keep it until the 9th": the words beside a value, and the question that it answers,
tell the date of one argument from that of another, in whichever turn it was said. What this file does not
know: how the weights were found (`train.mentioning`), and which values there are besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.sparse import Linear, Vector
from ultracore.distillation.students.compact.text import words_of
from ultracore.distillation.students.compact.transcript import USERS, Transcript, key_of

__all__ = ["MAX_TURNS", "Heard", "Mention", "Mentions", "around", "mentions_of"]

BEFORE, BEHIND, ASKED = 5, 7, 16
"""Words before a value, from its start on, and of the reply that it answers."""

MAX_TURNS = 12
"""Of a long conversation, so many of the user's last turns are read."""


class Mention(NamedTuple):
    """A value that the user said, once.

    Attributes:
        key: Its text, as `key_of` has it.
        kind: Its shape of writing.
        age: Turns that the user took since.
        around: Features of what stands around it.
        words: The words that stand around it.
    """

    key: str
    kind: str
    age: int
    around: tuple[str, ...]
    words: frozenset[str]


class Heard(NamedTuple):
    """What all mentions of a value say together, for one argument.

    Attributes:
        newest: Log odds of its newest mention.
        best: The highest log odds.
        age: Turns that the user took since the newest.
        words: The words around any of them.
    """

    newest: float
    best: float
    age: int
    words: frozenset[str]


class Mentions:
    """Linear models of mentions.

    Args:
        features: Names of the features, in the order of the weights.
        model: For each argument name, whether a mention is its value.
    """

    def __init__(self, features: list[str], model: Linear) -> None:
        self.features = features
        self.model = model
        self._rows = {name: row for row, name in enumerate(features)}
        self._columns = {name: column for column, name in enumerate(model.classes)}
        self._odds: dict[tuple[str, ...], NDArray[np.float32]] = {}

    def knows(self, name: str) -> bool:
        """Whether an argument of this name was learned."""
        return name in self._columns

    def encode(self, around: tuple[str, ...]) -> Vector:
        """A sparse row of the known features."""
        columns = [self._rows[name] for name in around if name in self._rows]
        return Vector(np.array(columns, np.int32), np.ones(len(columns), np.float32))

    def heard(self, name: str, found: list[Mention], odds: list[NDArray[np.float32]]) -> Heard:
        """What the mentions of one value, of which these are the `odds`, say about an argument."""
        column = self._columns.get(name)
        if len(found) == 1:
            alone = 0.0 if column is None else float(odds[0][column])
            return Heard(alone, alone, found[0].age, found[0].words)
        mine = [0.0 if column is None else float(each[column]) for each in odds]
        age = min(mention.age for mention in found)
        newest = max(o for mention, o in zip(found, mine, strict=True) if mention.age == age)
        return Heard(newest, max(mine), age, frozenset().union(*(mention.words for mention in found)))

    def odds(self, mention: Mention) -> NDArray[np.float32]:
        """Log odds that a mention is the value of each argument."""
        odds = self._odds.get(mention.around)
        if odds is None:
            if len(self._odds) > 4096:
                self._odds.clear()
            odds = self._odds[mention.around] = self.model.logits(self.encode(mention.around))
        return odds


_read: WeakKeyDictionary[Transcript, dict[str, list[Mention]]] = WeakKeyDictionary()
"""Training asks of each conversation several times."""


def mentions_of(transcript: Transcript) -> dict[str, list[Mention]]:
    """Every value that the user said, by its text; older turns first."""
    found = _read.get(transcript)
    if found is None:
        found = _read[transcript] = {}
        for mention in _mentions(transcript):
            found.setdefault(mention.key, []).append(mention)
    return found


def _mentions(transcript: Transcript) -> Iterator[Mention]:
    turns = transcript.turns
    mine = [number for number, turn in enumerate(turns) if turn.role in USERS][-MAX_TURNS:]
    for age, number in zip(range(len(mine) - 1, -1, -1), mine, strict=True):
        before = turns[number - 1] if number else None
        asked = before.text if before is not None and before.role == "assistant" else ""
        for span in turns[number].spans:
            features, words = around(turns[number].text, span.start, asked, span.kind)
            yield Mention(key_of(span.value), span.kind, age, features, words)


@lru_cache(maxsize=16384)
def around(text: str, start: int, asked: str, kind: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Features of what stands around a place of a text, which answers something, and the words there."""
    left = _folded(text[max(0, start - 60) : start])[-BEFORE:]
    right = _folded(text[start : start + 80])[:BEHIND]
    question = _folded(asked[-200:])[-ASKED:]
    features = {f"k={kind}", *(f"{i}<{word}" for i, word in enumerate(reversed(left[-3:]))), *(f"<{w}" for w in left)}
    features |= {f">{word}" for word in right} | {f"?{word}" for word in question}
    features |= {f"{kind}|{word}" for word in left[-1:]}
    if not left:
        features |= {f"^?{word}" for word in question}
    return tuple(sorted(features)), frozenset([*left, *right, *question])


def _folded(text: str) -> list[str]:
    return ["0" if word.isdigit() else word for word in words_of(text)]
