"""Candidate values: everything in a conversation that could be an argument, with its provenance.

Equal values are one candidate with several sources. What this file does not know: slots, and what
training has learned of paths (`knowledge`).
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.transcript import Leaf, Thing, Transcript, key_of, scalars

__all__ = ["STATIC_FEATURES", "Candidates", "packed"]

STATIC_FEATURES = 21
"""Columns of `Candidates.static`."""

REMEMBERED = 8192
"""Surroundings; a large result has some hundred."""

LEAST_NAMED = 4
"""Characters of a value that is recognised in a text wherever it stands."""

Floats = NDArray[np.float32]


def packed(figures: Sequence[float], width: int) -> Floats:
    """Figures row after row as [rows, width] float32, read-only; numpy takes twice as long."""
    return np.frombuffer(struct.pack(f"{len(figures)}f", *figures), np.float32).reshape(-1, width)


class Surroundings:
    """The objects in which a value lies, as one.

    Args:
        pairs: Each object, and the whole result that it is part of.
    """

    def __init__(self, pairs: Sequence[tuple[Thing, Thing]]) -> None:
        self._pairs = pairs

    @cached_property
    def words(self) -> frozenset[str]:
        """Words of the objects."""
        return frozenset().union(*(thing.words for thing, _ in self._pairs))

    @cached_property
    def result_words(self) -> frozenset[str]:
        """Words of the whole results."""
        return frozenset().union(*(root.words for _, root in self._pairs))

    @cached_property
    def ids(self) -> frozenset[str]:
        """Identifiers in the objects and in the results."""
        return frozenset().union(*(thing.ids | root.ids for thing, root in self._pairs))

    @cached_property
    def attributes(self) -> frozenset[str]:
        """`key=value` of the objects; those of the whole results are marked."""
        own = {attribute for thing, _ in self._pairs for attribute in thing.attributes}
        whole = {"^" + attribute for _, root in self._pairs for attribute in root.attributes}
        return frozenset(own | whole)


def _surroundings(gathered: Sequence[Sequence[Leaf]]) -> tuple[list[Surroundings], list[int]]:
    """The distinct surroundings of the candidates, told apart by identity, and whose is which."""
    table: dict[tuple[int, ...], int] = {}
    found: list[Surroundings] = []
    group: list[int] = []
    for leaves in gathered:
        if len(leaves) == 1:
            key: tuple[int, ...] = id(leaves[0].thing), id(leaves[0].root)
        else:
            distinct = dict.fromkeys([(id(leaf.thing), id(leaf.root)) for leaf in leaves])
            key = tuple([identity for pair in distinct for identity in pair])
        place = table.setdefault(key, len(found))
        if place == len(found):
            found.append(_around(key, leaves))
        group.append(place)
    return found, group


def _around(key: tuple[int, ...], leaves: Sequence[Leaf]) -> Surroundings:
    """Surroundings by the identities of their objects, which they hold: the next turn of a dialogue has them again."""
    found = _remembered.get(key)
    if found is None:
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        pairs = {(id(leaf.thing), id(leaf.root)): (leaf.thing, leaf.root) for leaf in leaves}
        found = _remembered[key] = Surroundings(tuple(pairs.values()))
    return found


_remembered: dict[tuple[int, ...], Surroundings] = {}


class Candidates:
    """The candidate values of a state.

    Args:
        transcript: The conversation.

    Attributes:
        values: Distinct values, in order of appearance.
        keys: Their texts (`key_of`).
        index: Text -> place in `values`.
        start: First source of each candidate in the source arrays.
        paths: Path of each source.
        turns: Turn of each source.
        surroundings: The objects that candidates belong to; neighbours share theirs.
        group: For each candidate, the place of its surroundings.
    """

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.values: list[Any] = []
        self.index: dict[str, int] = {}
        gathered: list[list[Leaf]] = []
        turns: list[list[int]] = []
        for number, turn in enumerate(transcript.turns):
            for key, leaf in zip(turn.keys, turn.leaves, strict=True):
                place = self.index.setdefault(key, len(gathered))
                if place == len(gathered):
                    self.values.append(leaf.value)
                    gathered.append([])
                    turns.append([])
                gathered[place].append(leaf)
                turns[place].append(number)
        self.keys = list(self.index)
        self.start = np.concatenate([[0], np.cumsum([len(leaves) for leaves in gathered])]).astype(np.int64)
        self.paths = [leaf.path for leaves in gathered for leaf in leaves]
        self.turns = np.array([number for numbers in turns for number in numbers], np.int32)
        self.surroundings, self.group = _surroundings(gathered)
        self._bounds = self.start.tolist()
        self._turns = turns
        self._likenesses: dict[tuple[int, int], tuple[float, float, float, float]] = {}

    def __len__(self) -> int:
        return len(self.values)

    def sources(self, place: int) -> range:
        """Indices of a candidate's sources."""
        return range(self._bounds[place], self._bounds[place + 1])

    def around(self, place: int) -> Surroundings:
        """The objects that a candidate belongs to."""
        return self.surroundings[self.group[place]]

    def ids(self, place: int) -> frozenset[str]:
        """Identifiers beside a candidate, its own text left out."""
        return self.around(place).ids - {self.keys[place]}

    @cached_property
    def seen_in(self) -> list[frozenset[int]]:
        """For each candidate, the turns in which it lies."""
        return [frozenset(numbers) for numbers in self._turns]

    def likeness(self, group: int, chosen: int) -> tuple[float, float, float, float]:
        """How the words of objects resemble those of the ones chosen, and what the user said of the rest."""
        found = self._likenesses.get((group, chosen))
        if found is None:
            own, words, user = (
                self.surroundings[group].words,
                self.surroundings[chosen].words,
                self.transcript.user_words,
            )
            fresh = own - words
            said = len(fresh & user)
            found = min(said, 5) / 5, min(len(fresh) - said, 20) / 20, len(own & words) / (1 + len(words)), own == words
            self._likenesses[group, chosen] = found
        return found

    def answers(self, keys: Collection[str]) -> frozenset[int]:
        """Turns that are results of calls which were given one of these values, by their text."""
        return frozenset(number for number, given in self._answers if not given.isdisjoint(keys))

    @cached_property
    def _answers(self) -> list[tuple[int, frozenset[str]]]:
        turns = enumerate(zip(self.transcript.turns, self.transcript.turns[1:], strict=False), start=1)
        return [
            (number, frozenset(key_of(v) for call in asked.calls for _, v in scalars(call.arguments or {})))
            for number, (asked, result) in turns
            if result.role == "tool" and asked.calls
        ]

    @cached_property
    def unique_paths(self) -> tuple[list[str], NDArray[np.int32]]:
        """The distinct paths, and for each source the place of its path among them."""
        table: dict[str, int] = {}
        places = [table.setdefault(path, len(table)) for path in self.paths]
        return list(table), np.array(places, np.int32)

    @cached_property
    def paths_of(self) -> list[list[str]]:
        """For each candidate, the paths of its sources."""
        return [self.paths[first:end] for first, end in pairwise(self._bounds)]

    @cached_property
    def lying(self) -> dict[str, list[int]]:
        """For each path, the candidates that lie there."""
        found: dict[str, list[int]] = {}
        for place in range(len(self)):
            for path in self.paths_of[place]:
                found.setdefault(path, []).append(place)
        return found

    @cached_property
    def static_rows(self) -> Floats:
        """`static` with a last row of zeros, for what is no candidate: [candidates + 1, STATIC_FEATURES] float32."""
        return np.vstack([self.static, np.zeros((1, STATIC_FEATURES), np.float32)])

    def largest(self, per_source: NDArray[Any]) -> NDArray[Any]:
        """The largest of its sources' figures, for each candidate."""
        return np.maximum.reduceat(per_source, self.start[:-1]) if len(self) else per_source[:0]

    def total(self, per_source: NDArray[Any]) -> NDArray[Any]:
        """The sum of its sources' figures, for each candidate."""
        return np.add.reduceat(per_source, self.start[:-1]) if len(self) else per_source[:0]

    @cached_property
    def said_at(self) -> list[int]:
        """Where the user said each candidate first, -1 where they did not; of single characters it says nothing."""
        said = self.transcript.user_text.lower()
        return [said.find(key) if len(key) > 1 else -1 for key in self.lowered]

    @cached_property
    def said_last(self) -> list[bool]:
        """Whether the user said each candidate last; likewise."""
        last = self.transcript.last_user_text.lower()
        return [len(key) > 1 and key in last for key in self.lowered]

    @cached_property
    def lowered(self) -> list[str]:
        """`keys` in small letters."""
        return [key.lower() for key in self.keys]

    @cached_property
    def static(self) -> Floats:
        """What can be said of each candidate whatever the slot: [candidates, STATIC_FEATURES] float32."""
        if not len(self):
            return np.zeros((0, STATIC_FEATURES), np.float32)
        t = self.transcript
        columns = [*self._places(), *self._mentions(), *self._overlaps()]
        n = len(t.turns)
        columns += [
            np.full(len(self), min(n, 40) / 40),
            np.array([isinstance(value, str) for value in self.values]),
            np.array([min(len(key), 40) / 40 for key in self.keys]),
        ]
        return np.stack(columns, 1).astype(np.float32)

    @cached_property
    def named(self) -> list[int]:
        """The candidates of a tool result that the agent's last reply names."""
        reply = self.transcript.last_reply.lower()
        said = [place for place, key in enumerate(self.lowered) if len(key) >= LEAST_NAMED and key in reply]
        return [place for place in said if any(path.startswith("result:") for path in self.paths_of[place])]

    def _places(self) -> list[NDArray[Any]]:
        n = len(self.transcript.turns)
        last = self.largest(self.turns)
        first = -self.largest(-self.turns)
        unique, place = self.unique_paths
        spoken = np.array([path.startswith("user:") for path in unique])[place]
        called = np.array([path.startswith("call:") for path in unique])[place]
        return [
            np.log1p(np.diff(self.start)),
            np.log1p(n - last),
            np.log1p(n - first),
            last == n - 1,
            np.log1p(self.total(spoken.astype(np.float32))),
            np.log1p(self.total(called.astype(np.float32))),
        ]

    def _mentions(self) -> list[NDArray[Any]]:
        t = self.transcript
        reply = t.last_reply.lower()
        newest = {key_of(v) for call in t.calls[-1:] for _, v in scalars(call.arguments or {})}
        positions = np.array(self.said_at, np.float32)
        return [
            np.array([min(t.used.get(key, 0), 5) / 5 for key in self.keys]),
            np.array([key in newest for key in self.keys]),
            positions >= 0,
            np.where(positions >= 0, positions / max(len(t.user_text.lower()), 1), -1.0),
            np.array(self.said_last),
            np.array([len(key) > 1 and key in reply for key in self.lowered]),
        ]

    def _overlaps(self) -> list[NDArray[Any]]:
        """How well the words of a candidate's object fit the user's words and the last reply's.

        `fsum`, because a sum over a set would differ in its last bits from process to process.
        """
        t = self.transcript
        user, reply = t.user_words, t.reply_words
        times = Counter(self.group)
        common: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
        hits = [(around.words & user, around.words & reply, around.result_words & user) for around in self.surroundings]
        for place, found in enumerate(hits):
            for counts, words in zip(common, found, strict=True):
                for word in words:
                    counts[word] += times[place]
        figures = np.array(
            [
                (
                    len(found[0]) / max(len(around.words), 1) ** 0.5,
                    len(found[1]) / max(len(around.words), 1) ** 0.5,
                    *(
                        math.fsum(1 / counts[word] for word in words)
                        for counts, words in zip(common, found, strict=True)
                    ),
                    min(len(around.words), 30) / 30,
                )
                for around, found in zip(self.surroundings, hits, strict=True)
            ],
            np.float32,
        )[self.group]
        return list(figures.T)
