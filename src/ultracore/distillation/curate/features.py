"""Feature coverage: the rows that together show as much as possible of what decisions are made of.

What a row shows are its tools, the arguments that it fills, the words of the message it answers and the
calls before it. A set is worth the sum over all features of sqrt(how often all rows have it) * sqrt(how often
the set has it), so that frequent ones come first and each further time is worth less (feature-based
submodular functions: Wei, Iyer and Bilmes 2014). What this file does not know: embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.curate.embed import state_texts
from ultracore.distillation.decisions import Decision

__all__ = ["Coverage", "Features", "features_of"]

WORDS = 200  # of a message so many are looked at: the tail of a long tool result says little
_WORD = re.compile(r"[^\W\d_]+|\d")


class Features(NamedTuple):
    """What a row shows.

    Attributes:
        columns: Numbers of its features.
        amounts: How much of each it has.
    """

    columns: NDArray[np.intp]
    amounts: NDArray[np.float64]


def features_of(decisions: Sequence[Decision]) -> list[Features]:
    """The features of each decision, numbered alike."""
    number: dict[str, int] = {}
    rows = []
    for decision in decisions:
        shown = dict(_shown(decision))
        columns = np.array([number.setdefault(name, len(number)) for name in shown], dtype=np.intp)
        rows.append(Features(columns, np.array(list(shown.values()))))
    return rows


class Coverage:
    """How much of all features is shown by those taken, the frequent ones first: an `Objective`."""

    def __init__(self, rows: Sequence[Features]) -> None:
        width = 1 + max((int(row.columns.max()) for row in rows), default=0)
        amounts = np.zeros(width)
        for row in rows:
            amounts[row.columns] += row.amounts
        self._shown, self._worth, self._covered = rows, np.sqrt(amounts), np.zeros(width)
        self.rows, self.total = len(rows), float(amounts.sum())

    def gain(self, row: int) -> float:
        """See `Objective`."""
        columns, amounts = self._shown[row]
        now = self._covered[columns]
        return float(self._worth[columns] @ (np.sqrt(now + amounts) - np.sqrt(now)))

    def take(self, row: int) -> None:
        """See `Objective`."""
        self._covered[self._shown[row].columns] += self._shown[row].amounts


def _shown(decision: Decision) -> Iterator[tuple[str, float]]:
    """Features with their amounts; the words of a message count as one feature together."""
    yield f"action {decision.action}", 1.0
    for call in decision.calls:
        paths = sorted(set(_paths(call.arguments or {})))
        yield from ((f"argument {call.name}{path}", 1.0) for path in paths)
        yield f"arguments {call.name} {' '.join(paths)}", 1.0
    last, calls = state_texts(decision.state)
    words = _WORD.findall(last.lower())[:WORDS]
    distinct = {*words, *(" ".join(pair) for pair in pairwise(words))}
    yield from ((f"word {word}", len(distinct) ** -0.5) for word in sorted(distinct))
    yield f"before {' '.join(calls[-2:])}", 1.0


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _paths(inner, f"{path}[]")
    else:
        yield path
