"""Has the traffic changed? Named detectors, each with its score, its sizes and how likely chance is to give it.

A score is a distance less what chance alone would give for samples of these sizes, so that small samples score
near zero instead of high; a permutation of whole episodes tells. It alarms above its threshold, and only where
chance is ruled out. What this file does not know: whether the student is any worse for it, and where the samples
come from.

Sources: Lin 1991, "Divergence measures based on the Shannon entropy", equation 5.1 (`actions`, `words`,
`escalations`: the distance is the root of the divergence in bits). Kullback 1959, the divergence that credit
scoring calls population stability index (`offers`). Székely & Rizzo 2013, "Energy statistics", section 1
(`states`: the root of the normalised energy distance between episodes as bags of hashed words).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.students.mix import Mix
from ultracore.distillation.watch.permutations import Excess, beyond_chance

__all__ = ["RISK", "THRESHOLD", "Drift", "compare", "drift_between", "drift_of_counts", "worst"]

THRESHOLD = 0.1
RISK = 0.001
"""Chance of a false alarm of a detector in one comparison: by design 0.3 a month at 10,000 decisions a day. Measured
(`python -m benchmarks watching`): an unlucky reference makes windows cross together, 2.3 of `actions` in one month."""

MAX_STATES = 300
"""Episodes of each side whose states are compared pair by pair."""

FloatArray = NDArray[np.float64]
Counts = Mapping[str, int]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector found.

    Attributes:
        detector: Its name.
        score: How far the samples are apart, beyond chance (0..1).
        threshold: Above it the detector alarms, if chance is ruled out.
        p_value: How often chance alone gives as much.
        alarmed: Whether it does.
        reference_count: Decisions of the one sample.
        recent_count: Decisions of the other.
        detail: Figures of its own, in words.
    """

    detector: str
    score: float
    threshold: float
    p_value: float
    alarmed: bool
    reference_count: int
    recent_count: int
    detail: str = ""


def drift_between(
    reference: Mix, recent: Mix, *, seed: int = 0, threshold: float = THRESHOLD, risk: float = RISK
) -> list[Drift]:
    """Compare two mixes by actions, words, tools on offer, and states.

    Args:
        reference: What the model was certified on.
        recent: What it meets now.
        seed: Of the permutations.
        threshold: Score above which a detector alarms.
        risk: Chance of a false alarm of one detector.

    Returns:
        One finding for each detector that both mixes have data for.

    Example:
        >>> old, new = (Mix([UnitMix({tool: 1}, {})] * 40, 40) for tool in ("track", "refund"))
        >>> worst(drift_between(old, old)).alarmed, worst(drift_between(old, new)).detector
        (False, 'actions')
    """
    sizes = reference.decisions, recent.decisions
    found = []
    for detector, (measure, field) in _DETECTORS.items():
        then, now = ([getattr(unit, field) for unit in mix.units] for mix in (reference, recent))
        if any(then) and any(now):
            found.append(compare(detector, measure(then, now, seed), sizes, threshold=threshold, risk=risk))
    return found


def drift_of_counts(
    detector: str,
    reference: Sequence[Counts],
    recent: Sequence[Counts],
    *,
    seed: int = 0,
    threshold: float = THRESHOLD,
) -> Drift:
    """Compare what units counted, by Jensen-Shannon distance."""
    sizes = sum(sum(unit.values()) for unit in reference), sum(sum(unit.values()) for unit in recent)
    return compare(detector, _jensen_shannon(reference, recent, seed), sizes, threshold=threshold)


def compare(
    detector: str,
    excess: Excess,
    sizes: tuple[int, int],
    *,
    threshold: float = THRESHOLD,
    risk: float = RISK,
    detail: str = "",
) -> Drift:
    """The finding of a detector, from what it measured beyond chance."""
    score = min(1.0, excess.value)
    return Drift(
        detector=detector,
        score=score,
        threshold=threshold,
        p_value=excess.p_value,
        alarmed=score > threshold and excess.p_value <= risk,
        reference_count=sizes[0],
        recent_count=sizes[1],
        detail=detail,
    )


def worst(found: Sequence[Drift]) -> Drift | None:
    """The finding that counts: the highest score among those that alarm, else among all."""
    return max(found, key=lambda drift: (drift.alarmed, drift.score), default=None)


def _jensen_shannon(reference: Sequence[Counts], recent: Sequence[Counts], seed: int) -> Excess:
    excess = _beyond(_divergence, reference, recent, seed)
    return excess._replace(value=float(np.sqrt(excess.value)))


def _stability_index(reference: Sequence[Counts], recent: Sequence[Counts], seed: int) -> Excess:
    return _beyond(_index, reference, recent, seed)


def _beyond(
    distance: Callable[[FloatArray, FloatArray], FloatArray],
    reference: Sequence[Counts],
    recent: Sequence[Counts],
    seed: int,
) -> Excess:
    counts = _matrix([*reference, *recent])
    total = counts.sum(axis=0)

    def apart(chosen: FloatArray) -> FloatArray:
        right = chosen @ counts
        return distance(total - right, right)

    return beyond_chance(apart, len(reference), len(recent), seed)


def _matrix(units: Sequence[Counts]) -> FloatArray:
    columns = {name: column for column, name in enumerate(sorted({name for unit in units for name in unit}))}
    out = np.zeros((len(units), max(1, len(columns))))
    for row, unit in enumerate(units):
        for name, count in unit.items():
            out[row, columns[name]] = count
    return out


def _divergence(left: FloatArray, right: FloatArray) -> FloatArray:
    """Jensen-Shannon divergence in bits of each row's pair of count vectors; 0 where one side is empty."""
    totals = left.sum(axis=1, keepdims=True), right.sum(axis=1, keepdims=True)
    p, q = left / np.maximum(totals[0], 1.0), right / np.maximum(totals[1], 1.0)
    middle = (p + q) / 2.0
    found = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2.0
    return np.where((totals[0] * totals[1])[:, 0] > 0.0, found, 0.0)


def _relative_entropy(p: FloatArray, q: FloatArray) -> FloatArray:
    ratio = np.where(p > 0.0, p, 1.0) / np.where(p > 0.0, q, 1.0)
    return np.asarray((p * np.log2(ratio)).sum(axis=1))


def _index(left: FloatArray, right: FloatArray) -> FloatArray:
    """Population stability index; half a count for each category keeps what is new on one side finite."""
    p, q = ((side + 0.5) / (side + 0.5).sum(axis=1, keepdims=True) for side in (left, right))
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=1))


def _energy(reference: Sequence[Counts], recent: Sequence[Counts], seed: int) -> Excess:
    rng = np.random.default_rng(seed)
    sides = [_sampled(side, rng) for side in (reference, recent)]
    vectors = _vectors([*sides[0], *sides[1]])
    distances = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * vectors @ vectors.T))
    np.fill_diagonal(distances, 0.0)

    def apart(chosen: FloatArray) -> FloatArray:
        other = 1.0 - chosen
        near, far = chosen @ distances, other @ distances
        n, m = chosen.sum(axis=1), other.sum(axis=1)
        cross = 2.0 * (near * other).sum(axis=1) / (n * m)
        within = (near * chosen).sum(axis=1) / n**2 + (far * other).sum(axis=1) / m**2
        return np.asarray((cross - within) / np.maximum(cross, 1e-12))

    excess = beyond_chance(apart, len(sides[0]), len(sides[1]), seed)
    return excess._replace(value=float(np.sqrt(excess.value)))


def _sampled(units: Sequence[Counts], rng: np.random.Generator) -> list[Counts]:
    kept = [unit for unit in units if unit]
    if len(kept) <= MAX_STATES:
        return kept
    return [kept[k] for k in np.sort(rng.choice(len(kept), MAX_STATES, replace=False))]


def _vectors(units: Sequence[Counts]) -> FloatArray:
    """A vector of length 1 for each unit: its hashed words."""
    out = np.sqrt(_matrix(units))
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))


_DETECTORS: dict[str, tuple[Callable[[Sequence[Counts], Sequence[Counts], int], Excess], str]] = {
    "actions": (_jensen_shannon, "actions"),
    "words": (_jensen_shannon, "words"),
    "offers": (_stability_index, "offers"),
    "states": (_energy, "words"),
}
