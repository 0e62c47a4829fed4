"""Filling a call: slot after slot in schema order, each choice told to the next one.

What this file does not know: how alternatives are gathered and described (`arguments`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ultracore.distillation.students.compact.arguments import Question, question_for
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.slots import ABSENT, Slot, assemble
from ultracore.distillation.students.compact.sources import Sources
from ultracore.distillation.students.compact.tables import lay_out

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
    if ranker is not None:
        lay_out([slot for slot in slots if slot.key not in sources.knowledge.free_text], sources)
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
    confidence = 1.0
    while len(taken) < MAX_LIST:
        value, share = _choose(question_for(slot, sources, before, taken), ranker)
        confidence *= share
        if value is ABSENT:
            break
        taken.append(value)
    return Filled(taken or ABSENT, confidence)


def _fill_objects(slot: Slot, sources: Sources, ranker: Ranker, before: Before) -> Filled:
    """Element after element; the first slot of an element may end the array."""
    elements: list[dict[str, Any]] = []
    taken: list[Any] = []
    confidence = 1.0
    while len(taken) < MAX_LIST:
        filled: list[tuple[Slot, Any]] = []
        for part in slot.items:
            question = question_for(part, sources, [*before, *filled], taken if part.repeats else ())
            value, share = _choose(question, ranker)
            confidence *= share
            if part.repeats and value is ABSENT:
                return Filled(elements or ABSENT, confidence)
            filled.append((part, value))
        taken.append(filled[0][1])
        elements.append(assemble(filled))
    return Filled(elements, confidence)


def _choose(question: Question, ranker: Ranker) -> Filled:
    if not question.values:
        return Filled(ABSENT, 0.0)
    scores = ranker.scores(question.rows)
    best = int(scores.argmax())
    return Filled(question.values[best], float(1.0 / np.exp(scores - scores[best]).sum()))
