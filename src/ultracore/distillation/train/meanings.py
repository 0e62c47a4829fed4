"""Classifiers for slots whose values are few: what the words mean decides, the value need not be said.

"It was taken from my bag" makes the reason `stolen`. One logistic regression for each such slot, on the
features of the state; leaving an optional slot out is one more class. What this file does not know:
where other values come from.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ultracore.distillation.students.compact.knowledge import Knowledge, gold_values
from ultracore.distillation.students.compact.slots import Slot
from ultracore.distillation.students.compact.sparse import CompiledEncoder, Linear, Vector
from ultracore.distillation.students.compact.transcript import key_of
from ultracore.distillation.train.examples import Example
from ultracore.distillation.train.linear import fit_softmax

__all__ = ["fit_meanings"]

MAX_VALUES = 40
"""More distinct values than this are not few."""

MIN_REPEATS = 4.0
"""Each value must come up so often on average."""


def fit_meanings(examples: Sequence[Example], encoder: CompiledEncoder, knowledge: Knowledge) -> dict[str, Linear]:
    """Fit a classifier for each slot with few values.

    Args:
        examples: The decisions to learn from.
        encoder: Their encoder.
        knowledge: Which slots are free text, and schemas of tools without one.
    """
    rows: dict[str, list[Vector]] = defaultdict(list)
    labels: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        for slot, text in _labels(example, knowledge):
            rows[slot.key].append(example.row)
            labels[slot.key].append(text)
    return {
        key: fit_softmax(rows[key], encoder.width, labels[key], np.ones(len(labels[key])), c=0.5)
        for key in sorted(rows)
        if _are_few(labels[key])
    }


def _labels(example: Example, knowledge: Knowledge) -> list[tuple[Slot, str]]:
    """Slots of the teacher's call with their values' texts; those of an array's elements if there is one element."""
    out = []
    for call in example.decision.calls[:1]:
        if call.arguments is None or call.name not in example.transcript.tools:
            continue
        for slot in knowledge.slots_of(example.transcript.tools[call.name]):
            values = gold_values(slot, call.arguments)
            if slot.kind == "objects" and len(values) == 1:
                out += [(part, _text(gold_values(part, values[0]))) for part in slot.items]
            elif slot.kind in ("scalar", "list") and len(values) <= 1 and slot.key not in knowledge.free_text:
                out.append((slot, _text(values)))
    return out


def _text(values: Sequence[object]) -> str:
    return key_of(values[0]) if values else ""


def _are_few(labels: Sequence[str]) -> bool:
    counts = Counter(labels)
    return 2 <= len(counts) <= MAX_VALUES and len(labels) >= MIN_REPEATS * len(counts)
