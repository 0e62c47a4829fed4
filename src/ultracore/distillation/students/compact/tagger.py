"""Reading argument values out of what the user said: a linear-chain CRF for each tool, numpy alone.

Labels are O, B-slot and I-slot. A chain's states also remember the slot that was said last, so that
"O after the artist" differs from "O after the playlist" (Lafferty et al. 2001 for the model). What
this file does not know: how the weights were fitted (`train.tagging`), and which calls to make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.compact.tokens import Lexicon, Token, describe, tokens_of

__all__ = ["Chain", "Reading", "Spoken", "chain_states"]

Floats = NDArray[np.float32]

LEAST_MARGINAL = 0.05


class Spoken(NamedTuple):
    """A value that the user said.

    Attributes:
        slot: Key of the slot, `tool/path/to/argument`.
        value: As it was written.
        start: Offset of its first character.
        probability: That exactly this stretch is a value of this slot (0..1).
    """

    slot: str
    value: str
    start: int
    probability: float


class Reading(NamedTuple):
    """What a text says for a tool.

    Attributes:
        best: The values of the likeliest labelling, in order of the text.
        probability: Of that labelling as a whole (0..1).
        spans: Every value that is at least 5 % likely, in order of the text.
    """

    best: tuple[Spoken, ...]
    probability: float
    spans: tuple[Spoken, ...]


class States(NamedTuple):
    """The states of a chain for n slots: O, then B, I and O-after for each slot.

    Attributes:
        emits: [states] the label of each state: 0 is O, 1 + 2 k is B and 2 + 2 k is I of slot k.
        allowed: [states, states] 1 where the second may follow the first.
        starts: [states] 1 where a text may begin.
    """

    emits: NDArray[np.intp]
    allowed: Floats
    starts: Floats


def chain_states(slots: int) -> States:
    """The states for a number of slots."""
    n = 1 + 3 * slots
    emits = np.zeros(n, np.intp)
    allowed = np.zeros((n, n), np.float32)
    starts = np.zeros(n, np.float32)
    allowed[:, 1::3] = 1
    starts[0] = allowed[0, 0] = 1
    starts[1::3] = 1
    for k in range(slots):
        b, i, o = 1 + 3 * k, 2 + 3 * k, 3 + 3 * k
        emits[b], emits[i] = 1 + 2 * k, 2 + 2 * k
        allowed[[b, i], i] = 1
        allowed[[b, i, o], o] = 1
    return States(emits, allowed, starts)


class Chain:
    """The CRF of one tool.

    Args:
        slots: Slot keys.
        names: Feature names, one for each row of `weights`.
        weights: [features, labels].
        transitions: [states, states].
        start: [states].
    """

    def __init__(self, slots: Sequence[str], names: Sequence[str], weights: Floats, transitions: Floats, start: Floats) -> None:
        self.slots = list(slots)
        self.rows = {name: row for row, name in enumerate(names)}
        self.weights = weights.astype(np.float32)
        self.states = chain_states(len(self.slots))
        self.A = np.exp(transitions.astype(np.float64)) * self.states.allowed
        self.start = np.exp(start.astype(np.float64)) * self.states.starts

    def scores(self, features: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """[tokens, labels] scores."""
        rows, counts = [], []
        for names in features:
            known = [row for name in names if (row := self.rows.get(name)) is not None]
            rows += known
            counts.append(len(known))
        out = np.zeros((len(features), self.weights.shape[1]))
        sums = np.cumsum([0, *counts])
        picked = self.weights[rows]
        for i in range(len(features)):
            out[i] = picked[sums[i] : sums[i + 1]].sum(0)
        return out
