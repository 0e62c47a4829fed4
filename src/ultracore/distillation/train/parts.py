"""Which decisions train, which calibrate, which test: whole tasks, and nothing of the test in the training.

What this file does not know: what is done with the parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import DataError
from ultracore.distillation.splits import check_leakage, split_by_task, units_of

__all__ = ["OneTeacher", "Parts", "learn_from_others", "of_one_teacher", "split"]

WITHOUT_TEST = (0.5, 0.3, 0.2)
WITH_TEST = (0.75, 0.25)
LEAST_UNITS = 4
"""Two to learn from (cross-fitting needs two), one to calibrate, one to test."""


class Parts(NamedTuple):
    """The parts of a run; no task and no episode is in two of them.

    Attributes:
        train: Decisions to learn from.
        calibration: Decisions for the certificate.
        test: Decisions for the report.
        problems: What had to be left out, as `errors` of a result.
    """

    train: list[Decision]
    calibration: list[Decision]
    test: list[Decision]
    problems: list[dict[str, Any]]


class OneTeacher(NamedTuple):
    """The decisions of one teacher, and the rest.

    Attributes:
        teacher: Its name, "" where the traces name none.
        decisions: Its decisions.
        others: Those of other teachers.
        problems: That these were left out, for whoever leaves them out.
    """

    teacher: str
    decisions: list[Decision]
    others: list[Decision]
    problems: list[dict[str, Any]]


def split(decisions: Sequence[Decision], test: Sequence[Decision] | None = None, seed: int = 0) -> Parts:
    """Split by task: 50/30/20 % of the tasks, or 75/25 % where there is a test set of its own.

    Args:
        decisions: What was given to learn from.
        test: Test decisions of their own; those whose task or episode is also in `decisions` are left out.
        seed: Another seed gives another split.

    Raises:
        DataError: There are too few independent tasks, or nothing of `test` is left.
    """
    needed = LEAST_UNITS if test is None else LEAST_UNITS - 1
    if (units := len(set(units_of(decisions)))) < needed:
        raise DataError(
            f"{units} independent task(s) are too few: at least {needed} are needed to learn, to calibrate and to "
            "test on different ones, and some hundred to certify; add conversations about other tasks"
        )
    if test is None:
        train, calibration, held = split_by_task(decisions, WITHOUT_TEST, seed)
        return Parts(train, calibration, held, [])
    kept, problems = _unseen(decisions, test)
    train, calibration = split_by_task(decisions, WITH_TEST, seed)
    return Parts(train, calibration, kept, problems)


def of_one_teacher(decisions: Sequence[Decision], teacher: str | None = None) -> OneTeacher:
    """The decisions of one teacher, the most frequent by default; those that name none count as its own.

    Raises:
        DataError: No decision is this teacher's.
    """
    count = Counter(decision.teacher for decision in decisions if decision.teacher)
    chosen = teacher or min(count, key=lambda name: (-count[name], name), default="")
    kept = [decision for decision in decisions if decision.teacher in ("", chosen)]
    if not kept:
        raise DataError(f"no decision is by {chosen}; the traces name {', '.join(sorted(count))}")
    others = [decision for decision in decisions if decision.teacher not in ("", chosen)]
    problems = [_left_out(f"decisions of another teacher, {name}", n) for name, n in count.items() if name != chosen]
    return OneTeacher(chosen, kept, others, problems)


def learn_from_others(parts: Parts, others: Sequence[Decision]) -> Parts:
    """Other teachers' decisions to learn from too, but those about tasks that are held back."""
    leak = check_leakage(others, [*parts.calibration, *parts.test])
    tasks, episodes = set(leak.shared_tasks), set(leak.shared_episodes)
    kept = [d for d in others if d.task not in tasks and d.episode not in episodes]
    n = len(others) - len(kept)
    problems = [_left_out("decisions of other teachers, about tasks that are held back", n)] if n else []
    return parts._replace(train=[*parts.train, *kept], problems=[*parts.problems, *problems])


def _unseen(decisions: Sequence[Decision], test: Sequence[Decision]) -> tuple[list[Decision], list[dict[str, Any]]]:
    leak = check_leakage(decisions, test)
    tasks, episodes = set(leak.shared_tasks), set(leak.shared_episodes)
    kept = [d for d in test if d.task not in tasks and d.episode not in episodes]
    if not kept:
        raise DataError(
            "every task of the test file is also in the training files, so nothing is left to test on; "
            "leave --test out to have some tasks held back, or give a file about other tasks"
        )
    if len(kept) == len(test):
        return kept, []
    return kept, [_left_out(f"test decisions of {len(tasks)} task(s) that are also in training", len(test) - len(kept))]


def _left_out(reason: str, n: int) -> dict[str, Any]:
    return {"reason": f"{n:,} {reason}", "lines": "of several tasks", "n": n}
