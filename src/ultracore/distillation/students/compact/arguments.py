"""One slot, one question: its alternatives, described to the ranker in the light of what was chosen before.

Leaving an optional argument out, and ending a list, are alternatives like any other. What this file
does not know: which tool to call, and in which order slots are filled (`filling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.candidates import Candidates, packed
from ultracore.distillation.students.compact.kinship import KINSHIP
from ultracore.distillation.students.compact.plans import plan_of
from ultracore.distillation.students.compact.slots import ABSENT, Slot
from ultracore.distillation.students.compact.sources import Sources, Table
from ultracore.distillation.students.compact.tables import (
    ARGUMENT_FEATURES,
    ARGUMENT_FEATURES_BEFORE_MENTIONS,
    KINSHIP_AT,
    LINKS_AT,
    TAKEN_AT,
    lay_out,
    without,
)
from ultracore.distillation.students.compact.transcript import key_of, scalars

__all__ = ["ARGUMENT_FEATURES", "ARGUMENT_FEATURES_BEFORE_MENTIONS", "Question", "question_for"]

Floats = NDArray[np.float32]

_CHOSEN = 3


class Question(NamedTuple):
    """One choice: the candidates of a slot and what is known of each.

    Attributes:
        values: The alternatives, typed by the schema; `ABSENT` may be among them.
        keys: Their texts, "" for `ABSENT`.
        rows: [alternatives, ARGUMENT_FEATURES] float32.
    """

    values: list[Any]
    keys: list[str]
    rows: Floats

    def without(self, place: int) -> Question:
        """The same choice without one alternative."""
        rows = np.delete(self.rows, place, axis=0)
        kept = [number for number in range(len(self.keys)) if number != place]
        return Question([self.values[n] for n in kept], [self.keys[n] for n in kept], rows)


def question_for(
    slot: Slot, sources: Sources, before: Sequence[tuple[Slot, Any]], taken: Sequence[Any] = ()
) -> Question:
    """Gather and describe the alternatives for a slot.

    Args:
        slot: What is to be filled.
        sources: Where its value may come from.
        before: Slots filled so far with their values.
        taken: Values chosen so far for this list slot.
    """
    if slot.key not in sources.tables:
        lay_out((slot,), sources)
    table = sources.tables[slot.key]
    gone = {key_of(value) for value in taken}
    may_end = bool(taken) or not slot.required if slot.repeats else plan_of(slot, sources.knowledge).may_be_absent
    table = without(table, gone, may_end=may_end)
    rows = table.rows.copy()
    if slot.repeats:
        rows[:, TAKEN_AT] = len(taken) / 4
    if len(rows) and (before or taken):
        _link(rows, slot, sources.pool, table, before, taken)
    return Question([value for _, value, _ in table.alternatives], table.keys, rows)


def _link(
    rows: Floats,
    slot: Slot,
    pool: Candidates,
    table: Table,
    before: Sequence[tuple[Slot, Any]],
    taken: Sequence[Any],
) -> None:
    """Write down how a candidate belongs with the values chosen already."""
    given = [value for _, value in before if value is not ABSENT]
    chosen = dict.fromkeys(key_of(v) for value in given for _, v in scalars(value))  # in order: the last counts
    took = [key_of(value) for value in taken]
    if slot.is_listed and (chosen or took):
        keys = [None if value is ABSENT else key for _, value, key in table.alternatives]
        figures = pool.kinship.figures(keys, [*chosen, *took], took, leads=slot.repeats)
        rows[:, KINSHIP_AT] = packed(figures, KINSHIP)
    chosen |= dict.fromkeys(took)
    if not chosen.keys().isdisjoint(table.keys):
        rows[:, LINKS_AT.start + _CHOSEN] = [key in chosen for key in table.keys]
    known = [pool.index[key] for key in chosen if key in pool.index]
    if not known:
        return
    turns = frozenset().union(*[pool.turns_of[place] for place in known])
    answers = pool.answers(chosen)
    group, seen, latest = pool.group, pool.turns_of, known[-1]
    ids = pool.around(latest).ids - {pool.keys[latest]} - chosen.keys()
    many = min(len(taken), 4) / 4
    lying: list[int] = []
    flat: list[float] = []
    for row, (place, _, mine) in enumerate(table.alternatives):
        if place < 0:
            continue
        lying.append(row)
        at, key = seen[place], pool.keys[place]
        shared = (pool.around(place).ids & ids) - {key} if ids else ids
        flat += (
            1.0,
            not turns.isdisjoint(at),
            not answers.isdisjoint(at),
            key in chosen or mine in chosen,
            min(len(shared), 5) / 5,
            *pool.likeness(group[place], group[latest]),
            many,
        )
    if lying:
        rows[lying, LINKS_AT] = packed(flat, LINKS_AT.stop - LINKS_AT.start)
