"""Fitting the compact student: evidence, then rankers on out-of-fold evidence, then whole calls.

The out-of-fold proposals come out too: thresholds are developed on them, never on the student's answers
to its own training decisions. What this file does not know: how a layer is fitted (`train.layers`), certificates
and files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.agreement import Comparators, infer_free_text, strict
from ultracore.distillation.decisions import Decision
from ultracore.distillation.errors import DataError
from ultracore.distillation.splits import folds_by_task, units_of
from ultracore.distillation.students.compact.knowledge import infer_schemas
from ultracore.distillation.students.compact.memory import ContextMemory
from ultracore.distillation.students.compact.student import CompactStudent, Rankers
from ultracore.distillation.students.compact.triggers import NO_TRIGGERS, Triggers
from ultracore.distillation.train.calibration import fit_calibration
from ultracore.distillation.train.environment import one_thread, uncollected
from ultracore.distillation.train.evidence import fit_evidence
from ultracore.distillation.train.examples import Prepared, circles_once, prepare
from ultracore.distillation.train.familiarity import fit_familiarity
from ultracore.distillation.train.layers import (
    ACTION_NETWORK,
    ARGUMENT_NETWORK,
    CALL_NETWORK,
    TRUST,
    Layers,
    OutOfFold,
    is_known,
)
from ultracore.distillation.train.parts import of_one_teacher
from ultracore.distillation.train.remembering import with_memories

__all__ = ["FitResult", "OutOfFold", "fit_compact", "hyper_parameters"]

Floats = NDArray[np.float32]
Say = Callable[[str], None]

FOLDS = 4


def hyper_parameters() -> dict[str, Any]:
    """What was chosen by hand, for the record of a model."""
    return {
        "folds": FOLDS,
        "action_network": ACTION_NETWORK,
        "argument_network": ARGUMENT_NETWORK,
        "call_network": CALL_NETWORK,
        "trust": TRUST,
    }


class FitResult(NamedTuple):
    """A student and what came out beside it.

    Attributes:
        student: The fitted student.
        development: Out-of-fold proposals for the training decisions, remembered ones included; their confidences
            are cross-fitted.
        comparators: The arguments found to be free text.
        seconds: Wall-clock duration.
        triggers: Phrases that forced a call, see `train.triggers`: nothing was learned from decisions with them,
            and the student is sure of nothing where it hears one.
    """

    student: CompactStudent
    development: list[OutOfFold]
    comparators: Comparators
    seconds: float
    triggers: Triggers = NO_TRIGGERS

    def development_for(self, teacher: str) -> list[OutOfFold]:
        """The out-of-fold proposals for this teacher's decisions."""
        return [out for out in self.development if out.decision.teacher == teacher]


@one_thread
@uncollected
def fit_compact(
    decisions: Sequence[Decision], *, teacher: str = "", seed: int = 0, say: Say = lambda stage: None
) -> FitResult:
    """Fit a student to a teacher's decisions.

    Args:
        decisions: What was decided; a decision of weight w counts as w; those in circles, as one for each
            conversation. Of several teachers all are learned from, each with its habits.
        teacher: Whom the student stands in for, where they are of several; the most frequent by default. Decisions
            that name no teacher count as its own.
        seed: Seed of the folds and of the networks.
        say: Told what is being done, stage by stage.

    Raises:
        DataError: There are fewer than two independent tasks or episodes.
    """
    began = time.perf_counter()
    if not decisions:
        raise DataError("there are no decisions to learn from; import traces that have assistant messages")
    teacher, decisions = _of_teachers(circles_once(decisions), teacher)
    if len(set(units_of(decisions))) < 2:
        raise DataError(
            "all decisions belong to one task: traces of at least two are needed to learn what carries over"
        )
    comparators = infer_free_text(decisions)
    schemas = infer_schemas(decisions)
    prepared, layers = _evidence(decisions, schemas, comparators, seed, say)
    forced: dict[str, str] = {}
    while found := layers.find_triggers(prepared):
        say(f"leaving out decisions with {', '.join(sorted(found))}: they force a call whatever else is so")
        forced, decisions = forced | found, _without(decisions, prepared, Triggers(found))
        prepared, layers = _evidence(decisions, schemas, comparators, seed, say)
    triggers, examples = Triggers(forced), prepared.examples
    say("fitting the rankers of actions and arguments")
    layers.fit_rankers()
    say("fitting the ranker of whole calls")
    layers.fit_calls()
    say("fitting evidence on all decisions")
    evidence = fit_evidence(examples, prepared, schemas, comparators, seed, layers.strength, votes=layers.votes)
    memory = ContextMemory.build(decisions)
    development = with_memories(_calibrate(layers.development, layers.final), layers.folds)
    student = CompactStudent(
        evidence, layers.final, memory,
        familiarity=fit_familiarity(decisions), triggers=triggers, teacher=teacher,
    )  # fmt: skip
    return FitResult(student, development, comparators, time.perf_counter() - began, triggers)


def _of_teachers(decisions: Sequence[Decision], teacher: str) -> tuple[str, list[Decision]]:
    """Whom to stand in for, "" where all decisions are of one, and the decisions with a teacher each."""
    chosen = of_one_teacher(decisions, teacher or None)
    named = [d if d.teacher else msgspec.structs.replace(d, teacher=chosen.teacher) for d in decisions]
    return chosen.teacher if chosen.others else "", named


def _evidence(
    decisions: Sequence[Decision], schemas: dict[str, Any], comparators: Comparators, seed: int, say: Say
) -> tuple[Prepared, Layers]:
    """Decisions, read, and the first of the layers."""
    say("reading conversations")
    prepared = prepare(decisions)
    k = min(FOLDS, len(set(units_of(decisions))))
    folds = np.array(folds_by_task([example.decision for example in prepared.examples], k, seed))
    layers = Layers(prepared.examples, folds, comparators, seed)
    say("fitting evidence on the other folds")
    layers.fit_evidence(prepared, schemas)
    return prepared, layers


def _without(decisions: Sequence[Decision], prepared: Prepared, triggers: Triggers) -> list[Decision]:
    """The decisions whose user said none of these phrases last."""
    return [d for d, e in zip(decisions, prepared.examples, strict=False) if not triggers.are_in(e.transcript)]


def _calibrate(development: Sequence[OutOfFold], rankers: Rankers) -> list[OutOfFold]:
    """Make the gate's probability one of new tasks; out-of-fold proposals get the same map."""
    known = [out for out in development if _is_asked(out)]
    confidence = [out.proposal.confidence for out in known]
    same = [bool(strict(o.proposal.calls, o.decision.calls, o.decision.state.tools)) for o in known]
    knots = fit_calibration(confidence, same, units_of([out.decision for out in known]))
    rankers.gate = rankers.gate.calibrated(knots)
    return list(development) if knots is None else [_mapped(out, knots) for out in development]


def _is_asked(out: OutOfFold) -> bool:
    return is_known(out.decision) and not out.proposal.missing and not out.decision.state.in_circles


def _mapped(out: OutOfFold, knots: Floats) -> OutOfFold:
    if out.proposal.missing:  # its confidence is 0, whatever the gate thinks
        return out
    confidence = float(np.interp(out.proposal.confidence, *knots))
    return out._replace(proposal=msgspec.structs.replace(out.proposal, confidence=confidence))
