"""Do certificates keep their word on real traces? Many random splits by task: certify on one part, look at another.

Students are few and splits many: each student is trained on half of the tasks and its proposals for
the other half are divided many times into calibration and test. A certificate counts as broken where
even the upper end of the test's exact interval (Clopper & Pearson, one-sided 95 %) is below the level;
that interval takes decisions as independent, so it breaks rather too often. Splits share tasks, so
they are not independent either. What this file does not know: how a certificate is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.cross_validation import proposals_of, slim
from benchmarks.data import Part, Size, decisions_of, sample, some_of
from benchmarks.sections import Section, Table, number, share
from ultracore.distillation.splits import parts_by_task, split_by_task
from ultracore.distillation.train.certify import certify
from ultracore.distillation.train.evaluate import Judged, columns, gate_rows, judge
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.thresholds import Outcome, coverage_and_agreement, tuned_thresholds

__all__ = ["PLANS", "Trial", "measure_splits", "trials_of", "upper_bound"]

LEVELS = (0.93, 0.90)
TRAIN, REST = 3000, 4000
"""Of a large set, so many decisions are learned from, and so many others calibrate and test."""


class Reuse(NamedTuple):
    """How often: so many students, and so many calibration/test splits of each one's unseen tasks."""

    students: int
    splits: int


LARGE = ("snips", "banking77", "sgd")
PLANS = {"telecom": Reuse(5, 8), "airline": Reuse(5, 8), "bank": Reuse(5, 8)} | dict.fromkeys(LARGE, Reuse(1, 20))


class Trial(NamedTuple):
    """One calibration/test split.

    Attributes:
        units: Calibration units.
        issued: Whether a certificate was issued.
        certified: What its thresholds do on the test part.
        tuned: What thresholds tuned on training tasks do there.
    """

    units: int
    issued: bool
    certified: Outcome
    tuned: Outcome


def measure_splits(name: str, data: Path, size: Size) -> Section:
    """All splits of one set."""
    plan = Reuse(1, 2) if size.quick else PLANS[name]
    trials: dict[float, list[Trial]] = {level: [] for level in LEVELS}
    for number_ in range(plan.students):
        part = _divide(name, data, size, number_)
        for level, found in trials_of(part, plan.splits, number_).items():
            trials[level].extend(found)
    rows = [_row(name, level, found) for level, found in trials.items()]
    about = f"{plan.students} students x {plan.splits} calibration/test splits of the tasks that each has not seen"
    figures = {str(level): [trial._asdict() for trial in found] for level, found in trials.items()}
    return Section(f"splits/{name}", about, [_table(rows)], figures=figures)


def trials_of(part: Part, splits: int, seed: int) -> dict[float, list[Trial]]:
    """Fit on `train`, then split `test` so many times into halves by task: one to calibrate, one to look at."""
    fit = fit_compact(part.train, seed=seed)
    development = judge(*columns(fit.development), fit.comparators)
    proposals = proposals_of(fit.student, part.test)
    rest = slim(judge(part.test, proposals, fit.comparators))
    halves = [parts_by_task(part.test, (0.5, 0.5), seed=1000 * seed + split) for split in range(splits)]
    return {level: [_trial(development, rest, half, level) for half in halves] for level in LEVELS}


def upper_bound(outcome: Outcome) -> float:
    """Exact one-sided 95 % upper bound of the agreement; 1 where nothing was sent."""
    wrong = outcome.sent - outcome.agreeing
    return float(stats.beta.ppf(0.95, outcome.agreeing + 1, wrong)) if wrong else 1.0


def _divide(name: str, data: Path, size: Size, seed: int) -> Part:
    if name not in LARGE:
        return Part(*split_by_task(some_of(name, data, size), (0.5, 0.5), seed))
    decisions = [decision for decision in decisions_of(name, data) if decision.is_call]
    n = min(200 if size.quick else TRAIN, len(decisions) // 2)
    train, rest = split_by_task(decisions, (n / len(decisions), 1 - n / len(decisions)), seed)
    return Part(train, sample(rest, n if size.quick else REST, seed))


def _trial(development: Sequence[Judged], rest: Sequence[Judged], half: Sequence[int], level: float) -> Trial:
    rows = gate_rows(development)
    calibration, test = (gate_rows([r for r, h in zip(rest, half, strict=True) if h == i]) for i in (0, 1))
    certificate = certify(rows, calibration, target=level)
    certified = coverage_and_agreement(test, certificate.thresholds)  # none, where refused
    tuned = coverage_and_agreement(test, tuned_thresholds(rows, level))
    return Trial(calibration.unit_count, certificate.certified, certified, tuned)


def _row(name: str, level: float, trials: Sequence[Trial]) -> list[str]:
    issued = [trial for trial in trials if trial.issued]
    certified, tuned = ([getattr(t, kind).coverage for t in trials] for kind in ("certified", "tuned"))
    ratio = float(np.sum(certified) / np.sum(tuned)) if np.sum(tuned) else None
    return [
        name, f"{level:.0%}", str(len(trials)), number(float(np.mean([t.units for t in trials])), 0),
        str(len(issued)),
        *_broken([t.certified for t in issued], level),
        *_broken([t.tuned for t in trials], level),
        share(float(np.mean(certified))), share(float(np.mean(tuned))), number(ratio, 2),
        number(_ratio_of(issued), 2),
    ]  # fmt: skip


def _broken(outcomes: Sequence[Outcome], level: float) -> list[str]:
    """How many are clearly below the level, and how many are below it at all."""
    clearly = sum(upper_bound(outcome) < level for outcome in outcomes)
    below = sum(outcome.agreement is not None and outcome.agreement < level for outcome in outcomes)
    return [f"{clearly} / {len(outcomes)}", f"{below} / {len(outcomes)}"]


def _ratio_of(trials: Sequence[Trial]) -> float | None:
    tuned = sum(trial.tuned.coverage for trial in trials)
    return sum(trial.certified.coverage for trial in trials) / tuned if tuned else None


def _table(rows: list[list[Any]]) -> Table:
    return Table(
        "Certificates on random splits by task (delta 5 %)",
        ["data", "level", "splits", "calibration units", "issued", "clearly broken", "below on test",
         "tuned: clearly below", "tuned: below", "certified coverage, %", "tuned coverage, %", "certified / tuned",
         "the same where issued"],
        rows,
        "Coverage is of the test part, a refusal counts as 0. Splits of one student share tasks, so counts are not "
        "independent. A test part that happens to lie a little below the level breaks nothing; one whose exact upper "
        "bound lies below it does.",
    )  # fmt: skip
