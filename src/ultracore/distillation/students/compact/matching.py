"""How well a tool's name and description fit what was said: the one thing known of a tool never called.

Shares of their words, and the cosine of two bags of words and of their beginnings (a stem in any language that bends
its ends), rare words counting more. What this file does not know: what calls of the tool looked like.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ultracore.distillation.students.compact.lru import LruCache
from ultracore.distillation.students.compact.per_tool import PerTool
from ultracore.distillation.students.compact.text import words_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool

__all__ = ["OVERLAPS", "Match", "Matcher", "name_words"]

OVERLAPS = 9
"""Figures of `Match.overlaps`."""

STEM = 5
"""Characters of a beginning; it counts half as much as the word."""

MOST_RARE = 6.0
"""Weight of a word that training never saw."""

ARGUMENT_WEIGHT = 0.5
"""Of the words that describe arguments, against those of the tool itself."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

MAX_LISTS = 256
"""Lists of tools remembered."""

MAX_BYTES = 32 * 1024 * 1024
"""Of matches remembered, about: what one holds is each word of the conversation's people, in up to four sets."""

WORD_BYTES, FIGURES_BYTES = 250, 400
"""Of a match, for each word and for each tool."""

Bag = dict[str, float]

Index = dict[str, list[tuple[str, float]]]
"""Word -> the tools that have it, with its weight in each."""


def name_words(name: str) -> list[str]:
    """The words of a name, whether joined by underscores or by capitals.

    Example:
        >>> name_words("getOrder_details")
        ['get', 'order', 'details']
    """
    return words_of(_CAMEL.sub(" ", name).replace("_", " "))


class Match:
    """How the tools offered fit what was said; the same one until somebody says more.

    Args:
        transcript: The conversation.
        similarities: See `Matcher.similarities`.
    """

    def __init__(self, transcript: Transcript, similarities: dict[str, float]) -> None:
        self.similarities = similarities
        self.tools = transcript.tools
        self._user, self._last = transcript.user_words, transcript.last_user_words
        self._reply, self._letters = transcript.reply_words, transcript.last_user_letters
        self._all = self._user | self._last | self._reply
        self._overlaps: dict[str, tuple[float, ...]] = {}

    @property
    def size(self) -> int:
        """Bytes, about, once every tool was compared."""
        return WORD_BYTES * len(self._all) + FIGURES_BYTES * len(self.tools)

    def overlaps(self, name: str) -> tuple[float, ...]:
        """How much of a tool's name and description was said, and by whom; what it requires, and whether it may harm.

        Returns:
            OVERLAPS figures.
        """
        found = self._overlaps.get(name)
        if found is None:
            found = self._overlaps[name] = self._compare(self.tools[name])
        return found

    def _compare(self, tool: Tool) -> tuple[float, ...]:
        about = _about(tool)
        if about.every.isdisjoint(self._all):
            return (*[0.0] * (OVERLAPS - len(about.always)), *about.always)
        words, size = about.name, about.size
        last, reply = about.described & self._last, about.described & self._reply
        return (
            sum([w in self._user for w in words]) / size,
            sum([w in self._last for w in words]) / size,
            sum([w in self._reply for w in words]) / size,
            len(last) / about.root,
            len(reply) / about.root,
            self._share(last.union(w for w in words if w in self._last)),
            *about.always,
        )

    def _share(self, shared: frozenset[str]) -> float:
        """Share of the user's last words that name or describe a tool, rare ones counting more."""
        return sum([min(len(w), 10) for w in shared]) / self._letters if shared else 0.0


class _About(NamedTuple):
    """What a tool says of itself.

    Attributes:
        name: Words of its name.
        described: Those that only its description has.
        every: All of them.
        size: How many words the name has, at least 1.
        root: Of the number of the others.
        always: Figures that do not depend on what was said.
    """

    name: tuple[str, ...]
    described: frozenset[str]
    every: frozenset[str]
    size: int
    root: float
    always: tuple[float, float, float]


def _read(tool: Tool) -> _About:
    words = tuple(name_words(tool.name))
    described = frozenset(words_of(tool.description)) - set(words)
    always = min(len(tool.required), 6) / 6, float(bool(tool.destructive)), 1.0
    root = math.sqrt(len(described) + 1)
    return _About(words, described, described.union(words), max(len(words), 1), root, always)


_about = PerTool(_read)


class Matcher:
    """Compares tools with what was said.

    Args:
        rarity: Inverse document frequency of words.
    """

    def __init__(self, rarity: dict[str, float]) -> None:
        self._rarity = rarity
        self._described = PerTool(self._describe)
        self._indices: dict[tuple[int, ...], tuple[list[Tool], Index | None]] = {}
        self._matches = LruCache[tuple[tuple[int, ...], tuple[str, ...], str], Match](MAX_BYTES)

    def match(self, transcript: Transcript) -> Match:
        """How the tools offered fit what was said."""
        key = tuple(map(id, transcript.tools.values())), tuple(transcript.user_texts), transcript.last_reply
        found = self._matches.get(key)
        if found is None:
            found = Match(transcript, self.similarities(transcript))  # holds the tools: their identities stay their own
            self._matches.keep(key, found, found.size + sum(map(len, key[1])) + len(key[2]))
        return found

    def similarities(self, transcript: Transcript) -> dict[str, float]:
        """Cosine (0..1) of each offered tool with the user's last words."""
        said = self._bag((word, 1.0) for word in sorted(transcript.last_user_words))
        if not said:
            return dict.fromkeys(transcript.tools, 0.0)
        index = self._index(transcript.tools)
        if index is None:
            return {name: _product(said, self._described(tool)) for name, tool in transcript.tools.items()}
        found = dict.fromkeys(transcript.tools, 0.0)
        for word, amount in said.items():
            for name, weight in index.get(word, ()):
                found[name] += amount * weight
        return found

    def _index(self, tools: Mapping[str, Tool]) -> Index | None:
        """Which of the tools have a word, for a list that comes again; `None` the first time."""
        key = tuple(map(id, tools.values()))
        if key not in self._indices:
            if len(self._indices) >= MAX_LISTS:
                self._indices.clear()
            self._indices[key] = list(tools.values()), None  # holds the tools: their identities stay their own
            return None
        held, index = self._indices[key]
        if index is None:
            index = {}
            for name, tool in tools.items():
                for word, weight in self._described(tool).items():
                    index.setdefault(word, []).append((name, weight))
            self._indices[key] = held, index
        return index

    def _describe(self, tool: Tool) -> Bag:
        words = [(word, 1.0) for word in [*name_words(tool.name), *words_of(tool.description)]]
        for name, schema in tool.properties.items():
            about = [*name_words(name), *words_of(str(schema.get("description") or ""))]
            words += [(word, ARGUMENT_WEIGHT) for word in about]
        return self._bag(words)

    def _bag(self, words: Iterable[tuple[str, float]]) -> Bag:
        """A unit vector."""
        bag: Bag = {}
        for word, weight in words:
            amount = weight * self._rarity.get(word, MOST_RARE)
            bag[word] = max(bag.get(word, 0.0), amount)
            stem = word[:STEM] + "-"
            bag[stem] = max(bag.get(stem, 0.0), 0.5 * amount)
        length = math.sqrt(sum(amount * amount for amount in bag.values())) or 1.0
        return {word: amount / length for word, amount in bag.items()}


def _product(left: Bag, right: Bag) -> float:
    return sum([left[word] * right[word] for word in left if word in right])
