"""May the student send these calls by itself? One fixed sequence of tests on calibration units.

Everything that is chosen (thresholds, steps, where to begin, bets) comes from development rows;
calibration rows are used once. Levels are tested towards larger coverage, each at delta, and the
first that is not rejected ends it: so with probability at least 1 - delta no certified level has a
risk above 1 - target ("Learn then Test", Angelopoulos et al. 2021, fixed sequence testing). The
risk is E[wrong calls of a unit] / E[sent calls of a unit], units independent. What this file does
not know: where rows come from, and whether tomorrow's units are like these (`watch`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.train.bounds import least_rejected
from ultracore.distillation.train.plan import Counts, Plan, count, make_plan, units_needed
from ultracore.distillation.train.thresholds import (
    Family,
    GateRows,
    apply,
    coverage_and_agreement,
    learn_family,
    own_floor,
)

__all__ = ["GateRows", "certify"]


def certify(
    development: GateRows,
    calibration: GateRows,
    *,
    target: float = 0.93,
    delta: float = 0.05,
    level: Literal["whole_call", "tool"] = "whole_call",
    seed: int = 0,
) -> Certificate:
    """Find the largest coverage whose sent calls are shown to agree at `target`, or say why there is none.

    A unit with more sent calls than `Certificate.cap` counts for `cap` calls, in proportion; for that
    statement the guarantee holds at every sample size and for every distribution of units. That it
    also holds for plain counts rests on development rows, from which the calls beyond the cap are hedged.
    Rows whose labels were drawn (audits) count by their weights: it speaks about the traffic that they stand for.

    Args:
        development: Out-of-fold predictions on training units; used freely.
        calibration: Predictions on units that neither the student nor any choice has seen; used once.
        target: T, wanted agreement among sent calls (0..1).
        delta: Allowed probability of certifying wrongly (0..1).
        level: What `agrees` compares: whole calls, or tools only.
        seed: Fixes the order of the units; never choose it by the result.

    Returns:
        A certificate; a refusal (`certified` false) says why, and in `more_units` about how many more
        units would do, if they are like these and any number would.

    Raises:
        ConfigurationError: `target` or `delta` is not strictly between 0 and 1.

    Example:
        >>> rows = GateRows.of(range(90), ["f"] * 90, [0.9] * 90, [True] * 90, [True] * 90)
        >>> certify(rows, rows).thresholds
        {'f': 0.9}
        >>> certify(rows, GateRows.of([0], ["f"], [0.9], [True], [True])).more_units
        73
    """
    if not 0.0 < delta < 1.0:
        raise ConfigurationError(f"delta must lie strictly between 0 and 1, got {delta}")
    development = _weighed_like(development, calibration)
    family = learn_family(development, own_floor(target))
    plan = make_plan(family, development, calibration.unit_count, target, delta, calibration.heaviest)
    blank = Certificate(
        certified=False, level=level, target=target, delta=delta, units=calibration.unit_count,
        decisions=len(calibration),
    )  # fmt: skip
    if plan is None:
        return msgspec.structs.replace(blank, reason=_hopeless(development, target))
    blank = msgspec.structs.replace(blank, method=_method(plan, calibration))
    counts = _counted(family, plan, calibration, seed)
    last = _walk(plan, counts, 1.0 - target, delta)
    if last is None:
        return _refused(blank, family, plan, development, calibration, counts)
    alone = _alone(family, plan, calibration, seed, last, 1.0 - target, delta)
    return _issued(blank, family, plan, calibration, counts, last, alone)


def _weighed_like(development: GateRows, calibration: GateRows) -> GateRows:
    """Development rows weigh at most what calibration rows do: theirs also stand for merged equal ones."""
    if calibration.weights is None or development.weights is None:
        return replace(development, weights=None)
    return replace(development, weights=np.minimum(development.weights, calibration.weights.max()))


def _method(plan: Plan, calibration: GateRows) -> str:
    if plan.single:
        return "exact_binomial"
    return "betting" if calibration.heaviest is None else "weighted_betting"


def _counted(family: Family, plan: Plan, calibration: GateRows, seed: int) -> Counts:
    rng = np.random.default_rng(seed)
    rows = _one_per_unit(calibration, rng) if plan.single else calibration
    order = rng.permutation(rows.unit_count)
    counts = count(rows, family.levels(rows), plan.levels)
    return Counts(counts.sent[order], counts.errors[order])


def _one_per_unit(rows: GateRows, rng: np.random.Generator) -> GateRows:
    """Keep one sendable decision a unit, drawn before any outcome: the binomial test needs independence."""
    shuffled = rng.permutation(np.flatnonzero(rows.sendable))
    kept = np.zeros(len(rows), dtype=np.bool_)
    kept[shuffled[np.unique(rows.units[shuffled], return_index=True)[1]]] = True
    return replace(rows, sendable=kept)


def _walk(plan: Plan, counts: Counts, alpha: float, delta: float) -> int | None:
    """The last step before the first that fails. Going on behind a failure would void the guarantee."""
    last = None
    for step in range(len(plan.levels)):
        if plan.p_value(counts, step, alpha) > delta:
            break
        last = step
    return last


def _alone(
    family: Family, plan: Plan, calibration: GateRows, seed: int, last: int, alpha: float, delta: float
) -> list[str]:
    """Actions whose own calls pass every step up to the last: for each of them the statement holds by itself.

    Each is wrong with probability delta at most, one by one; whichever step was issued, it was among those tested.
    """
    passed = []
    for action in family.at(float(plan.levels[last])):
        mine = replace(calibration, sendable=calibration.sendable & (calibration.actions == action))
        counts = _counted(family, plan, mine, seed)
        if all(plan.p_value(counts, step, alpha) <= delta for step in range(last + 1)):
            passed.append(action)
    return passed


def _issued(
    blank: Certificate, family: Family, plan: Plan, calibration: GateRows, counts: Counts, step: int, alone: list[str]
) -> Certificate:
    thresholds = family.at(float(plan.levels[step]))
    outcome = coverage_and_agreement(calibration, thresholds)
    coverage = _coverage(calibration, thresholds)
    bound = least_rejected(lambda rate: plan.p_value(counts, step, rate), 1.0 - blank.target, blank.delta)
    return msgspec.structs.replace(
        blank,
        certified=True,
        reason=f"Of the calls it sends ({coverage:.1%} of decisions), at least {blank.target:.1%} agree with "
        f"the teacher: shown on {blank.units} units with confidence {1.0 - blank.delta:.0%}.",
        thresholds=thresholds,
        pooled=not alone or set(alone) != set(thresholds),
        alone=alone,
        sent=outcome.sent,
        agreeing=outcome.agreeing,
        coverage=coverage,
        lower_bound=1.0 - bound,
        cap=float(plan.caps[step]),
    )


def _coverage(rows: GateRows, thresholds: dict[str, float]) -> float:
    everything = rows.weigh(np.ones(len(rows), np.bool_))
    return float(rows.weigh(apply(thresholds, rows)).sum() / everything.sum())


def _error_free_units(counts: Counts, blank: Certificate) -> int:
    """Units that would do if no call disagreed in them either: log(delta) / log(target) of those that send a call."""
    sending = float((counts.sent[:, 0] > 0).mean())
    return math.ceil(math.log(blank.delta) / math.log(blank.target) / sending)


MOST_UNITS = 20_000
"""With disagreements among the calls sent, nobody should be told to wait for more units than this."""


def _refused(
    blank: Certificate, family: Family, plan: Plan, development: GateRows, calibration: GateRows, counts: Counts
) -> Certificate:
    seen = count(development, family.levels(development), plan.levels)
    both = Counts(np.vstack([seen.sent, counts.sent]), np.vstack([seen.errors, counts.errors]))
    needed = units_needed(both, blank.target, blank.delta, single=plan.single, heaviest=calibration.heaviest)
    sent, wrong = _seen(family, plan, calibration, counts)
    if not sent:
        reason = (
            f"None of its calls on {blank.units} calibration units was sure enough to be tested; train on more tasks."
        )
        return msgspec.structs.replace(blank, reason=reason)
    if not wrong and (needed is None or needed > MOST_UNITS):
        needed = _error_free_units(counts, blank)
    shown = f"{sent - wrong} of {sent} calls agree at the most promising thresholds"
    if needed is None or (wrong and needed > MOST_UNITS):
        reason = f"{shown}: no practical number of units shows {blank.target:.1%} like that; train a better student."
        return msgspec.structs.replace(blank, reason=reason)
    more = max(needed - blank.units, blank.units // 10, 1)
    reason = (
        f"{blank.units} calibration units are too few to show {blank.target:.1%} ({shown}); about {more} more may do."
    )
    return msgspec.structs.replace(blank, reason=reason, more_units=more)


def _seen(family: Family, plan: Plan, calibration: GateRows, counts: Counts) -> tuple[int, int]:
    """Calls sent and wrong at the first step, as they were counted: each once, whatever it weighs."""
    if calibration.weights is not None:
        rows = replace(calibration, weights=None)
        counts = count(rows, family.levels(rows), plan.levels)
    return int(counts.sent[:, 0].sum()), int(counts.errors[:, 0].sum())


def _hopeless(development: GateRows, target: float) -> str:
    if not development.sendable.any():
        return "No development decision is a complete call: there is nothing to send, hence nothing to certify."
    return (
        f"No threshold lets calls agree at {target:.1%} even on the {development.unit_count} development units: "
        "more units of calibration will not help; train on more tasks."
    )
