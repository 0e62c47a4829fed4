"""Records of a message: values that stand together, in one object of a result, in one call, in one sentence.

Worked out when first asked for, and kept with the message. What this file does not know: which record is meant, and
for what.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ultracore.distillation.students.compact.text import Span

__all__ = ["Record", "Records"]

MAX_RECORDS = 400
"""Of one message; what a longer list goes on with stands alone."""

_SENTENCE = re.compile(r"\n|(?<=[.!?;]) ")


class Record(NamedTuple):
    """Values that stand together.

    Attributes:
        keys: Their texts.
        named: Name and text of each; none of what somebody said.
        follows: Place of the record that comes before it in the same list or text, -1 where none does.
    """

    keys: frozenset[str]
    named: frozenset[tuple[str, str]] = frozenset()
    follows: int = -1


class Records:
    """The records of one message.

    Args:
        objects: What it holds that may have objects in it: its JSON, the arguments of its calls.
        text: What it says.
        spans: What its text says that may be a value.
        key_of: The text by which a value is recognised.
    """

    def __init__(self, objects: Sequence[Any], text: str, spans: Sequence[Span], key_of: Callable[[Any], str]) -> None:
        self._objects, self._text, self._spans, self._key_of = objects, text, spans, key_of

    @cached_property
    def all(self) -> list[Record]:
        """The records, each after the one that it follows."""
        found = _sentences(self._text, self._spans, self._key_of) if self._spans else []
        for value in self._objects:
            _walk(value, -1, found, self._key_of)
        return found

    @cached_property
    def of(self) -> Mapping[str, list[int]]:
        """The text of a value -> places of the records that hold it."""
        found: dict[str, list[int]] = {}
        for place, record in enumerate(self.all):
            for key in record.keys:
                found.setdefault(key, []).append(place)
        return found

    @cached_property
    def after(self) -> Mapping[int, int]:
        """Place of a record -> place of the one that follows it."""
        return {record.follows: place for place, record in enumerate(self.all) if record.follows >= 0}

    def neighbours(self, place: int) -> list[Record]:
        """The list that a record is part of."""
        while self.all[place].follows >= 0:
            place = self.all[place].follows
        found = [self.all[place]]
        while place in self.after:
            place = self.after[place]
            found.append(self.all[place])
        return found


def _walk(value: Any, follows: int, found: list[Record], key_of: Callable[[Any], str]) -> int:
    """The objects of a JSON value; returns the place of the outermost one, -1 where it is none."""
    if len(found) >= MAX_RECORDS or not isinstance(value, dict | list):
        return -1
    if isinstance(value, list):
        before = -1
        for item in value:
            before = _walk(item, before, found, key_of)
        return -1
    place = len(found)
    named = [(name, key_of(v)) for name, v in value.items() if v is not None and not isinstance(v, dict | list)]
    found.append(Record(frozenset([key for _, key in named]), frozenset(named), follows))
    for item in value.values():
        _walk(item, -1, found, key_of)
    return place


def _sentences(text: str, spans: Sequence[Span], key_of: Callable[[Any], str]) -> list[Record]:
    ends = [match.start() for match in _SENTENCE.finditer(text)]
    said: dict[int, set[str]] = {}
    for span in spans:
        said.setdefault(bisect_left(ends, span.start), set()).add(key_of(span.value))
    return [Record(frozenset(said[line]), follows=number - 1) for number, line in enumerate(sorted(said))]
