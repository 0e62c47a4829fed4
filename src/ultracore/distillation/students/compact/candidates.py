"""Candidate values: everything in a conversation that could be an argument, with its provenance.

Equal values are one candidate with several sources. What this file does not know: slots, and what
training has learned of paths (`knowledge`).
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.kinship import Kinship
from ultracore.distillation.students.compact.things import Held, Surroundings, surroundings_of
from ultracore.distillation.students.compact.transcript import Transcript, key_of, scalars

__all__ = ["STATIC_FEATURES", "Candidates", "packed"]

STATIC_FEATURES = 21
"""Columns of `Candidates.static_rows`."""

LEAST_NAMED = 4
"""Characters of a value that is recognised in a text wherever it stands."""

Floats = NDArray[np.float32]
Columns = list[Sequence[float]]
"""Each has a figure for each candidate."""


def packed(figures: Sequence[float], width: int) -> Floats:
    """Figures row after row as [rows, width] float32, read-only; numpy takes twice as long."""
    return np.frombuffer(struct.pack(f"{len(figures)}f", *figures), np.float32).reshape(-1, width)


class Candidates:
    """The candidate values of a state.

    Args:
        transcript: The conversation.

    Attributes:
        values: Distinct values, in order of appearance.
        keys: Their texts (`key_of`).
        index: Text -> place in `values`.
        paths_of: For each candidate, where it lies.
        turns_of: For each candidate, the turns in which it lies, in order.
    """

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.values: list[Any] = []
        self.index: dict[str, int] = {}
        self.paths_of: list[tuple[str, ...]] = []
        self.turns_of: list[tuple[int, ...]] = []
        self._lying: list[list[Surroundings]] = []
        for number, turn in enumerate(transcript.turns):
            self._add(number, turn.held)
        self.keys = list(self.index)
        self._likenesses: dict[tuple[int, int], tuple[float, float, float, float]] = {}

    def _add(self, number: int, found: Sequence[Held]) -> None:
        index, here = self.index, (number,)
        for key, value, paths, around in found:
            place = index.get(key)
            if place is None:
                index[key] = len(self.values)
                self.values.append(value)
                self.paths_of.append(paths)
                self.turns_of.append(here)
                self._lying.append([around])
            else:
                self.paths_of[place] += paths
                self.turns_of[place] += here
                if around is not self._lying[place][-1]:
                    self._lying[place].append(around)

    def __len__(self) -> int:
        return len(self.values)

    def around(self, place: int) -> Surroundings:
        """The objects that a candidate belongs to."""
        return self._around[place]

    def ids(self, place: int) -> frozenset[str]:
        """Identifiers beside a candidate, its own text left out."""
        return self.around(place).ids - {self.keys[place]}

    @cached_property
    def _around(self) -> list[Surroundings]:
        """Those of each candidate as one."""
        return [
            mine[0] if len(mine) == 1 else surroundings_of([pair for around in mine for pair in around.pairs])
            for mine in self._lying
        ]

    @cached_property
    def surroundings(self) -> list[Surroundings]:
        """The objects that candidates belong to; neighbours share theirs."""
        return list({id(around): around for around in self._around}.values())

    @cached_property
    def group(self) -> list[int]:
        """For each candidate, the place of its surroundings."""
        places = {id(around): place for place, around in enumerate(self.surroundings)}
        return [places[id(around)] for around in self._around]

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
    def kinship(self) -> Kinship:
        """What values have to do with each other."""
        return Kinship(self.transcript.turns)

    @cached_property
    def kinds(self) -> dict[tuple[str, ...], list[int]]:
        """Candidates that lie at the same paths."""
        found: dict[tuple[str, ...], list[int]] = {}
        for place, paths in enumerate(self.paths_of):
            found.setdefault(paths, []).append(place)
        return found

    @cached_property
    def paths(self) -> list[str]:
        """The distinct paths."""
        return list(dict.fromkeys(path for paths in self.kinds for path in paths))

    @cached_property
    def latest(self) -> NDArray[np.int32]:
        """For each candidate, the last turn in which it lies."""
        return np.array([turns[-1] for turns in self.turns_of], np.int32)

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
    def static_rows(self) -> Floats:
        """What can be said of each candidate whatever the slot; a last row of zeros is for what is no candidate.

        Returns:
            [candidates + 1, STATIC_FEATURES] float32.
        """
        rows = np.zeros((len(self) + 1, STATIC_FEATURES), np.float32)
        if len(self):
            own = rows[:-1]
            own[:, :6] = self._where()
            own[:, 6:12] = packed([figure for column in self._mentions() for figure in column], len(self)).T
            own[:, 12:18] = self._overlaps()[self.group]
            own[:, 18] = min(len(self.transcript.turns), 40) / 40
            own[:, 19] = [isinstance(value, str) for value in self.values]
            own[:, 20] = [min(len(key), 40) / 40 for key in self.keys]
        return rows

    @cached_property
    def named(self) -> list[int]:
        """The candidates of a tool result that the agent's last reply names."""
        reply = self.transcript.last_reply.lower()
        said = [place for place, key in enumerate(self.lowered) if len(key) >= LEAST_NAMED and key in reply]
        return [place for place in said if any(path.startswith("result:") for path in self.paths_of[place])]

    def _where(self) -> Floats:
        """Where a candidate lies, and who said it: [candidates, 6]."""
        n = len(self.transcript.turns)
        sizes = [len(paths) for paths in self.paths_of]
        since_last, since_first = [n - turns[-1] for turns in self.turns_of], [n - turns[0] for turns in self.turns_of]
        speakers = [_speakers(paths) for paths in self.paths_of]
        out = np.empty((len(self), 6), np.float32)
        out[:, :3] = np.log1p(np.array([sizes, since_last, since_first])).T
        out[:, 3] = [turns == 1 for turns in since_last]
        out[:, 4:] = np.log1p(np.array(speakers, np.float32))
        return out

    def _mentions(self) -> Columns:
        t = self.transcript
        reply, used = t.last_reply.lower(), t.used
        newest = {key_of(v) for call in t.calls[-1:] for _, v in scalars(call.arguments or {})}
        length = max(len(t.user_text.lower()), 1)
        return [
            [min(used.get(key, 0), 5) / 5 for key in self.keys],
            [key in newest for key in self.keys],
            [at >= 0 for at in self.said_at],
            [at / length if at >= 0 else -1.0 for at in self.said_at],
            self.said_last,
            [len(key) > 1 and key in reply for key in self.lowered],
        ]

    def _overlaps(self) -> Floats:
        """How well the words of objects fit the user's words and the last reply's: [surroundings, 6]."""
        t = self.transcript
        times = list(Counter(self.group).values())  # both are in order of appearance
        own = [around.words for around in self.surroundings]
        whole = [around.result_words for around in self.surroundings]
        asked = ((own, t.user_words), (own, t.reply_words), (whole, t.user_words))
        user, reply, result = [_shared(words, times, said) for words, said in asked]
        roots = [max(len(words), 1) ** 0.5 for words in own]
        figures = [
            [n / root for n, root in zip(user.said, roots, strict=True)],
            [n / root for n, root in zip(reply.said, roots, strict=True)],
            user.rare,
            reply.rare,
            result.rare,
            [min(len(words), 30) / 30 for words in own],
        ]
        return np.array(figures, np.float32).T


@lru_cache(maxsize=8192)
def _speakers(paths: tuple[str, ...]) -> tuple[int, int]:
    """At how many of the paths the user said a value, and at how many it was given to a call."""
    return sum([path.startswith("user:") for path in paths]), sum([path.startswith("call:") for path in paths])


class _Shared(NamedTuple):
    """Of each object: how many of its words were said, and their sum with rare ones counting more."""

    said: list[int]
    rare: list[float]


def _shared(objects: Sequence[frozenset[str]], times: Sequence[int], said: frozenset[str]) -> _Shared:
    """The words of objects, many of which are the very same; `times` is how many candidates lie in each.

    `fsum`, because a sum over a set would differ in its last bits from process to process.
    """
    found: dict[int, frozenset[str]] = {}
    weights: Counter[int] = Counter()
    for words, n in zip(objects, times, strict=True):
        if id(words) not in found:
            found[id(words)] = words & said
        weights[id(words)] += n
    common: Counter[str] = Counter()
    for mine, words in found.items():
        for word in words:
            common[word] += weights[mine]
    rare = {mine: math.fsum([1 / common[word] for word in words]) for mine, words in found.items()}
    return _Shared([len(found[id(words)]) for words in objects], [rare[id(words)] for words in objects])
