"""Which calls would be sent? One family of per-action thresholds, nested in a single level.

Learned on development rows only, so that everything that follows may be chosen with them. Each
action gets an increasing curve from confidence to agreement, drawn towards the curve of all
actions where it has few rows; at level s an action is sent from the least confidence at which its
curve reaches s. One local agreement for all actions gives the largest coverage at a given pooled
agreement; a floor on each action's own agreement keeps a bad action from hiding behind good ones.
A tool that development never proposes is never sent (`docs/decisions/new-tools.md`).
What this file does not know: how sure one may be of any level (`train.certify`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from ultracore.distillation.errors import ConfigurationError, DataError

__all__ = [
    "Family",
    "GateRows",
    "Outcome",
    "apply",
    "coverage_and_agreement",
    "held_out_levels",
    "learn_family",
    "tuned_thresholds",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

PRIOR_ROWS = 20.0
"""How many rows of its own an action needs before they outweigh the curve of all actions."""
HELD_OUT = 5
"""Folds of `held_out_levels`."""


@dataclass(frozen=True, slots=True, eq=False)
class GateRows:
    """Decisions as the gate sees them: one row each, five arrays of equal length. Build it with `of`.

    Attributes:
        units: Code of the independent unit (task or episode) of each row, 0..unit_count-1.
        actions: The proposed action.
        confidence: The student's confidence in the whole proposal.
        sendable: Whether it is a complete call; text replies and calls with a missing argument are not.
        agrees: Whether it agrees with the teacher.
        weights: How many decisions of the traffic each row stands for (> 0): one over the probability that its
            label is known. `None`: one each.
    """

    units: NDArray[np.intp]
    actions: NDArray[np.str_]
    confidence: FloatArray
    sendable: BoolArray
    agrees: BoolArray
    weights: FloatArray | None = None

    @classmethod
    def of(
        cls,
        units: Sequence[Any] | NDArray[Any],
        actions: Sequence[str] | NDArray[Any],
        confidence: Sequence[float] | NDArray[Any],
        sendable: Sequence[bool] | NDArray[Any],
        agrees: Sequence[bool] | NDArray[Any],
        weights: Sequence[float] | NDArray[Any] | None = None,
    ) -> GateRows:
        """Check and convert.

        Raises:
            DataError: The lengths differ, a confidence is not a finite number, a flag is not a bool, or a weight
                is not above 0.

        Example:
            >>> GateRows.of(["t1", "t1", "t2"], ["f", "g", "f"], [0.9, 0.4, 0.8], [True] * 3, [True] * 3).unit_count
            2
        """
        columns = (units, actions, confidence, sendable, agrees, *([] if weights is None else [weights]))
        lengths = sorted({len(column) for column in columns})
        if len(lengths) > 1:
            raise DataError(f"gate rows need columns of one length, got lengths {lengths}")
        numbers = np.asarray(confidence, dtype=np.float64)
        if bad := int((~np.isfinite(numbers)).sum()):
            raise DataError(f"{bad} confidences are not finite numbers: leave these rows out or repair the student")
        codes = np.unique(np.asarray(units, dtype=np.str_), return_inverse=True)[1].astype(np.intp)
        names = np.asarray(actions, dtype=np.str_)
        flags = _flags("sendable", sendable), _flags("agrees", agrees)
        return cls(codes, names, numbers, *flags, None if weights is None else _weights(weights))

    def __len__(self) -> int:
        """Number of decisions."""
        return len(self.units)

    @property
    def unit_count(self) -> int:
        """Number of independent units, those without a sendable decision included."""
        return int(self.units.max()) + 1 if len(self.units) else 0

    @property
    def heaviest(self) -> float | None:
        """The largest weight, `None` where all rows weigh the same."""
        return None if self.weights is None else float(self.weights.max())

    def weigh(self, flags: BoolArray) -> FloatArray:
        """[rows] the weight where a flag is set, else 0."""
        return np.asarray(flags * (1.0 if self.weights is None else self.weights), np.float64)


class Outcome(NamedTuple):
    """What thresholds do on some rows; `agreement` is of the sent calls, `None` where none is sent."""

    decisions: int
    sent: int
    agreeing: int

    @property
    def coverage(self) -> float:
        """Sent calls over all decisions, text replies included."""
        return self.sent / self.decisions if self.decisions else 0.0

    @property
    def agreement(self) -> float | None:
        """Agreeing calls over sent calls."""
        return self.agreeing / self.sent if self.sent else None


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Nested thresholds: a larger level never sends a call that a smaller one keeps.

    Attributes:
        curves: By action: increasing confidences, and the non-decreasing level each of them reaches.
    """

    curves: Mapping[str, tuple[FloatArray, FloatArray]]

    def at(self, level: float) -> dict[str, float]:
        """Least confidence to send each action; one that never reaches the level is left out."""
        found = {action: int(np.searchsorted(levels, level)) for action, (_, levels) in self.curves.items()}
        return {a: float(self.curves[a][0][i]) for a, i in sorted(found.items()) if i < len(self.curves[a][0])}

    def levels(self, rows: GateRows) -> FloatArray:
        """The largest level at which each row is sent, -inf for never: sent at s means `levels >= s`."""
        out = np.full(len(rows), -np.inf)
        for action, (confidence, levels) in self.curves.items():
            mine = np.flatnonzero(rows.sendable & (rows.actions == action))
            below = np.searchsorted(confidence, rows.confidence[mine], side="right") - 1
            out[mine] = np.where(below >= 0, levels[below], -np.inf)
        return out


def learn_family(development: GateRows, floor: float = 0.0) -> Family:
    """Learn the curves: centred isotonic regression (Oron & Flournoy 2017) for each action, shrunk to the pooled one.

    A unit counts for no more rows than the median unit has: one conversation that went in circles (two of
    23 tasks held half of the calls of a telecom half) must not draw the curves.

    Args:
        development: Out-of-fold predictions on training tasks.
        floor: Least own agreement (0..1) of the calls an action sends; where it never gets there, it sends none.
    """
    send = development.sendable
    if not send.any():
        return Family({})
    seen = _Seen(development.confidence, development.agrees, _row_weights(development))
    pooled = _isotonic(seen.where(send))
    curves = {}
    for action in np.unique(development.actions[send]):
        mine = send & (development.actions == action)
        curve = _curve(seen.where(mine), pooled, floor)
        if len(curve[0]):
            curves[str(action)] = curve
    return Family(curves)


def held_out_levels(development: GateRows, floor: float = 0.0) -> FloatArray:
    """As `Family.levels` of the development rows, each by curves that were learned without its unit.

    The curves flatter the rows that they were drawn through: at the top of the example bank's they show
    half of the errors that new rows have. `HELD_OUT` folds of whole units.
    """
    fold = (np.random.default_rng(0).permutation(development.unit_count) % HELD_OUT)[development.units]
    out = np.full(len(development), -np.inf)
    for number in range(HELD_OUT):
        here = fold == number
        rest = replace(development, sendable=development.sendable & ~here)
        out[here] = learn_family(rest, floor).levels(development)[here]
    return out


def tuned_thresholds(development: GateRows, target: float) -> dict[str, float]:
    """Thresholds with the largest development coverage whose sent calls agree at `target`: tuned, not guaranteed.

    Each row is judged by curves drawn without it: through it, what was to agree at 93 % did at 91 on new SGD dialogues.

    Args:
        development: Out-of-fold predictions on training tasks.
        target: Wanted agreement among sent calls (0..1).

    Example:
        >>> agrees = [False, False, True, True] * 10
        >>> rows = GateRows.of(range(40), ["f"] * 40, [0.2, 0.4, 0.6, 0.8] * 10, [True] * 40, agrees)
        >>> tuned_thresholds(rows, 0.9)
        {'f': 0.6}
    """
    floor = own_floor(target)
    level = tuned_level(held_out_levels(development, floor), development.agrees, target, development.weights)
    return {} if level is None else learn_family(development, floor).at(level)


def apply(thresholds: Mapping[str, float], rows: GateRows) -> BoolArray:
    """Which rows are sent: complete calls, at or above their action's threshold (as `Certificate.accepts`)."""
    names, codes = np.unique(rows.actions, return_inverse=True)
    least = np.array([thresholds.get(str(name), np.inf) for name in names], dtype=np.float64)
    return rows.sendable & (rows.confidence >= least[codes])


def coverage_and_agreement(rows: GateRows, thresholds: Mapping[str, float]) -> Outcome:
    """Counts, coverage and agreement of what the thresholds send of these rows."""
    sent = apply(thresholds, rows)
    return Outcome(len(rows), int(sent.sum()), int((sent & rows.agrees).sum()))


def own_floor(target: float) -> float:
    """Least agreement of one action alone: it may disagree twice as often as all sent calls together may."""
    if not 0.0 < target < 1.0:
        raise ConfigurationError(f"target must lie strictly between 0 and 1, got {target}")
    return max(0.0, 2.0 * target - 1.0)


def tuned_level(
    levels: FloatArray, agrees: BoolArray, target: float, weights: FloatArray | None = None
) -> float | None:
    """The smallest level whose sent rows agree at `target`; `None` where no level gets there."""
    order = np.argsort(-levels, kind="stable")[: int(np.isfinite(levels).sum())]
    ordered, weight = levels[order], np.ones(len(order)) if weights is None else weights[order]
    agreement = np.cumsum(agrees[order] * weight) / np.cumsum(weight)
    last_of_tie = np.append(ordered[1:] < ordered[:-1], True)[: len(order)]
    good = np.flatnonzero((agreement >= target) & last_of_tie)
    return float(ordered[good[-1]]) if len(good) else None


class _Seen(NamedTuple):
    """Rows to draw a curve through, as parallel arrays."""

    confidence: FloatArray
    agrees: BoolArray
    weight: FloatArray

    def where(self, chosen: BoolArray) -> _Seen:
        return _Seen(self.confidence[chosen], self.agrees[chosen], self.weight[chosen])

    def by_confidence(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Each confidence, the weight of what agrees there, and all weight there."""
        values, codes = np.unique(self.confidence, return_inverse=True)
        right = np.bincount(codes, weights=self.agrees * self.weight)
        total = np.bincount(codes, weights=self.weight)
        return np.asarray(values), right.astype(np.float64), total.astype(np.float64)


def _row_weights(rows: GateRows) -> FloatArray:
    mine = rows.weigh(rows.sendable)
    mine = mine / mine[rows.sendable].mean()  # so that `PRIOR_ROWS` still means rows
    count = np.bincount(rows.units, weights=mine)
    most = max(1.0, float(np.median(count[count > 0])))
    return np.asarray(np.minimum(1.0, most / np.maximum(count, 1.0))[rows.units] * mine)


def _curve(seen: _Seen, pooled: tuple[FloatArray, FloatArray], floor: float) -> tuple[FloatArray, FloatArray]:
    values, right, count = seen.by_confidence()
    own = np.interp(values, *_isotonic(seen))
    weight = count.sum() / (count.sum() + PRIOR_ROWS)
    levels = weight * own + (1.0 - weight) * np.interp(values, *pooled)
    from_top = np.cumsum(right[::-1])[::-1] / np.cumsum(count[::-1])[::-1]
    good = np.flatnonzero(from_top >= floor)
    first = good[0] if len(good) else len(values)
    # Interpolating may lose the last bit of monotony, on which nesting rests.
    levels = np.maximum.accumulate(levels)
    if first == 0:
        # All that was seen is good enough: a final student that is a little less sure than its folds must
        # not fall off the curve. Whether that is right is for the calibration rows to say.
        return np.concatenate([_less_sure(values[:1]), values]), np.concatenate([levels[:1], levels])
    return values[first:], levels[first:]


def _less_sure(confidence: FloatArray) -> FloatArray:
    """The confidence half a unit of log odds lower: 0.90 becomes 0.85."""
    fewer = confidence * np.exp(-0.5)
    return np.asarray(fewer / (1.0 - confidence + fewer))


def _isotonic(seen: _Seen) -> tuple[FloatArray, FloatArray]:
    """Centres and values of the blocks: interpolating between them leaves no long steps of equal level."""
    values, right, count = seen.by_confidence()
    fit = isotonic_regression(right / count, weights=count)
    starts = fit.blocks[:-1]
    centres = np.add.reduceat(values * count, starts) / np.add.reduceat(count, starts)
    return centres, fit.x[starts]


def _weights(column: Sequence[float] | NDArray[Any]) -> FloatArray | None:
    weights = np.asarray(column, dtype=np.float64)
    if bad := int((~(np.isfinite(weights) & (weights > 0.0))).sum()):
        raise DataError(f"{bad} weights are not above 0: a label that is never known cannot stand for others")
    return None if len(weights) == 0 or (weights == weights[0]).all() else weights


def _flags(name: str, column: Sequence[bool] | NDArray[Any]) -> BoolArray:
    flags = np.asarray(column)
    if len(flags) and flags.dtype != np.bool_:
        raise DataError(f"{name} must be True or False on every row: leave out rows whose agreement is unknown")
    return flags.astype(np.bool_)
