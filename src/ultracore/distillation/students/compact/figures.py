"""What is said of each alternative for its slot: where such values lie, how often they were given, who said it.

Most alternatives are known values that nobody said; what is said of those hardly depends on the conversation, and is
worked out once. What this file does not know: which alternatives there are (`tables`), and which is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.candidates import Candidates, packed
from ultracore.distillation.students.compact.plans import Plan
from ultracore.distillation.students.compact.slots import ABSENT
from ultracore.distillation.students.compact.sources import SILENT, Alternative, Echo, Sources, forms_of

__all__ = ["SLOT_FIGURES", "TAKEN", "Gathered", "slot_figures"]

Floats = NDArray[np.float32]

SLOT_FIGURES = 33
TAKEN = 21
"""Column that says how many values a list has already; -1 for what is no list."""

_OF_STATE = np.array([4, 5, 20, 22, 23, 24, 26])
"""Columns of a silent value that the conversation decides: both ranks, size, share and its logarithm, whether there
are shares, and whether anything is likely."""


class Gathered(NamedTuple):
    """The alternatives of a slot, and what the user said that may be its value: as said, as written, how likely."""

    plan: Plan
    alternatives: list[Alternative]
    heard: Sequence[tuple[str, str, float]]


class _Own(NamedTuple):
    """The figures of one slot's alternatives.

    Attributes:
        known: Figures of the slot's known values as if nobody had said them: [values, SLOT_FIGURES] float32.
        order: For each alternative, its row there, or -1 where it is described by itself.
        silent: The figures `_OF_STATE` of each of the former, after one another.
        flat: All figures of each of the latter, after one another.
    """

    known: Floats
    order: list[int]
    silent: list[float]
    flat: list[float]


def slot_figures(gathered: Sequence[Gathered], sources: Sources) -> Floats:
    """Describe the alternatives of several slots, one slot after the other.

    Returns:
        [alternatives, SLOT_FIGURES] float32.
    """
    owns = [_own(found, sources) for found in gathered]
    described = packed([figure for own in owns for figure in own.flat], SLOT_FIGURES)
    index: list[int] = []
    alone, begin = iter(range(len(described))), len(described)
    for own in owns:
        index += [begin + row if row >= 0 else next(alone) for row in own.order]
        begin += len(own.known)
    rows: Floats = np.concatenate([described, *[own.known for own in owns]])[index]
    silent = [place for place, row in enumerate(index) if row >= len(described)]
    if silent:
        figures = packed([figure for own in owns for figure in own.silent], len(_OF_STATE))
        rows[np.array(silent)[:, None], _OF_STATE] = figures
    return rows


def _own(found: Gathered, sources: Sources) -> _Own:
    plan, alternatives, heard = found
    slot, pool = plan.slot, sources.pool
    likely: dict[str, float] = {}
    for _, written, probability in heard:
        likely.setdefault(written, probability)
    used = pool.transcript.given.get((slot.tool, slot.path), {})
    known = _known_of(plan)
    silent = known.silent(sources.text, sources.words, likely.keys() | used.keys())
    order, of_state, flat = _describe(
        plan, alternatives, pool, sources.shares(slot), likely, used, sources.echo, silent
    )
    return _Own(known.rows, order, of_state, flat)


class _Known:
    """The known values of a slot, described once."""

    def __init__(self, plan: Plan) -> None:
        values = list({known.key: known for known in reversed(plan.values)}.values())
        self._rows = [(known.key, row, forms_of(known.key)) for row, known in enumerate(values)]
        self.rows = packed(_describe(plan, values, None, None, {}, {}, lambda key: SILENT, {})[2], SLOT_FIGURES)

    def silent(self, text: str, words: frozenset[str], noticed: set[str]) -> dict[str, int]:
        """The values that nobody said or noticed, each with its row."""
        return {
            key: row
            for key, row, forms in self._rows
            if forms.text not in text and key not in noticed and forms.any_form.isdisjoint(words)
        }


_known: WeakKeyDictionary[Plan, _Known] = WeakKeyDictionary()


def _known_of(plan: Plan) -> _Known:
    found = _known.get(plan)
    if found is None:
        found = _known[plan] = _Known(plan)
    return found


def _describe(
    plan: Plan,
    alternatives: Sequence[Alternative],
    pool: Candidates | None,
    shares: Mapping[str, float] | None,
    likely: Mapping[str, float],
    used: Mapping[str, int],
    echo: Callable[[str], Echo],
    silent: Mapping[str, int],
) -> tuple[list[int], list[float], list[float]]:
    """`order`, `silent` and `flat` of `_Own`; a `pool` is needed where an alternative has a place in it."""
    counts, n = plan.counts, plan.counts.values + 1.0
    ranks: dict[str, int] = {}
    unused_ranks: dict[str, int] = {}
    size = math.log1p(len(alternatives))
    absent_is_likely = 1.0 - max(likely.values(), default=0.0)
    habits, by_slot = plan.habits, (bool(plan.slot.allowed), counts.presence, plan.slot.required)
    has_shares, any_likely = shares is not None, bool(likely)
    taken = 0.0 if plan.slot.repeats else -1.0
    order: list[int] = []
    of_state: list[float] = []
    flat: list[float] = []
    for place, value, key in alternatives:
        share = shares.get(key, 0.0) if shares is not None else 0.0
        log_share = math.log(share + 1e-3) if has_shares else 0.0
        path, prior, similarity, weighed, changed = "", 0.0, 0.0, (0.0, 0.0, 0.0), False
        if place >= 0 and pool is not None:
            path, prior, similarity = _provenance(plan, pool.paths_of[place])
            weighed = plan.evidence(pool.around(place).attributes)
            changed = pool.keys[place] != key and value is not ABSENT
        rank, unused_rank, times_used = ranks.get(path, 0), unused_ranks.get(path, 0), used.get(key, 0)
        ranks[path] = rank + 1
        unused_ranks[path] = unused_rank + (not times_used)
        ranked = rank / 12 if rank < 12 else 1.0, unused_rank / 12 if unused_rank < 12 and not times_used else 1.0
        row = silent.get(key, -1) if place < 0 else -1
        order.append(row)
        if row >= 0:
            of_state += (*ranked, size, share, log_share, has_shares, any_likely)
            continue
        times, tasks, shapes, described = habits.get(key) or plan.habit(key)
        last, user, reply, at, beside = echo(key)
        flat += (
            prior,
            counts.gold.get(path, 0) / n,
            similarity,
            times_used / 5 if times_used < 5 else 1.0,
            *ranked,
            *weighed,
            times,
            tasks,
            shapes,
            not key,
            place < 0 and bool(key),
            *by_slot,
            last,
            user,
            reply,
            size,
            taken,
            share,
            log_share,
            has_shares,
            likely.get(key, 0.0) if key else absent_is_likely,
            any_likely,
            changed,
            *(plan.beside(beside) if beside else (0.0, 0.0)),
            described,
            at,
            plan.strangeness,
        )
    return order, of_state, flat


def _provenance(plan: Plan, paths: Sequence[str]) -> tuple[str, float, float]:
    """The path that speaks best for a candidate, its prior, and the best likeness of a path to the name."""
    best, prior, similarity = "", 0.0, 0.0
    known, source = plan.sources, plan.source
    for path in paths:
        likelihood, likeness, _ = known.get(path) or source(path)
        if likelihood > prior or not best:
            best, prior = path, likelihood
        if likeness > similarity:
            similarity = likeness
    return best, prior, similarity
