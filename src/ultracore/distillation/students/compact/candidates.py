"""Candidate values: everything in a conversation that could be an argument, with its provenance.

Equal values are one candidate with several sources. What this file does not know: slots, and what
training has learned of paths (`knowledge`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.transcript import Leaf, Transcript, key_of, scalars

__all__ = ["STATIC_FEATURES", "Candidates"]

STATIC_FEATURES = 21
"""Columns of `Candidates.static`."""

Floats = NDArray[np.float32]


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
    """

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.values: list[Any] = []
        self.index: dict[str, int] = {}
        gathered: list[dict[tuple[str, int], Leaf]] = []
        for number, turn in enumerate(transcript.turns):
            for leaf in turn.leaves:
                if leaf.value is None or leaf.value == "":
                    continue
                key = key_of(leaf.value)
                place = self.index.setdefault(key, len(self.values))
                if place == len(self.values):
                    self.values.append(leaf.value)
                    gathered.append({})
                gathered[place].setdefault((leaf.path, number), leaf)
        self.keys = list(self.index)
        counts = [len(sources) for sources in gathered]
        self.start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.paths = [path for sources in gathered for path, _ in sources]
        self.turns = np.array([number for sources in gathered for _, number in sources], np.int32)
        self._leaves = [leaf for sources in gathered for leaf in sources.values()]
        self._things: dict[int, frozenset[str]] = {}
        self._ids: dict[int, frozenset[str]] = {}
        self._attributes: dict[int, frozenset[str]] = {}
        self._turns: dict[int, frozenset[int]] = {}

    def __len__(self) -> int:
        return len(self.values)

    def sources(self, place: int) -> range:
        """Indices of a candidate's sources."""
        return range(int(self.start[place]), int(self.start[place + 1]))

    def leaf(self, source: int) -> Leaf:
        """The leaf behind a source."""
        return self._leaves[source]

    def words(self, place: int) -> frozenset[str]:
        """Words of the objects that a candidate belongs to."""
        if place not in self._things:
            self._things[place] = frozenset().union(*(self._leaves[s].thing.words for s in self.sources(place)))
        return self._things[place]

    def ids(self, place: int) -> frozenset[str]:
        """Identifiers beside a candidate, its own text left out."""
        if place not in self._ids:
            leaves = [self._leaves[source] for source in self.sources(place)]
            found = frozenset().union(*(leaf.thing.ids | leaf.root.ids for leaf in leaves))
            self._ids[place] = found - {self.keys[place]}
        return self._ids[place]

    def attributes(self, place: int) -> frozenset[str]:
        """`key=value` of the objects that a candidate belongs to; those of the whole result are marked."""
        if place not in self._attributes:
            leaves = [self._leaves[source] for source in self.sources(place)]
            own = {attribute for leaf in leaves for attribute in leaf.thing.attributes}
            whole = {"^" + attribute for leaf in leaves for attribute in leaf.root.attributes}
            self._attributes[place] = frozenset(own | whole)
        return self._attributes[place]

    def seen_in(self, place: int) -> frozenset[int]:
        """The turns in which a candidate lies."""
        if place not in self._turns:
            self._turns[place] = frozenset(self.turns[self.start[place] : self.start[place + 1]].tolist())
        return self._turns[place]

    @cached_property
    def unique_paths(self) -> tuple[list[str], NDArray[np.int32]]:
        """The distinct paths, and for each source the place of its path among them."""
        table: dict[str, int] = {}
        places = [table.setdefault(path, len(table)) for path in self.paths]
        return list(table), np.array(places, np.int32)

    def spread(self, by_path: Mapping[str, float]) -> Floats:
        """A figure for each of the distinct paths: [unique paths] float32, 0 where none is given."""
        out = np.zeros(len(self._path_index), np.float32)
        for path, figure in by_path.items():
            place = self._path_index.get(path)
            if place is not None:
                out[place] = figure
        return out

    @cached_property
    def _path_index(self) -> dict[str, int]:
        return {path: place for place, path in enumerate(self.unique_paths[0])}

    def largest(self, per_source: NDArray[Any]) -> NDArray[Any]:
        """The largest of its sources' figures, for each candidate."""
        return np.maximum.reduceat(per_source, self.start[:-1]) if len(self) else per_source[:0]

    def total(self, per_source: NDArray[Any]) -> NDArray[Any]:
        """The sum of its sources' figures, for each candidate."""
        return np.add.reduceat(per_source, self.start[:-1]) if len(self) else per_source[:0]

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
        lowered = [key.lower() for key in self.keys]
        said, last, reply = t.user_text.lower(), t.last_user_text.lower(), t.last_reply.lower()
        newest = {key_of(v) for call in t.calls[-1:] for _, v in scalars(call.arguments or {})}
        positions = np.array([said.find(key) if len(key) > 1 else -1 for key in lowered], np.float32)
        return [
            np.array([min(t.used.get(key, 0), 5) / 5 for key in self.keys]),
            np.array([key in newest for key in self.keys]),
            positions >= 0,
            np.where(positions >= 0, positions / max(len(said), 1), -1.0),
            np.array([len(key) > 1 and key in last for key in lowered]),
            np.array([len(key) > 1 and key in reply for key in lowered]),
        ]

    def _overlaps(self) -> list[NDArray[Any]]:
        """How well the words of a candidate's object fit the user's words and the last reply's.

        `fsum`, because a sum over a set would differ in its last bits from process to process.
        """
        t = self.transcript
        user, reply = t.user_words, t.reply_words
        common_user: Counter[str] = Counter()
        common_reply: Counter[str] = Counter()
        common_root: Counter[str] = Counter()
        per: list[tuple[frozenset[str], frozenset[str], frozenset[str], int]] = []
        for place in range(len(self)):
            words = self.words(place)
            root = frozenset().union(*(self._leaves[s].root.words for s in self.sources(place)))
            hits = words & user, words & reply, root & user
            common_user.update(hits[0])
            common_reply.update(hits[1])
            common_root.update(hits[2])
            per.append((*hits, len(words)))
        figures = np.array(
            [
                (
                    len(hit_user) / max(size, 1) ** 0.5,
                    len(hit_reply) / max(size, 1) ** 0.5,
                    math.fsum(1 / common_user[word] for word in hit_user),
                    math.fsum(1 / common_reply[word] for word in hit_reply),
                    math.fsum(1 / common_root[word] for word in hit_root),
                    min(size, 30) / 30,
                )
                for hit_user, hit_reply, hit_root, size in per
            ],
            np.float32,
        ).reshape(len(self), 6)
        return list(figures.T)
