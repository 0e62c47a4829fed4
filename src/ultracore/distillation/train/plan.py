"""What will be tested, in which order and with which bets? Fixed on development rows alone.

The steps run towards larger coverage from the one with the best predicted power; each has a cap
(one unit counts for at most so many calls: a test that holds for every distribution must fear
whole units of errors, so long units cost power), a hedge (what development rows say of the calls
beyond the cap, so that the statement stays true of all calls) and stakes for the betting test.
What this file does not know: any calibration outcome; it needs the number of calibration units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from ultracore.distillation.train.bounds import betting_p, binomial_p, surplus
from ultracore.distillation.train.thresholds import (
    Family,
    FloatArray,
    GateRows,
    held_out_levels,
    own_floor,
    tuned_level,
)

__all__ = ["Counts", "Plan", "count", "make_plan", "units_needed"]

STEPS = 32
"""Steps in the sequence: each adds about 3 % of the tuned coverage."""
BEYOND = 1.1
"""The last step sends this multiple of the tuned development calls: development may be pessimistic."""
EXCESS = (0.05, 0.2, 0.4, 0.7)
"""Caps to choose from, as the share of sent calls that lies beyond the cap."""
FRACTIONS = np.geomspace(0.03, 1.0, 12)
"""Stakes to choose from, as fractions of the largest safe one."""
NEARLY = 0.95
"""Of .95, .90, .85 and 1, .95 lost nothing in simulated worlds and won a third on the example bank (170 units)."""
WANTED_POWER = 0.8


class Counts(NamedTuple):
    """Sent calls and errors among them, both (units, steps)."""

    sent: FloatArray
    errors: FloatArray


class Plan(NamedTuple):
    """The sequence of tests; one entry of each array a step, in order of testing.

    Attributes:
        levels: Levels of the threshold family, falling.
        caps: How many calls of one unit count in full.
        hedges: Added to every unit's surplus.
        stakes: Of the bets, at most 1 / (cap + hedge), so that no unit can lose more than the wealth.
        power: Predicted chance of each step's rejection.
        single: Whether units have at most one sendable decision, so that the test is the exact binomial.
    """

    levels: FloatArray
    caps: FloatArray
    hedges: FloatArray
    stakes: FloatArray
    power: FloatArray
    single: bool

    def p_value(self, counts: Counts, step: int, alpha: float) -> float:
        """P-value of "the risk at this step is above alpha", from units in an order fixed beforehand."""
        sent, errors = counts.sent[:, step], counts.errors[:, step]
        if self.single:
            return binomial_p(int(errors.sum()), int(sent.sum()), alpha)
        return betting_p(surplus(errors, sent, alpha, self.caps[step]) + self.hedges[step], self.stakes[step])


def make_plan(
    family: Family, development: GateRows, units: int, target: float, delta: float, heaviest: float | None = None
) -> Plan | None:
    """Fix the sequence for so many calibration units; `None` where no level agrees at `target` in development.

    Where calibration rows weigh differently, `heaviest` is the largest weight: no cap lies below it, or what was drawn
    for its label would count for less than it stands for.
    """
    own = family.levels(development)
    grid = _grid(own, development, target)
    if not len(grid):
        return None
    counts = count(development, held_out_levels(development, own_floor(target)), grid)
    if heaviest is None and has_single_decisions(development):
        return _from_best(_single_plan(grid, counts, units, 1.0 - target, delta))
    return _from_best(_betting_plan(grid, counts, units, 1.0 - target, delta, heaviest or 1.0))


def has_single_decisions(rows: GateRows) -> bool:
    """Whether no unit has two sendable decisions."""
    return bool(np.bincount(rows.units, weights=rows.sendable).max(initial=0.0) <= 1.0)


def count(rows: GateRows, levels: FloatArray, grid: FloatArray) -> Counts:
    """Sent calls and errors of each unit at each level of a falling grid; `levels` as of `Family.levels`.

    Where rows weigh differently these are estimates (Horvitz & Thompson 1952), unbiased for each unit. So the mean
    surplus keeps its sign, and betting on it stays valid (as in Shekhar et al. 2023, "Risk-limiting financial audits
    via weighted sampling", section 2); the binomial test would not.
    """
    width = len(grid) + 1
    cell = rows.units * width + np.searchsorted(-grid, -levels)

    def table(weights: FloatArray) -> FloatArray:
        first = np.bincount(cell, weights=weights, minlength=rows.unit_count * width)
        return np.asarray(first.reshape(-1, width)[:, :-1].cumsum(axis=1))

    return Counts(table(rows.weigh(rows.sendable)), table(rows.weigh(rows.sendable & ~rows.agrees)))


def units_needed(
    counts: Counts, target: float, delta: float, *, single: bool, heaviest: float | None = None
) -> int | None:
    """How many units like these would pass at some step with a chance of 80 %; `None` for no number."""
    alpha, wanted = 1.0 - target, stats.norm.ppf(WANTED_POWER)
    if single:
        rate = (counts.errors.sum(axis=0) + 1.0) / (counts.sent.sum(axis=0) + 2.0)
        spread = stats.norm.ppf(1.0 - delta) * np.sqrt(alpha * target) + wanted * np.sqrt(rate * (1.0 - rate))
        calls = np.maximum((spread / np.maximum(alpha - rate, 1e-9)) ** 2, np.log(delta) / np.log(target))
        need = np.where(rate < alpha, calls / np.maximum(counts.sent.mean(axis=0), 1e-9), np.inf)
    else:
        bets = _bets(counts, alpha, heaviest or 1.0)
        mean = np.maximum(bets.mean, 1e-12)
        root = wanted * np.sqrt(bets.variance) + np.sqrt(wanted**2 * bets.variance - 4.0 * mean * np.log(delta))
        need = np.where(bets.mean > 0.0, (root / (2.0 * mean)) ** 2, np.inf)
    least = float(need.min(initial=np.inf))
    return int(np.ceil(least)) if least < 1e7 else None


class _Bets(NamedTuple):
    """Options (rows) at each step (columns), with mean and variance of a unit's log growth."""

    caps: FloatArray
    hedges: FloatArray
    stakes: FloatArray
    mean: FloatArray
    variance: FloatArray


def _grid(own: FloatArray, development: GateRows, target: float) -> FloatArray:
    last = tuned_level(own, development.agrees, target, development.weights)
    if last is None:
        return np.empty(0)
    falling = np.sort(own[np.isfinite(own)])[::-1]
    tuned = int((falling >= last).sum())
    end = min(len(falling), int(np.ceil(BEYOND * tuned)))
    sends = np.linspace(tuned / 10.0, end, STEPS).astype(np.intp).clip(1)
    return np.unique(falling[sends - 1])[::-1]


def _from_best(plan: Plan) -> Plan:
    """From the first step whose power is close to the best.

    Going through to the best costs little, and development rows promise too much more often than too little.
    """
    start = int((plan.power >= NEARLY * plan.power.max()).argmax())
    return plan._replace(
        levels=plan.levels[start:],
        caps=plan.caps[start:],
        hedges=plan.hedges[start:],
        stakes=plan.stakes[start:],
        power=plan.power[start:],
    )


def _single_plan(grid: FloatArray, counts: Counts, units: int, alpha: float, delta: float) -> Plan:
    sent, errors = counts.sent.sum(axis=0), counts.errors.sum(axis=0)
    calls = units * counts.sent.mean(axis=0)
    rate = (errors + 1.0) / (sent + 2.0)
    passes = stats.binom.ppf(delta, np.floor(calls), alpha) - 1.0
    spread = np.sqrt(calls * rate * (1.0 - rate) * (1.0 + units / len(counts.sent)))
    power = np.where(passes >= 0.0, stats.norm.cdf((passes + 0.5 - calls * rate) / np.maximum(spread, 1e-9)), 0.0)
    ones = np.ones(len(grid))
    return Plan(grid, ones, 0.0 * ones, ones, power, single=True)


def _betting_plan(grid: FloatArray, counts: Counts, units: int, alpha: float, delta: float, heaviest: float) -> Plan:
    bets = _bets(counts, alpha, heaviest)
    # Development's own error of the mean counts too, or the sequence would begin where it was lucky.
    variance = units * bets.variance * (1.0 + units / len(counts.sent))
    power = stats.norm.cdf((units * bets.mean + np.log(delta)) / np.sqrt(variance + 1e-12))
    best = power.argmax(axis=0), np.arange(len(grid))
    return Plan(grid, bets.caps[best], bets.hedges[best], bets.stakes[best], power[best], single=False)


def _bets(counts: Counts, alpha: float, heaviest: float) -> _Bets:
    options = [_bets_at(counts, alpha, share, heaviest) for share in EXCESS]
    return _Bets(*(np.vstack(column) for column in zip(*options, strict=True)))


def _bets_at(counts: Counts, alpha: float, share: float, heaviest: float) -> _Bets:
    cap = np.maximum(heaviest, _caps(counts.sent, share))
    kept = surplus(counts.errors, counts.sent, alpha, cap)
    beyond = counts.errors - alpha * counts.sent - kept
    # One standard error above what was seen: the estimate's own luck must not open a gap.
    hedge = np.maximum(0.0, beyond.mean(axis=0) + beyond.std(axis=0) / np.sqrt(len(kept)))
    # One imagined unit with an error (the rule of succession), or a clean record would look certain.
    one_error = surplus(np.full(len(cap), heaviest), counts.sent.mean(axis=0).clip(heaviest), alpha, cap)
    stakes = np.multiply.outer(FRACTIONS, 1.0 / (cap + hedge))
    growth = np.log1p(-stakes[:, None, :] * (np.vstack([kept, one_error]) + hedge))
    same = np.ones_like(stakes)
    return _Bets(same * cap, same * hedge, stakes, growth.mean(axis=1), growth.var(axis=1))


def _caps(sent: FloatArray, share: float) -> FloatArray:
    """At each step, the fewest calls a unit so that at most `share` of all sent calls lies beyond."""
    ordered = np.sort(sent, axis=0)
    larger = np.arange(len(sent))[::-1, None]
    within = ordered.cumsum(axis=0) + larger * ordered
    first = (within >= (1.0 - share) * sent.sum(axis=0)).argmax(axis=0)
    return np.asarray(np.maximum(1.0, np.take_along_axis(ordered, first[None], axis=0)[0]))
