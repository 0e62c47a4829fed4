"""How well a student does on decisions that it has not seen: every figure of a report, from one table.

`judge` compares proposals with the teacher once; everything else reads its rows. Strict agreement
decides, tolerant agreement stands beside it. A decision whose arguments were not recorded counts for
the choice of the tool only. What this file does not know: how the student was trained.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ultracore.distillation.agreement import Comparators, same_kind, same_tools, strict, tolerant
from ultracore.distillation.decisions import Decision
from ultracore.distillation.splits import units_of
from ultracore.distillation.students.base import Proposal, Student
from ultracore.distillation.students.certificate import Certificate, Level
from ultracore.distillation.students.compact.artefact import load_student
from ultracore.distillation.train.environment import one_thread
from ultracore.distillation.train.levels import is_known
from ultracore.distillation.train.metrics import (
    bootstrap_shares,
    calibration_bins,
    calibration_error,
    calibration_error_by_chance,
    debiased_calibration_error,
    risk_coverage,
)
from ultracore.distillation.train.thresholds import GateRows, apply, tuned_thresholds

__all__ = [
    "Judged",
    "columns",
    "curves",
    "gate_rows",
    "judge",
    "latency",
    "measure_level",
    "measure_test",
    "per_tool",
    "propose_saved",
    "recurring",
    "rows_by_level",
    "time_proposals",
    "tuned_for",
]

TIMED = 300
"""Proposals timed for the latency: three lie above the 99th percentile."""


class Judged(NamedTuple):
    """A proposal beside the teacher's decision.

    Attributes:
        decision: The teacher's.
        proposal: The student's.
        unit: The independent unit that the decision belongs to.
        whole: Strict agreement; `None` where the teacher's arguments were not recorded.
        whole_tolerant: Tolerant agreement; `None` likewise.
        tool: Whether the same tools are called.
        kind: Whether both call, or both reply.
        in_circles: Whether the conversation goes in circles: then the gate asks no student.
    """

    decision: Decision
    proposal: Proposal
    unit: str
    whole: bool | None
    whole_tolerant: bool | None
    tool: bool
    kind: bool
    in_circles: bool = False

    def is_sent(self, certificate: Certificate) -> bool:
        """Whether the gate would let the proposal out, here."""
        return not self.in_circles and certificate.accepts(self.proposal)


@one_thread
def propose_saved(folder: Path, decisions: Sequence[Decision]) -> list[Proposal]:
    """What the student whose files are in the folder proposes; a path, so that another process can do it."""
    return load_student(folder).propose_batch([decision.state for decision in decisions])


def time_proposals(student: Student, decisions: Sequence[Decision]) -> list[float]:
    """Milliseconds of single proposals, for at most `TIMED` decisions spread evenly over all."""
    return [_milliseconds(student, d) for d in decisions[:: max(1, -(-len(decisions) // TIMED))]]


def columns(rows: Iterable[tuple[Decision, Proposal]]) -> tuple[list[Decision], list[Proposal]]:
    """Decisions and proposals apart, such as those of `FitResult.development`."""
    pairs = list(rows)
    return [decision for decision, _ in pairs], [proposal for _, proposal in pairs]


def judge(decisions: Sequence[Decision], proposals: Sequence[Proposal], comparators: Comparators) -> list[Judged]:
    """Compare each proposal with the teacher's decision."""
    rows = zip(decisions, proposals, units_of(decisions), strict=True)
    return [_judge(decision, proposal, unit, comparators) for decision, proposal, unit in rows]


def gate_rows(
    judged: Sequence[Judged],
    certificate: Certificate | None = None,
    level: Level = "whole_call",
    *,
    weighed: bool = False,
) -> GateRows:
    """The rows that can be compared at this level, as the gate sees them.

    Args:
        judged: Decisions.
        certificate: Says which proposals may be sent at all, and the level; by default every complete call may.
        level: Where no certificate says it.
        weighed: Whether each counts for as many as its decision stands for.
    """
    may = certificate or Certificate(certified=False, level=level)
    level = may.level
    rows = [row for row in judged if level == "tool" or row.whole is not None]
    return GateRows.of(
        [row.unit for row in rows],
        [row.proposal.action for row in rows],
        [row.proposal.confidence for row in rows],
        [not row.in_circles and may.is_sendable(row.proposal) for row in rows],
        [bool(row.tool if level == "tool" else row.whole) for row in rows],
        [row.decision.weight for row in rows] if weighed else None,
    )


def rows_by_level(rows: GateRows, certificate: Certificate) -> dict[float, GateRows]:
    """The same rows once for each level that their tools need, with only the calls of that level sendable.

    The certificate's own level always has an entry, in first place.
    """
    names, codes = np.unique(rows.actions, return_inverse=True)
    level = np.array([certificate.level_of(str(name)) for name in names])[codes]
    found = {certificate.target: None} | dict.fromkeys(sorted(set(level[rows.sendable].tolist())))
    return {wanted: replace(rows, sendable=rows.sendable & (level == wanted)) for wanted in found}


def tuned_for(rows: GateRows, certificate: Certificate) -> dict[str, float]:
    """Thresholds tuned on development rows, of each tool for its level."""
    by_level = rows_by_level(rows, certificate).items()
    return {action: least for level, mine in by_level for action, least in tuned_thresholds(mine, level).items()}


def measure_test(judged: Sequence[Judged], teacher_whole_call: float | None = None, seed: int = 0) -> dict[str, Any]:
    """The `test` entry of a result: agreement over all decisions, sent or not, with 95 % intervals by task.

    Args:
        judged: Test decisions.
        teacher_whole_call: How often the teacher agrees with itself, for `normalised`.
        seed: Seed of the intervals.
    """
    figures: dict[str, list[bool | None]] = {
        "whole_call": [row.whole for row in judged],
        "whole_call_tolerant": [row.whole_tolerant for row in judged],
        "tool": [row.tool for row in judged],
        "call_or_reply": [row.kind for row in judged],
        "whole_call_on_calls": [row.whole if row.decision.is_call else None for row in judged],
    }
    shares = {name: _share(values) for name, values in figures.items()}
    known = [row for row in judged if row.whole is not None]
    asked = [row for row in known if not row.in_circles]
    whole = shares["whole_call"]
    return {
        "n": len(judged),
        "n_whole_call": len(known),
        "episodes": len({row.decision.episode for row in judged}),
        "tasks": len({row.unit for row in judged}),
        **shares,
        "interval": _intervals(figures, [row.unit for row in judged], seed),
        "ece": calibration_error(*_confidence(asked)) if asked else None,
        "ece_debiased": debiased_calibration_error(*_confidence(asked)) if asked else None,
        "ece_by_chance": calibration_error_by_chance(*_confidence(asked), np.array([row.unit for row in asked]), seed),
        "normalised": whole / teacher_whole_call if whole is not None and teacher_whole_call else None,
    }


def measure_level(
    judged: Sequence[Judged], development: Sequence[Judged], certificate: Certificate, audit_rate: float
) -> dict[str, Any]:
    """One entry of `levels`: what tuned thresholds do on the test, and what the certified ones do.

    Args:
        judged: Test decisions.
        development: Out-of-fold proposals, on which the tuned thresholds are chosen.
        certificate: For this level of agreement, issued or refused.
        audit_rate: Share of the sent calls that also go to the teacher (0..1).
    """
    rows = gate_rows(judged, certificate)
    tuned = apply(tuned_for(gate_rows(development, certificate), certificate), rows)
    certified = apply(certificate.thresholds, rows) if certificate.certified else None
    sent = tuned if certified is None else certified
    return {
        "coverage": _mean(tuned) or 0.0,
        "agreement": _mean(rows.agrees[tuned]),
        "n": len(rows),
        "sent": int(tuned.sum()),
        "calls_saved": 0.0 if certified is None else (_mean(certified) or 0.0) * (1.0 - audit_rate),
        "certified": certificate.certified,
        "certified_coverage": None if certified is None else _mean(certified) or 0.0,
        "certified_agreement": None if certified is None else _mean(rows.agrees[certified]),
        "more_units": certificate.more_units,
        "reason": certificate.reason.rstrip("."),
        "by_action": {str(action): _action(rows, sent, str(action)) for action in np.unique(rows.actions[sent])},
    }


def per_tool(judged: Sequence[Judged], certificate: Certificate) -> list[dict[str, Any]]:
    """Agreement where the teacher chose each tool, most frequent first."""
    groups: dict[str, list[Judged]] = {}
    for row in judged:
        groups.setdefault(row.decision.action, []).append(row)
    rows = [_tool_row(tool, group, certificate) for tool, group in groups.items()]
    return sorted(rows, key=lambda row: (-row["n"], row["tool"]))


def curves(judged: Sequence[Judged], seed: int = 0) -> dict[str, Any]:
    """The entries `risk_coverage` and `calibration_bins`, over decisions that can be compared as a whole."""
    known = [row for row in judged if row.whole is not None]
    if not known:
        return {}
    rows = gate_rows(known)
    curve = risk_coverage(rows.confidence, rows.sendable, rows.agrees, rows.units, seed)
    bins = calibration_bins(*_confidence([row for row in known if not row.in_circles]))
    return {"calibration_bins": bins, **({"risk_coverage": curve} if curve else {})}


def recurring(judged: Sequence[Judged]) -> dict[str, Any]:
    """Decisions answered from the memory of contexts: their share, their strict agreement, and that of the others.

    The two are never one figure: work that comes back is remembered, and says nothing about new work.
    """
    seen, new = ([row for row in judged if (row.proposal.source == "cache") is side] for side in (True, False))
    return {
        "share": len(seen) / len(judged) if judged else 0.0,
        "agreement": _share([row.whole for row in seen]),
        "n": len(seen),
        "new_agreement": _share([row.whole for row in new]),
        "new_n": len(new),
    }


def latency(milliseconds: Sequence[float]) -> dict[str, Any]:
    """Median and 99th percentile of one decision, in milliseconds."""
    p50, p99 = np.quantile(milliseconds, [0.5, 0.99])
    return {"p50": float(p50), "p99": float(p99), "n": len(milliseconds)}


def _milliseconds(student: Student, decision: Decision) -> float:
    began = time.perf_counter()
    student.propose(decision.state)
    return 1000.0 * (time.perf_counter() - began)


def _judge(decision: Decision, proposal: Proposal, unit: str, comparators: Comparators) -> Judged:
    theirs, ours, tools = decision.calls, proposal.calls, decision.state.tools
    known = is_known(decision)
    return Judged(
        decision,
        proposal,
        unit,
        whole=strict(ours, theirs, tools, comparators) is True if known else None,
        whole_tolerant=tolerant(ours, theirs, tools, comparators) is True if known else None,
        tool=same_tools(ours, theirs),
        kind=same_kind(ours, theirs),
        in_circles=decision.state.in_circles,
    )


def _confidence(judged: Sequence[Judged]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    confidence = np.array([row.proposal.confidence for row in judged], np.float64)
    return confidence, np.array([bool(row.whole) for row in judged], np.bool_)


def _intervals(figures: Mapping[str, Sequence[bool | None]], units: Sequence[str], seed: int) -> dict[str, Any]:
    codes = np.unique(np.array(units), return_inverse=True)[1]
    shape = (int(codes.max()) + 1, len(figures))
    hits, totals = np.zeros(shape), np.zeros(shape)
    for column, values in enumerate(figures.values()):
        np.add.at(totals[:, column], codes, [value is not None for value in values])
        np.add.at(hits[:, column], codes, [value is True for value in values])
    found = zip(figures, bootstrap_shares(hits, totals, seed), strict=True)
    return {name: list(ends) for name, ends in found if ends is not None}


def _action(rows: GateRows, sent: NDArray[np.bool_], action: str) -> dict[str, Any]:
    mine = sent & (rows.actions == action)
    return {"coverage": float(mine.mean()), "agreement": _mean(rows.agrees[mine]), "n": int(mine.sum())}


def _tool_row(tool: str, group: Sequence[Judged], certificate: Certificate) -> dict[str, Any]:
    sent = [row for row in group if row.is_sent(certificate)]
    return {
        "tool": tool,
        "n": len(group),
        "whole_call": _share([row.whole for row in group]),
        "tool_agreement": _share([row.tool for row in group]),
        "sent": len(sent),
        "sent_agreement": _share([row.whole for row in sent]),
    }


def _share(values: Sequence[bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mean(flags: NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None
