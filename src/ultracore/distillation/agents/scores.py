"""A student's proposals beside the teacher's decisions: what agrees, and what would be sent.

Used by the trainer and by the evaluation, so that both mean the same. What this file does not know:
where the decisions come from, and which agreement is enough.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.agreement import strict
from ultracore.distillation.curate.embed import read_decisions
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.students.base import Proposal, Student
from ultracore.distillation.students.certificate import Certificate, Level
from ultracore.distillation.tools import Tool, ToolCall

__all__ = [
    "Answer",
    "Scores",
    "Timing",
    "answers_of",
    "at_level",
    "level_of",
    "score",
    "teacher_decisions",
    "time_proposals",
]

TIMED_STATES = 100


class Answer(NamedTuple):
    """A decision of the teacher, and what the student proposes in its place."""

    decision: Decision
    proposal: Proposal

    @property
    def agrees(self) -> bool | None:
        """Whether both are the same; `None` where the teacher's arguments were not recorded."""
        tools = self.decision.state.tools
        return strict(self.proposal.calls, self.decision.calls, tools) is True if _is_known(self.decision) else None

    @property
    def sendable(self) -> bool:
        """Whether it is a complete call."""
        return bool(self.proposal.calls) and not self.proposal.missing


class Scores(NamedTuple):
    """Agreement on some decisions.

    Attributes:
        decisions: Decisions that can be scored (the arguments of the others are unknown).
        agreeing: Those in which the student agrees, sent or not.
        sent: Calls that the student would send.
        sent_agreeing: Those of them that agree with the teacher.
    """

    decisions: int
    agreeing: int
    sent: int
    sent_agreeing: int

    @property
    def sent_agreement(self) -> float | None:
        """Share of the sent calls that agree; `None` where none is sent."""
        return self.sent_agreeing / self.sent if self.sent else None

    @property
    def whole_agreement(self) -> float | None:
        """Share of all decisions, text replies included, in which the student agrees."""
        return self.agreeing / self.decisions if self.decisions else None

    @property
    def coverage(self) -> float:
        """Share of the decisions that the student would answer with a call of its own."""
        return self.sent / self.decisions if self.decisions else 0.0


class Timing(NamedTuple):
    """Milliseconds for one proposal: the median, and the value that 95 % stay below."""

    median_ms: float
    p95_ms: float


def teacher_decisions(rows: Any, needs: str) -> list[Decision]:
    """Read rows as decisions, without those that a student answered: they are no labels.

    Args:
        rows: A list of rows or decisions.
        needs: What the caller wanted, for the message.

    Raises:
        ConfigurationError: It is not a list.
        DataError: A row cannot be read, or there is more than one teacher or tenant.
    """
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise ConfigurationError(f"{needs}, such as logger.get_history()")
    kept = [row for row in rows if not (isinstance(row, Mapping) and row.get("source") == "student")]
    decisions = read_decisions(kept)
    for what, names in (
        ("teacher_model", {d.teacher for d in decisions}),
        ("tenant_id", {d.tenant for d in decisions}),
    ):
        if len(names - {""}) > 1:
            raise DataError(f"rows of more than one {what}: {sorted(names - {''})}; pass those of one at a time")
    return decisions


def level_of(decisions: Sequence[Decision]) -> Level:
    """`whole_call` if the arguments of at least half of the calls were recorded, else `tool`."""
    known = [_is_known(decision) for decision in decisions if decision.is_call]
    return "whole_call" if 2 * sum(known) >= len(known) else "tool"


def at_level(decisions: Sequence[Decision], level: Level) -> list[Decision]:
    """The decisions as a student of this level learns and answers them.

    At level `tool` a decision is a bare choice: tools lose their parameters, calls their arguments.
    So tool choice is all that is learned, judged and measured, also where schemas were offered.
    """
    return list(decisions) if level == "whole_call" else [_bare(decision) for decision in decisions]


def answers_of(student: Student, decisions: Sequence[Decision]) -> list[Answer]:
    """What a student proposes, beside what the teacher did."""
    proposals = student.propose_batch([decision.state for decision in decisions])
    return [Answer(decision, proposal) for decision, proposal in zip(decisions, proposals, strict=True)]


def score(answers: Sequence[Answer], certificate: Certificate) -> Scores:
    """Count agreement, and what the certificate lets out; unknown agreement counts nowhere."""
    judged = [(answer.agrees, certificate.accepts(answer.proposal)) for answer in answers]
    known = [(agrees, sent) for agrees, sent in judged if agrees is not None]
    return Scores(
        decisions=len(known),
        agreeing=sum(agrees for agrees, _ in known),
        sent=sum(sent for _, sent in known),
        sent_agreeing=sum(agrees and sent for agrees, sent in known),
    )


def time_proposals(student: Student, decisions: Sequence[Decision]) -> Timing | None:
    """Ask for proposals one by one, evenly spread over the decisions; `None` where there are none."""
    if not decisions:
        return None
    chosen = decisions[:: max(1, len(decisions) // TIMED_STATES)]
    took = sorted(_milliseconds(student, decision) for decision in chosen)
    return Timing(statistics.median(took), took[min(len(took) - 1, int(0.95 * len(took)))])


def _is_known(decision: Decision) -> bool:
    return strict(decision.calls, decision.calls, decision.state.tools) is not None


def _bare(decision: Decision) -> Decision:
    tools = [Tool(tool.name, tool.description) if tool.takes_arguments else tool for tool in decision.state.tools]
    calls = tuple(ToolCall(call.name, {}) for call in decision.calls)
    return msgspec.structs.replace(decision, state=State(decision.state.messages, tools), calls=calls)


def _milliseconds(student: Student, decision: Decision) -> float:
    began = time.perf_counter()
    student.propose(decision.state)
    return 1000.0 * (time.perf_counter() - began)
