"""Filling a call: slot after slot in schema order, each choice told to the next one.

What this file does not know: how alternatives are gathered and described (`arguments`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.arguments import Question, question_for
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.slots import ABSENT, Slot, assemble
from ultracore.distillation.students.compact.sources import Sources

__all__ = ["Filled", "fill_all"]

MAX_LIST = 12
"""Items of a list, elements of an array."""

Before = Sequence[tuple[Slot, Any]]


class Filled(NamedTuple):
    """A slot with its value.

    Attributes:
        value: The value, `ABSENT` if it is left out; for a required slot, if nothing fits.
        confidence: Probability that the value is the teacher's (0..1).
    """

    value: Any
    confidence: float


def fill_all(slots: Sequence[Slot], sources: Sources, ranker: Ranker | None) -> list[tuple[Slot, Filled]]:
    """Every slot of a tool with its value; free text, and all slots without a ranker, stay empty."""
    filled: list[tuple[Slot, Filled]] = []
    values: list[tuple[Slot, Any]] = []
    for slot in slots:
        if ranker is None or slot.key in sources.knowledge.free_text:
            got = Filled(ABSENT, 0.0 if slot.required else 0.5)
        else:
            got = _fill(slot, sources, ranker, values)
        filled.append((slot, got))
        values.append((slot, got.value))
    return filled


def _fill(slot: Slot, sources: Sources, ranker: Ranker, before: Before) -> Filled:
    if slot.kind == "list":
        return _fill_list(slot, sources, ranker, before)
    if slot.kind == "objects":
        return _fill_objects(slot, sources, ranker, before)
    return _choose(question_for(slot, sources, before), ranker)


def _fill_list(slot: Slot, sources: Sources, ranker: Ranker, before: Before) -> Filled:
    taken: list[Any] = []
    ends: list[Filled] = []
    so_far = 1.0
    while len(taken) < MAX_LIST:
        may_end = bool(taken) or not slot.required
        value, share, end = _go_on(question_for(slot, sources, before, taken), ranker, may_end=may_end)
        if may_end or value is ABSENT:
            ends.append(Filled(list(taken) or ABSENT, so_far * end))
        if value is ABSENT:
            return _likeliest(ends)
        so_far *= share
        taken.append(value)
    return Filled(taken, so_far)


def _fill_objects(slot: Slot, sources: Sources, ranker: Ranker, before: Before) -> Filled:
    """Element after element; the first slot of an element may end the array."""
    elements: list[dict[str, Any]] = []
    taken: list[Any] = []
    ends: list[Filled] = []
    so_far = 1.0
    lead, *others = slot.items
    while len(taken) < MAX_LIST:
        may_end = bool(taken) or not slot.required
        value, share, end = _go_on(question_for(lead, sources, before, taken), ranker, may_end=may_end)
        if may_end or value is ABSENT:
            ends.append(Filled(list(elements) or ABSENT, so_far * end))
        if value is ABSENT:
            return _likeliest(ends)
        so_far *= share
        filled = [(lead, value)]
        for part in others:
            value, share = _choose(question_for(part, sources, [*before, *filled]), ranker)
            so_far *= share
            filled.append((part, value))
        taken.append(filled[0][1])
        elements.append(assemble(filled))
    return Filled(elements, so_far)


def _likeliest(ends: Sequence[Filled]) -> Filled:
    """Of a list, ended before each of its values and at last, the one that is likeliest as a whole."""
    return max(ends, key=lambda end: end.confidence)


def _go_on(question: Question, ranker: Ranker, *, may_end: bool) -> tuple[Any, float, float]:
    """The next value of a list, its probability, and that of the end; `ABSENT` where the end is likelier."""
    if not question.values:
        return ABSENT, 0.0, 0.0
    end = next((place for place, value in enumerate(question.values) if value is ABSENT), -1)
    if end >= 0 and not may_end:
        return _go_on(question.without(end), ranker, may_end=True)
    shares = _shares(question, ranker)
    best = int(shares.argmax())
    return question.values[best], float(shares[best]), float(shares[end]) if end >= 0 else 0.0


def _choose(question: Question, ranker: Ranker) -> Filled:
    if not question.values:
        return Filled(ABSENT, 0.0)
    shares = _shares(question, ranker)
    best = int(shares.argmax())
    return Filled(question.values[best], float(shares[best]))


def _shares(question: Question, ranker: Ranker) -> NDArray[np.float32]:
    """Probability of each alternative."""
    scores = ranker.scores(question.rows)
    shares = np.exp(scores - scores.max())
    return np.asarray(shares / shares.sum(), np.float32)
