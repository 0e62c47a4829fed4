"""Are the values at hand that a tool's required arguments want, and are they unused?

All slots of all tools offered are answered at once, as matrices: one by one they took a third of a
decision. What this file does not know: which tool to call, and which value to take.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.knowledge import Knowledge
from ultracore.distillation.students.compact.per_tool import REMEMBERED
from ultracore.distillation.students.compact.slots import Slot
from ultracore.distillation.tools import Tool

__all__ = ["AVAILABILITY_FEATURES", "availability"]

Floats = NDArray[np.float32]

AVAILABILITY_FEATURES = 8

LIKELY = 0.03
"""Prior from which on a candidate counts as a value of the slot."""


def availability(tools: Sequence[Tool], pool: Candidates, knowledge: Knowledge) -> Floats:
    """What is at hand for the scarcest required argument of each tool.

    Args:
        tools: The tools.
        pool: The candidate values of the state.
        knowledge: What training knows about slots.

    Returns:
        [tools, AVAILABILITY_FEATURES] float32, zeros for a tool that wants nothing of the conversation.
    """
    out = np.zeros((len(tools), AVAILABILITY_FEATURES), np.float32)
    known = _Known.of(knowledge)
    wanted = [known.wanted(tool, knowledge) for tool in tools]
    slots = [slot for group in wanted for slot in group]
    if not slots:
        return out
    figures = _figures(slots, pool, known)
    start = 0
    for row, group in enumerate(wanted):
        if group:
            mine = figures[start : start + len(group)]
            out[row] = mine[int(mine[:, 1].argmin())]
            start += len(group)
    return out


def _figures(slots: Sequence[_Wanted], pool: Candidates, known: _Known) -> NDArray[np.float64]:
    out = np.zeros((len(slots), AVAILABILITY_FEATURES))
    out[:, -1] = [slot.was_called for slot in slots]
    if not len(pool):
        return out
    priors = known.priors(slots, pool.kinds)
    candidates = _of_likely_kinds(priors, pool)
    best = priors[:, candidates.kind]
    unused = np.asarray(best > LIKELY)
    given = np.zeros(len(slots))
    likely = unused.sum(1)
    for row, slot in enumerate(slots):
        before = pool.transcript.given.get(slot.argument)
        if before:
            given[row] = len(before)
            unused[row, [candidates.column[key] for key in before if key in candidates.column]] = False
    latest = np.where(unused, pool.latest[candidates.places], -1).max(1, initial=-1)
    at, last = pool.said_at, pool.said_last
    said = [at[place] >= 0 for place in candidates.places], [last[place] for place in candidates.places]
    mentioned = unused @ np.array(said, np.float32).T
    out[:, 0] = np.minimum(likely, 30) / 30
    out[:, 1] = np.minimum(unused.sum(1), 30) / 30
    out[:, 2:4] = np.minimum(mentioned, 10) / 10
    out[:, 4] = np.minimum(given, 9) / 9
    out[:, 5] = np.where(latest >= 0, np.log1p(len(pool.transcript.turns) - latest), 5.0)
    out[:, 6] = np.where(unused, best, 0.0).max(1, initial=0.0)
    seen = priors.any(axis=1)
    out[seen, -1] = 1.0
    out[~seen, :-1] = 0.0
    return out


class _Likely(NamedTuple):
    """The candidates that are a likely value of any slot.

    Attributes:
        places: Of the candidates.
        kind: For each of them, its kind (`Candidates.kinds`).
        column: Text -> which of them it is.
    """

    places: list[int]
    kind: list[int]
    column: dict[str, int]


def _of_likely_kinds(priors: Floats, pool: Candidates) -> _Likely:
    kinds = list(pool.kinds.values())
    pairs = [(place, kind) for kind in np.flatnonzero((priors > LIKELY).any(axis=0)).tolist() for place in kinds[kind]]
    places, kind = [place for place, _ in pairs], [kind for _, kind in pairs]
    return _Likely(places, kind, {pool.keys[place]: column for column, place in enumerate(places)})


class _Wanted(NamedTuple):
    """A slot that needs a value of the conversation.

    Attributes:
        row: Its row of the priors, -1 where it has none.
        argument: Tool and path.
        was_called: Whether calls of its tool, or of one like it, were seen.
    """

    row: int
    argument: tuple[str, tuple[str, ...]]
    was_called: bool


class _Known:
    """`SlotKnowledge.priors` of every slot as one matrix, and the slots that tools want filled.

    The last row and column stand for the unknown.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        self._slots = {key: row for row, key in enumerate(knowledge.slots)}
        found = [counts.priors() for counts in knowledge.slots.values()]
        self._paths = {path: column for column, path in enumerate(dict.fromkeys(path for p in found for path in p))}
        self._matrix = np.zeros((len(found) + 1, len(self._paths) + 1), np.float32)
        for row, priors in enumerate(found):
            for path, prior in priors.items():
                self._matrix[row, self._paths[path]] = prior
        self._wanted: dict[int, tuple[Tool, list[_Wanted]]] = {}
        self._of_kind: dict[tuple[str, ...], Floats] = {}

    @classmethod
    def of(cls, knowledge: Knowledge) -> _Known:
        """That of this knowledge, made once."""
        if knowledge not in _known:
            _known[knowledge] = cls(knowledge)
        return _known[knowledge]

    def wanted(self, tool: Tool, knowledge: Knowledge) -> list[_Wanted]:
        """The slots of a tool that need a value of the conversation."""
        found = self._wanted.get(id(tool))
        if found is None:
            if len(self._wanted) >= REMEMBERED:
                self._wanted.clear()
            slots = [
                _Wanted(self._row(slot, knowledge), (slot.tool, slot.path), bool(knowledge.of(slot).calls))
                for slot in knowledge.slots_of(tool)
                if slot.required and not slot.allowed and slot.kind != "whole" and slot.key not in knowledge.free_text
            ]
            found = self._wanted[id(tool)] = tool, slots  # holds the tool: its identity stays its own
        return found[1]

    def _row(self, slot: Slot, knowledge: Knowledge) -> int:
        """Of the slot or of its nearest relative."""
        return next((self._slots[key] for key, _ in knowledge.relatives(slot)), -1)

    def priors(self, slots: Sequence[_Wanted], kinds: Iterable[tuple[str, ...]]) -> Floats:
        """The highest prior of any of the paths of each kind: [slots, kinds] float32."""
        return np.array([self._highest(paths) for paths in kinds]).T[[slot.row for slot in slots]]

    def _highest(self, paths: tuple[str, ...]) -> Floats:
        """For each slot."""
        found = self._of_kind.get(paths)
        if found is None:
            if len(self._of_kind) >= REMEMBERED:
                self._of_kind.clear()
            columns = [self._paths.get(path, -1) for path in paths]
            found = self._of_kind[paths] = self._matrix[:, columns].max(axis=1)
        return found


_known: WeakKeyDictionary[Knowledge, _Known] = WeakKeyDictionary()
