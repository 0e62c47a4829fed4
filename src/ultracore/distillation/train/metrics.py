"""Figures from arrays: intervals, calibration error and the curve of agreement over coverage.

Decisions of one unit (task) are dependent, so every interval resamples whole units (the percentile
bootstrap of clusters, Davison & Hinkley 1997, chapter 3). What this file does not know: decisions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "bootstrap_shares",
    "calibration_bins",
    "calibration_error",
    "calibration_error_by_chance",
    "debiased_calibration_error",
    "risk_coverage",
]

RESAMPLES = 2000
CHUNK = 250
ALPHA = 0.05
BINS = 10
EQUAL_BINS = 15
POINTS = 40
LEAST_UNITS = 10
"""Below, signs are too few: those of five units are all alike in one draw of 16, which gives back the error itself."""

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


def bootstrap_shares(hits: ArrayLike, totals: ArrayLike, seed: int = 0) -> list[tuple[float, float] | None]:
    """95 % intervals of shares, by resampling units.

    Args:
        hits: [units, figures] agreeing decisions of each unit.
        totals: [units, figures] decisions of each unit.
        seed: Seed of the resampling.

    Returns:
        (low, high) of each figure; `None` where fewer than two units have decisions.

    Example:
        >>> bootstrap_shares([[5], [5]], [[5], [5]])
        [(1.0, 1.0)]
    """
    right, n = np.asarray(hits, np.float64), np.asarray(totals, np.float64)
    usable = (n > 0).sum(axis=0) >= 2
    ends: list[tuple[float, float] | None] = [None] * n.shape[1]
    if usable.any():
        drawn = _resampled(right[:, usable], n[:, usable], seed)
        pairs = np.nanquantile(drawn, [ALPHA / 2, 1 - ALPHA / 2], axis=0).T
        for column, (low, high) in zip(np.flatnonzero(usable), pairs, strict=True):
            ends[column] = float(low), float(high)
    return ends


def calibration_error(confidence: Floats, agrees: NDArray[np.bool_]) -> float | None:
    """Expected calibration error: mean gap between confidence and agreement over 10 bins of equal width.

    Example:
        >>> calibration_error(np.array([1.0, 1.0]), np.array([True, False]))
        0.5
    """
    bins = calibration_bins(confidence, agrees)
    if not bins:
        return None
    return float(sum(b["n"] * abs(b["confidence"] - b["agreement"]) for b in bins) / len(confidence))


def calibration_error_by_chance(
    confidence: Floats, agrees: NDArray[np.bool_], units: NDArray[Any], seed: int = 0
) -> dict[str, float | None] | None:
    """The `calibration_error` that a perfectly calibrated student with these very confidences would show.

    Outcomes are drawn from the confidences, independent of each other (the consistency resampling of Bröcker & Smith
    2007; Vaicenavicius et al. 2019, section 4). Decisions of one unit go right and wrong together: `upper_by_unit`
    gives what was seen of whole units a random sign (the wild bootstrap of clusters, Cameron et al. 2008), and is the
    bound to hold an error against where units are not single decisions.

    Returns:
        `mean` and `upper` (95 %) of the draws, and `upper_by_unit`, which is `None` below `LEAST_UNITS`; `None` where
        there are no decisions.

    Example:
        >>> calibration_error_by_chance(np.ones(9), np.ones(9, bool), np.arange(9))
        {'mean': 0.0, 'upper': 0.0, 'upper_by_unit': None}
    """
    if not len(confidence):
        return None
    rng, gaps, code = np.random.default_rng(seed), agrees - confidence, np.unique(units, return_inverse=True)[1]
    member = np.eye(BINS)[_bin_of(confidence)]
    of_units = np.zeros((int(code.max()) + 1, BINS))
    np.add.at(of_units, code, gaps[:, None] * member)
    drawn, signed = [], []
    for _ in range(RESAMPLES // CHUNK):
        drawn.append(((rng.random((CHUNK, len(gaps))) < confidence) - confidence) @ member)
        signed.append(rng.choice([-1.0, 1.0], (CHUNK, len(of_units))) @ of_units)
    errors, by_unit = (np.abs(np.vstack(sums)).sum(axis=1) / len(gaps) for sums in (drawn, signed))
    upper, upper_by_unit = (float(np.quantile(found, 1.0 - ALPHA)) for found in (errors, by_unit))
    enough = len(of_units) >= LEAST_UNITS
    return {"mean": float(errors.mean()), "upper": upper, "upper_by_unit": upper_by_unit if enough else None}


def debiased_calibration_error(confidence: Floats, agrees: NDArray[np.bool_]) -> float | None:
    """Root of the mean squared gap between confidence and agreement, less what sampling alone would show.

    The plain error of a perfectly calibrated confidence is not 0 but shrinks with n; this one's square is
    unbiased (Kumar, Liang & Ma 2019, section 4: bins of equal size, each bin's variance taken off).

    Returns:
        0 where sampling explains all; `None` where no bin has two rows.
    """
    bins = [b for b in np.array_split(np.argsort(confidence, kind="stable"), EQUAL_BINS) if len(b) > 1]
    if not bins:
        return None
    gaps = [(confidence[b].mean() - agrees[b].mean()) ** 2 - agrees[b].var() / (len(b) - 1) for b in bins]
    return float(np.sqrt(max(0.0, np.average(gaps, weights=[len(b) for b in bins]))))


def calibration_bins(confidence: Floats, agrees: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Mean confidence, agreement and count of each bin that is not empty."""
    place = _bin_of(confidence)
    return [
        {
            "confidence": float(confidence[place == b].mean()),
            "agreement": float(agrees[place == b].mean()),
            "n": int((place == b).sum()),
        }
        for b in np.unique(place).tolist()
    ]


def risk_coverage(
    confidence: Floats, sendable: NDArray[np.bool_], agrees: NDArray[np.bool_], units: Codes, seed: int = 0
) -> dict[str, list[float]]:
    """Agreement of the surest calls against their share of all decisions, with a 95 % band.

    Args:
        confidence: [decisions] of the student.
        sendable: [decisions] whether it is a complete call.
        agrees: [decisions] with the teacher.
        units: [decisions] code of each decision's unit, 0..units-1.
        seed: Seed of the band.

    Returns:
        `coverage`, `agreement`, `lower`, `upper`; empty where nothing can be sent.
    """
    order = np.flatnonzero(sendable)[np.argsort(-confidence[sendable], kind="stable")]
    if not len(order):
        return {}
    sizes = np.unique(np.linspace(len(order) / POINTS, len(order), POINTS).round().astype(int).clip(1))
    shape = (int(units.max()) + 1, len(sizes))
    hits, totals = np.zeros(shape), np.zeros(shape)
    first = np.searchsorted(sizes, np.arange(1, len(order) + 1))  # the smallest cut that a call belongs to
    np.add.at(totals, (units[order], first), 1.0)
    np.add.at(hits, (units[order], first), agrees[order].astype(float))
    hits, totals = hits.cumsum(axis=1), totals.cumsum(axis=1)
    agreement = hits.sum(axis=0) / totals.sum(axis=0)
    band = [ends or (share, share) for ends, share in zip(bootstrap_shares(hits, totals, seed), agreement, strict=True)]
    return {
        "coverage": (sizes / len(confidence)).tolist(),
        "agreement": agreement.tolist(),
        "lower": [float(low) for low, _ in band],
        "upper": [float(high) for _, high in band],
    }


def _bin_of(confidence: Floats) -> Codes:
    return np.minimum((confidence * BINS).astype(np.intp), BINS - 1)


def _resampled(hits: Floats, totals: Floats, seed: int) -> Floats:
    """[resamples, figures] shares; NaN where a resample holds no decision of a figure."""
    rng, units = np.random.default_rng(seed), len(hits)
    out = []
    for _ in range(RESAMPLES // CHUNK):
        copies = rng.multinomial(units, np.full(units, 1.0 / units), size=CHUNK).astype(np.float64)
        n = copies @ totals
        out.append(np.divide(copies @ hits, n, out=np.full_like(n, np.nan), where=n > 0))
    return np.vstack(out)
