"""Merging rows without losing any: each removed row has one that stands for it and takes its weight.

Only rows with the *same decision* are merged. Where equal or similar states met different
decisions, the teacher's variation is information, and all of them stay. What this file does not
know: how similarity is measured (`pairs`), and which threshold is wise (`validate`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.agreement import normalise
from ultracore.distillation.curate.pairs import Pairs
from ultracore.distillation.decisions import Decision
from ultracore.distillation.tools import canonical_json

__all__ = ["Reduction", "Row", "decision_key", "disputes", "merge_equal", "merge_rows", "merge_similar", "weight_of"]

Row: TypeAlias = Mapping[str, Any] | Decision


class Reduction(NamedTuple):
    """Who stands for whom.

    Attributes:
        owner: For each row the row that stands for it; a kept row stands for itself.
        similarity: For each row its cosine with its owner.
    """

    owner: list[int]
    similarity: list[float]

    @property
    def kept(self) -> list[int]:
        """The rows that stay, in order."""
        return [row for row, owner in enumerate(self.owner) if row == owner]

    def groups(self) -> dict[int, list[int]]:
        """Each kept row that stands for others, with those."""
        groups: dict[int, list[int]] = {}
        for row, owner in enumerate(self.owner):
            if row != owner:
                groups.setdefault(owner, []).append(row)
        return groups


def decision_key(decision: Decision) -> bytes:
    """Equal for decisions that agree strictly; arguments that were not recorded equal only each other."""
    tools = {tool.name: tool for tool in decision.state.tools}
    return canonical_json(
        sorted([c.name, canonical_json(normalise(c, tools.get(c.name))).decode()] for c in decision.calls)
    )


def merge_equal(keys: Sequence[Hashable]) -> Reduction:
    """Merge rows with equal keys into the first of them.

    Example:
        >>> merge_equal(["a", "b", "a"]).owner
        [0, 1, 0]
    """
    first: dict[Hashable, int] = {}
    return Reduction([first.setdefault(key, row) for row, key in enumerate(keys)], [1.0] * len(keys))


def merge_similar(pairs: Pairs, keys: Sequence[Hashable]) -> Reduction:
    """Go through the rows in order; a row goes where an earlier kept row is similar and has the same key.

    Of several such rows the most similar one stands for it, the earlier one of two equally similar.
    """
    owner, similarity = list(range(len(keys))), [1.0] * len(keys)
    same = pairs.where(~_differ(pairs, keys))
    for first, row, cosine in zip(same.first.tolist(), same.second.tolist(), same.similarity.tolist(), strict=True):
        is_kept = owner[first] == first
        if is_kept and (owner[row] == row or cosine > similarity[row]):
            owner[row], similarity[row] = first, cosine
    return Reduction(owner, similarity)


def disputes(pairs: Pairs, keys: Sequence[Hashable]) -> NDArray[np.intp]:
    """[rows] how many similar rows with another key each row has."""
    differing = pairs.where(_differ(pairs, keys))
    count: NDArray[np.intp] = np.bincount(np.concatenate([differing.first, differing.second]), minlength=len(keys))
    return count


def _differ(pairs: Pairs, keys: Sequence[Hashable]) -> NDArray[np.bool_]:
    code = np.array(merge_equal(keys).owner, dtype=np.intp)
    return np.not_equal(code[pairs.first], code[pairs.second])


def merge_rows(rows: Sequence[Row], reduction: Reduction) -> list[Any]:
    """The kept rows, each with the weight of all it stands for.

    A dict comes back as a copy with `weight` and `duplicate_ids` (event ids, or `row-<index>`, of
    the rows it stands for); a `Decision` comes back with its weight.
    """
    groups = reduction.groups()
    return [_merged(rows, kept, groups.get(kept, [])) for kept in reduction.kept]


def _merged(rows: Sequence[Row], kept: int, others: Sequence[int]) -> Row:
    row = rows[kept]
    weight = sum(weight_of(rows[i]) for i in (kept, *others))
    if isinstance(row, Decision):
        return msgspec.structs.replace(row, weight=weight)
    return {**row, "weight": weight, "duplicate_ids": [*_ids(row), *(i for o in others for i in _names(rows[o], o))]}


def weight_of(row: Row) -> float:
    """How many source decisions a row stands for."""
    return row.weight if isinstance(row, Decision) else float(row.get("weight") or 1.0)


def _names(row: Row, index: int) -> list[str]:
    name = row.event_id if isinstance(row, Decision) else row.get("event_id")
    return [str(name or f"row-{index}"), *_ids(row)]


def _ids(row: Row) -> list[str]:
    return [] if isinstance(row, Decision) else list(row.get("duplicate_ids") or ())
