"""One division of a set: fit a student and the baselines on one side, compare them with the teacher on the other.

Thresholds are tuned on the out-of-fold proposals of the training side only. What this file does not
know: how figures are made of the comparisons.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.data import Part, Size, parts_of
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal, Student
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.train.baselines import BASELINES
from ultracore.distillation.train.evaluate import Judged, columns, gate_rows, judge
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.thresholds import tuned_thresholds

__all__ = ["LEVELS", "Comparison", "compare", "compare_all", "slim", "timed_proposals"]

LEVELS = (0.93, 0.95, 0.98)


class Comparison(NamedTuple):
    """What came of one division.

    Attributes:
        judged: The student's proposals beside the teacher's decisions on the test side.
        sent: By level: whether the tuned gate sends each of them.
        baselines: By name: a baseline's decisions beside the teacher's.
        trained_on: Decisions on the training side.
        fit_seconds: CPU seconds of the fit.
        milliseconds: CPU milliseconds of each proposal.
    """

    judged: list[Judged]
    sent: dict[float, list[bool]]
    baselines: dict[str, list[Judged]]
    trained_on: int
    fit_seconds: float
    milliseconds: list[float]


def compare_all(name: str, data: Path, size: Size, processes: int = 2, seed: int = 0) -> list[Comparison]:
    """All divisions of a set, in so many processes at a time."""
    jobs = [(name, data, size, number, seed) for number in range(len(parts_of(name, data, size)))]
    if processes == 1 or len(jobs) == 1:
        return [_numbered(*job) for job in jobs]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_numbered, *zip(*jobs, strict=True)))


def compare(part: Part, seed: int = 0) -> Comparison:
    """Fit on one side, compare on the other."""
    began = time.process_time()
    fit = fit_compact(part.train, seed=seed)
    fit_seconds = time.process_time() - began
    proposals, milliseconds = timed_proposals(fit.student, part.test)
    development = gate_rows(judge(*columns(fit.development), fit.comparators))
    baselines = {}
    for name, make in BASELINES.items():
        baseline = make(seed)
        baseline.fit(part.train)
        decided = [Proposal(calls) for calls in baseline.predict(part.test)]
        baselines[name] = slim(judge(part.test, decided, fit.comparators))
    return Comparison(
        slim(judge(part.test, proposals, fit.comparators)),
        {level: _sent(tuned_thresholds(development, level), proposals) for level in LEVELS},
        baselines,
        len(part.train),
        fit_seconds,
        milliseconds,
    )


def timed_proposals(student: Student, decisions: Sequence[Decision]) -> tuple[list[Proposal], list[float]]:
    """What a student proposes, one state at a time, and the CPU milliseconds of each."""
    proposals, milliseconds = [], []
    for decision in decisions:
        began = time.process_time()
        proposals.append(student.propose(decision.state))
        milliseconds.append(1000.0 * (time.process_time() - began))
    return proposals, milliseconds


def slim(judged: Sequence[Judged]) -> list[Judged]:
    """The same without the conversations, which are large and have done their work."""
    empty = State([], [])
    return [row._replace(decision=msgspec.structs.replace(row.decision, state=empty, reply=None)) for row in judged]


def _numbered(name: str, data: Path, size: Size, number: int, seed: int) -> Comparison:
    return compare(parts_of(name, data, size)[number], seed)


def _sent(thresholds: dict[str, float], proposals: Sequence[Proposal]) -> list[bool]:
    gate = Certificate(certified=True, thresholds=thresholds)
    return [gate.accepts(proposal) for proposal in proposals]
