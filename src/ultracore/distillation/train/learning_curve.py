"""Would more data help? The same training on a quarter and on half of the tasks, tested alike.

What this file does not know: the training on everything, whose point the caller adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import DataError
from ultracore.distillation.splits import split_by_task, units_of
from ultracore.distillation.train.evaluate import Judged, judge, measure_test
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.parallel import Job
from ultracore.distillation.train.parts import of_one_teacher

__all__ = ["SHARES", "finish_curve", "learning_curve", "point", "some_tasks"]

PATIENCE_SECONDS = 20.0

SHARES = (0.25, 0.5)
LEAST_UNITS = 8
"""Fewer training tasks than this say nothing about more of them."""
TEST_DECISIONS = 300
"""So many decide a point within about 5 percentage points, and cost little."""


def learning_curve(train: Sequence[Decision], test: Sequence[Decision], seed: int = 0) -> list[dict[str, Any]]:
    """Fit to growing parts of the training tasks, and test each student.

    Args:
        train: What the student learns from.
        test: What all points are tested on; see `some_tasks`.
        seed: Seed of the parts and of the fits.

    Raises:
        DataError: There are too few training tasks.
    """
    if len(set(units_of(train))) < LEAST_UNITS:
        raise DataError(f"fewer than {LEAST_UNITS} training tasks: a learning curve would be noise")
    points, teacher = [], of_one_teacher(test).teacher
    for share in SHARES:
        part = split_by_task(train, (share, 1.0 - share), seed)[0]
        if not any(decision.teacher in ("", teacher) for decision in part):
            continue
        fit = fit_compact(part, teacher=teacher, seed=seed)
        proposals = fit.student.propose_batch([decision.state for decision in test])
        points.append(point(part, judge(test, proposals, fit.comparators), seed))
    return points


def finish_curve(
    smaller: Job[list[dict[str, Any]]],
    learned: Sequence[Decision],
    tested: Sequence[Judged],
    few: Sequence[Decision],
    seconds: float,
    seed: int = 0,
) -> dict[str, Any]:
    """The entry `learning_curve` with the point of the whole training, or under `skipped` why there is none.

    Args:
        smaller: The points of the smaller trainings, from `learning_curve`.
        learned: What the student learned from.
        tested: The student's test.
        few: The test decisions of the other points.
        seconds: Duration of the whole training.
        seed: Seed of the intervals.
    """
    if seconds > PATIENCE_SECONDS and not smaller.is_ready:
        return _skipped(f"training took {seconds:.0f} s; smaller ones are worth no more than {PATIENCE_SECONDS:.0f} s")
    try:
        points = smaller.result()
    except DataError as error:
        return _skipped(str(error))
    wanted = {id(decision) for decision in few}
    return {"learning_curve": [*points, point(learned, [row for row in tested if id(row.decision) in wanted], seed)]}


def some_tasks(test: Sequence[Decision]) -> list[Decision]:
    """Whole tasks of about `TEST_DECISIONS` decisions, the first by name; all where there are fewer."""
    units = units_of(test)
    chosen: set[str] = set()
    n = 0
    for unit in sorted(set(units)):
        if n >= TEST_DECISIONS:
            break
        chosen.add(unit)
        n += units.count(unit)
    return [decision for decision, unit in zip(test, units, strict=True) if unit in chosen]


def point(learned: Sequence[Decision], tested: Sequence[Judged], seed: int = 0) -> dict[str, Any]:
    """One entry of `learning_curve`."""
    measured = measure_test(tested, seed=seed)
    return {
        "tasks": len({decision.task for decision in learned}),
        "decisions": round(sum(decision.weight for decision in learned)),
        "whole_call": measured["whole_call"],
        "interval": measured["interval"].get("whole_call"),
    }


def _skipped(reason: str) -> dict[str, Any]:
    return {"skipped": {"learning_curve": reason}}
