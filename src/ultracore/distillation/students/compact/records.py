"""Records of a message: values that stand together, in one object of a result, in one call, in one sentence.

Worked out when first asked for, and kept with the message. What this file does not know: which record is meant, and
for what.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from ultracore.distillation.students.compact.text import Span

__all__ = ["Record", "Records"]

MAX_RECORDS = 400
"""Objects of one message, and likewise sentences; what a longer list goes on with stands alone."""

MAX_VALUES = 4000
"""Of all objects of one message."""

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
        objects = _Objects(_sentences(self._text, self._spans, self._key_of) if self._spans else [], self._key_of)
        for value in self._objects:
            objects.add(value)
        return objects.records

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


class _Objects:
    """The records of objects, behind those there are already, until there is no room."""

    def __init__(self, records: list[Record], key_of: Callable[[Any], str]) -> None:
        self.records, self._key_of = records, key_of
        self._most, self._values = len(records) + MAX_RECORDS, MAX_VALUES

    def add(self, value: Any, follows: int = -1) -> int:
        """The objects of a JSON value; returns the place of the outermost one, -1 where it is none."""
        if not isinstance(value, dict | list) or self._is_full:
            return -1
        if isinstance(value, list):
            before = -1
            for item in value:
                before = self.add(item, before)
                if self._is_full:
                    break
            return -1
        plain = ((name, v) for name, v in value.items() if v is not None and not isinstance(v, dict | list))
        named = [(name, self._key_of(v)) for name, v in islice(plain, self._values)]
        self._values -= len(named)
        place = len(self.records)
        self.records.append(Record(frozenset([key for _, key in named]), frozenset(named), follows))
        for item in value.values():
            if self._is_full:
                break
            self.add(item)
        return place

    @property
    def _is_full(self) -> bool:
        return len(self.records) >= self._most or self._values <= 0


def _sentences(text: str, spans: Sequence[Span], key_of: Callable[[Any], str]) -> list[Record]:
    ends = [match.start() for match in _SENTENCE.finditer(text, 0, max(span.start for span in spans))]
    said: dict[int, set[str]] = {}
    for span in spans:
        said.setdefault(bisect_left(ends, span.start), set()).add(key_of(span.value))
    lines = sorted(said)[:MAX_RECORDS]
    return [Record(frozenset(said[line]), follows=number - 1) for number, line in enumerate(lines)]
