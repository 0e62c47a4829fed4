"""The four watched conditions, with the limits of the settings: agreement, latency, drift, age of the training data.

Each has room between where it begins and where it ends, so that a figure near its limit does not flap. What this
file does not know: when an alert may change (`alerts`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from ultracore.distillation.settings import Settings
from ultracore.distillation.watch.alerts import Condition
from ultracore.distillation.watch.drift import Drift, worst
from ultracore.distillation.watch.latency import Latencies

__all__ = ["AGREEMENT_RISK", "agreement", "drift", "latency", "staleness"]

AGREEMENT_RISK = 0.05
"""Chance that a model that agrees well enough is ever alarmed about; a revocation is fifty times surer."""

LATENCY_RISK = 1e-4
"""Chance of an alarm in an hour whose 95 % quantile is the limit."""

BACK = 0.02
WELL_WITHIN = 0.8
LEAST_ANSWERS = 20


def agreement(settings: Settings, upper: float | None, estimate: float | None) -> Condition:
    """Is live agreement below its limit?

    Args:
        settings: The limit.
        upper: Upper bound at `AGREEMENT_RISK`; `None` where no student answers.
        estimate: For the message.
    """
    limit = settings.alert_agreement
    said = "no student answers" if upper is None else "no label yet" if estimate is None else f"{estimate:.1%}"
    return Condition(
        name="agreement_low",
        value=estimate,
        limit=limit,
        beyond=upper is not None and upper <= limit + 1e-9,
        within=upper is None or upper >= min(1.0, limit + BACK),
        message=f"live agreement with the teacher: {said} (alert below {100 * limit:g}%)",
    )


def latency(settings: Settings, hour: Latencies) -> Condition:
    """Do the student's answers of an hour take too long, more of them than chance makes of 5 %?"""
    limit, count = settings.alert_latency_ms, hour.count
    p95 = hour.quantile(0.95) if count >= LEAST_ANSWERS else None
    said = f"95 % of the student's last {count} answers took up to {p95 or 0.0:.0f} ms"
    return Condition(
        name="latency_high",
        value=p95,
        limit=limit,
        beyond=p95 is not None and p95 > limit and _surely_above(0.05, hour.slower(limit), count),
        within=p95 is not None and p95 <= WELL_WITHIN * limit,
        message=f"{said} (alert above {limit:.0f} ms)",
    )


def drift(settings: Settings, found: Sequence[Drift]) -> Condition:
    """Has the traffic changed, chance ruled out?"""
    limit, most = settings.alert_drift, worst(found)
    said = "not measured yet" if most is None else f"{most.detector} {most.score:.3f}, p = {most.p_value:.4f}"
    return Condition(
        name="drift_high",
        value=None if most is None else most.score,
        limit=limit,
        beyond=most is not None and most.alarmed,
        within=most is not None and max(one.score for one in found) <= WELL_WITHIN * limit,
        message=f"drift: {said} (alert above {limit})",
    )


def staleness(settings: Settings, trained_at: str | None, now: datetime) -> Condition:
    """Was the model that answers trained too long ago? Its age counts from its training."""
    limit = settings.alert_stale_days
    days = None if trained_at is None else max(0.0, (now - datetime.fromisoformat(trained_at)).total_seconds() / 86400)
    return Condition(
        name="training_data_stale",
        value=days,
        limit=limit,
        beyond=days is not None and days > limit,
        within=days is None or days <= limit,
        message=f"the training data are {days or 0.0:.0f} days old (alert above {limit:.0f})",
    )


def _surely_above(share: float, count: int, of: int) -> bool:
    """Whether a true share makes so many less than once in 1 / `LATENCY_RISK` times (Chernoff's bound)."""
    seen = count / of
    if seen <= share:
        return False
    entropy = seen * math.log(seen / share)
    if seen < 1.0:
        entropy += (1.0 - seen) * math.log((1.0 - seen) / (1.0 - share))
    return of * entropy > math.log(1.0 / LATENCY_RISK)
