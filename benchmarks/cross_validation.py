"""One division of a set: fit a student and the baselines on one side, compare them with the teacher on the other.

Every method gets thresholds tuned on decisions that it proposed without having learned their tasks, of the
training side only; where there are several teachers, the student stands in for each in turn, with thresholds
for it. The student is also certified: on one half of the test tasks for the other, and the other way round.
What this file does not know: how figures are made of the comparisons.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Part, Size, parts_of
from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.splits import parts_by_task, split_by_task, units_of
from ultracore.distillation.students.base import Proposal, Student
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.students.compact.student import CompactStudent, standing_in
from ultracore.distillation.train.baselines import BASELINES, Baseline
from ultracore.distillation.train.certify import certify
from ultracore.distillation.train.evaluate import TIMED, Judged, columns, gate_rows, judge
from ultracore.distillation.train.fit import FitResult, fit_compact
from ultracore.distillation.train.thresholds import GateRows, tuned_thresholds

__all__ = [
    "LEVELS",
    "STUDENT",
    "Comparison",
    "Measured",
    "compare",
    "compare_all",
    "proposals_of",
    "slim",
    "timed_proposals",
]

LEVELS = (0.93, 0.95, 0.98)
STUDENT = "compact student"
DEVELOPMENT_SHARE = 0.25


class Measured(NamedTuple):
    """One method on the test side.

    Attributes:
        judged: Its proposals beside the teacher's decisions.
        sent: By level: whether its tuned thresholds send each of them.
        fit_seconds: CPU seconds of the fit.
        milliseconds: CPU milliseconds of proposals one at a time.
        certified: By level: whether a certificate from the other half of the test tasks sends each of them;
            empty for a method that is not certified.
    """

    judged: list[Judged]
    sent: dict[float, list[bool]]
    fit_seconds: float
    milliseconds: list[float]
    certified: dict[float, list[bool]]


class Comparison(NamedTuple):
    """What came of one division: methods by name, and the decisions that they learned from."""

    methods: dict[str, Measured]
    trained_on: int


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
    methods = {STUDENT: _student(part, fit, time.process_time() - began, seed)}
    for name, make in BASELINES.items():
        methods[name] = _baseline(part, make, fit.comparators, seed)
    return Comparison(methods, len(part.train))


def timed_proposals(students: Sequence[Student], decisions: Sequence[Decision]) -> tuple[list[Proposal], list[float]]:
    """What each decision's student proposes, one state at a time, and the CPU milliseconds of each.

    The collector leaves alone what is there already, as in the gateway: it would look through everything that was
    fitted and read, which no server holds.
    """
    proposals, milliseconds = [], []
    gc.collect()
    gc.freeze()
    try:
        for student, decision in zip(students, decisions, strict=True):
            began = time.process_time()
            proposals.append(student.propose(decision.state))
            milliseconds.append(1000.0 * (time.process_time() - began))
    finally:
        gc.unfreeze()
    return proposals, milliseconds


def proposals_of(student: CompactStudent, decisions: Sequence[Decision]) -> list[Proposal]:
    """What the student proposes in each decision's state, standing in for its teacher."""
    asked = zip(standing_in(student, decisions), decisions, strict=True)
    return [mine.propose(decision.state) for mine, decision in asked]


def slim(judged: Sequence[Judged]) -> list[Judged]:
    """The same without the conversations, which are large and have done their work."""
    empty = State([], [])
    return [row._replace(decision=msgspec.structs.replace(row.decision, state=empty, reply=None)) for row in judged]


def _numbered(name: str, data: Path, size: Size, number: int, seed: int) -> Comparison:
    return compare(parts_of(name, data, size)[number], seed)


def _student(part: Part, fit: FitResult, seconds: float, seed: int) -> Measured:
    proposals, milliseconds = timed_proposals(standing_in(fit.student, part.test), part.test)
    own, judged = judge(*columns(fit.development), fit.comparators), judge(part.test, proposals, fit.comparators)
    tuned, certified = ({level: np.zeros(len(judged), np.bool_) for level in LEVELS} for _ in range(2))
    for development, places in _each_teacher(own, judged, fit.student.teacher):
        mine = [judged[place] for place in places]
        for level in LEVELS:
            tuned[level][places] = _sent(tuned_thresholds(development, level), mine)
            certified[level][places] = _certified(development, mine, level, seed)
    return Measured(slim(judged), _plain(tuned), seconds, milliseconds, _plain(certified))


def _each_teacher(
    development: Sequence[Judged], judged: Sequence[Judged], chosen: str
) -> Iterator[tuple[GateRows, list[int]]]:
    """What each teacher's thresholds are chosen on, and the places of its test decisions: a student each, as served.

    Decisions that name none are the chosen one's.
    """
    theirs = [row.decision.teacher or chosen for row in judged]
    for teacher in sorted(set(theirs)):
        own = [row for row in development if (row.decision.teacher or chosen) == teacher]
        if own:
            yield gate_rows(own), [place for place, name in enumerate(theirs) if name == teacher]


def _plain(sent: Mapping[float, NDArray[np.bool_]]) -> dict[float, list[bool]]:
    return {level: flags.tolist() for level, flags in sent.items()}


def _baseline(part: Part, make: Callable[[int], Baseline], comparators: Comparators, seed: int) -> Measured:
    rest, held = split_by_task(part.train, (1.0 - DEVELOPMENT_SHARE, DEVELOPMENT_SHARE), seed)
    earlier, baseline = make(seed), make(seed)
    earlier.fit(rest)
    development = gate_rows(judge(held, earlier.propose(held), comparators))
    began = time.process_time()
    baseline.fit(part.train)
    seconds, proposals = time.process_time() - began, baseline.propose(part.test)
    judged = slim(judge(part.test, proposals, comparators))
    return Measured(judged, _tuned(development, judged), seconds, _milliseconds(baseline, part.test), {})


def _milliseconds(baseline: Baseline, decisions: Sequence[Decision]) -> list[float]:
    took = []
    for decision in decisions[:: max(1, -(-len(decisions) // TIMED))]:
        began = time.process_time()
        baseline.propose([decision])
        took.append(1000.0 * (time.process_time() - began))
    return took


def _tuned(development: GateRows, judged: Sequence[Judged]) -> dict[float, list[bool]]:
    return {level: _sent(tuned_thresholds(development, level), judged) for level in LEVELS}


def _certified(development: GateRows, judged: Sequence[Judged], level: float, seed: int) -> list[bool]:
    """Each half of the test tasks is sent what a certificate from the other half lets out."""
    decisions = [row.decision for row in judged]
    if len(set(units_of(decisions))) < 2:
        return [False] * len(judged)
    half = np.array(parts_by_task(decisions, (0.5, 0.5), seed))
    sent = np.zeros(len(judged), np.bool_)
    for mine in (0, 1):
        calibration = gate_rows([row for row, h in zip(judged, half, strict=True) if h != mine])
        certificate = certify(development, calibration, target=level, seed=seed)
        sent |= (half == mine) & np.array([row.is_sent(certificate) for row in judged])
    return [bool(s) for s in sent]


def _sent(thresholds: dict[str, float], judged: Sequence[Judged]) -> list[bool]:
    gate = Certificate(certified=True, thresholds=thresholds)
    return [row.is_sent(gate) for row in judged]
