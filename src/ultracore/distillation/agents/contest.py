"""A prompt against weights: which student agrees more with the teacher, on the same tasks that neither has seen.

The compact student is trained here, on the tasks that prompts are optimized on. A difference that chance explains
(95 %, paired by decision, whole tasks) decides nothing. What this file does not know: how a prompt came about, and
which calls may be sent: that is a certificate's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

from ultracore.distillation.agreement import infer_free_text
from ultracore.distillation.decisions import Decision
from ultracore.distillation.optimize.figures import Estimate, difference, mean
from ultracore.distillation.policy import NO_POLICY
from ultracore.distillation.students.base import Student
from ultracore.distillation.students.certificate import Level
from ultracore.distillation.train.evaluate import Judged, judge
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.levels import at_level
from ultracore.distillation.train.parts import Parts

__all__ = ["Contest", "contest"]

Winner = Literal["prompt", "weights", "neither"]


class Contest(NamedTuple):
    """How a prompt and weights did.

    Attributes:
        decisions: Of the test part that can be compared.
        tasks: Independent ones among them.
        level: Whether whole calls were compared, or tools.
        prompt: Agreement of the student that reads the prompt (0..1).
        weights: Agreement of the compact student (0..1).
        gain: Of the prompt over the weights; `None` with fewer than two tasks.
        winner: Who is better by more than chance.
        prompt_seconds: A decision of the prompted student, wall clock, mean.
        weights_seconds: The same of the compact one.
    """

    decisions: int
    tasks: int
    level: Level
    prompt: float
    weights: float
    gain: Estimate | None
    winner: Winner
    prompt_seconds: float
    weights_seconds: float


def contest(prompted: Student, parts: Parts, level: Level, seed: int = 0) -> Contest:
    """Ask both about the test part.

    Args:
        prompted: Its prompt was optimized on `parts.train` at most.
        parts: Of `train.parts.split`.
        level: What is compared; the offline reader fills no arguments, so for it `tool`.
        seed: Of the training.

    Raises:
        ChatError: The language model does not answer.
    """
    test = at_level(parts.test, level)
    compact = fit_compact(at_level(parts.train, level), seed=seed).student
    (asked, slow), (learned, fast) = (_answers(student, test) for student in (prompted, compact))
    rows = [(a, b) for a, b in zip(asked, learned, strict=True) if _agrees(a, level) is not None]
    ours, theirs = ([float(bool(_agrees(pair[i], level))) for pair in rows] for i in (0, 1))
    units = [a.unit for a, _ in rows]
    gain = difference(ours, theirs, units)
    return Contest(
        len(rows), len(set(units)), level, mean(ours), mean(theirs), gain, _winner(gain), slow / len(test),
        fast / len(test),
    )  # fmt: skip


def _answers(student: Student, test: Sequence[Decision]) -> tuple[list[Judged], float]:
    began = time.perf_counter()
    proposals = student.propose_batch([decision.state for decision in test])
    taken = time.perf_counter() - began
    return judge(test, proposals, NO_POLICY.comparators(infer_free_text(test))), taken


def _agrees(row: Judged, level: Level) -> bool | None:
    return row.tool if level == "tool" else row.whole


def _winner(gain: Estimate | None) -> Winner:
    if gain is None or gain.ends[0] <= 0.0 <= gain.ends[1]:
        return "neither"
    return "prompt" if gain.value > 0 else "weights"
