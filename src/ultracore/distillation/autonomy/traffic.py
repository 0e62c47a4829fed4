"""Fresh traffic as pairs: what two models would have done, beside what the teacher did where that is known.

Both models are asked again about what the log holds, off the path of any request: that is the shadow. A student
that raises, or whose confidence is no probability, cannot be compared, and the error says so. What this file does not
know: what follows from the pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ultracore.distillation.agreement import Comparators, strict
from ultracore.distillation.autonomy.compare import Paired
from ultracore.distillation.decisions import Decision, action_of
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import EventStore
from ultracore.distillation.log.labels import labelled_rows
from ultracore.distillation.students.base import Student
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import ToolCall

__all__ = ["Fresh", "Model", "fresh_traffic", "pairs"]

Calls = tuple[ToolCall, ...]


class Fresh(NamedTuple):
    """A decision that neither model has learned from.

    Attributes:
        decision: Its state; its calls are the teacher's where `known`, else those that were sent.
        known: Whether the teacher's decision is known.
        given_to: The model that was to answer, whether it did or handed over; "" where there was none.
    """

    decision: Decision
    known: bool
    given_to: str


class Model(NamedTuple):
    """A student with what it may send.

    Attributes:
        student: Proposes.
        certificate: Says what may go out.
        stopped: Actions whose certificate was revoked since.
    """

    student: Student
    certificate: Certificate
    stopped: Collection[str] = ()

    def sends(self, decision: Decision) -> Calls | None:
        """What it would send by itself; `None` where it hands over.

        Raises:
            DataError: It breaks the protocol of students.
        """
        tools = {tool.name: tool.fingerprint for tool in decision.state.tools}
        try:
            proposal = self.student.propose(decision.state)
            if not 0.0 <= float(proposal.confidence) <= 1.0:
                raise DataError("its confidence is no probability")
        except Exception as error:
            why = str(error) if isinstance(error, DataError) else type(error).__name__
            raise DataError(f"model {self.student.model_id} cannot be asked: {why}") from error
        known = all(self.certificate.tools.get(call.name) == tools.get(call.name, "") for call in proposal.calls)
        stopped = any(call.name in self.stopped for call in proposal.calls)
        held = stopped or decision.state.in_circles
        return proposal.calls if known and not held and self.certificate.accepts(proposal) else None


def fresh_traffic(store: EventStore, tenant: str, after: int, settle_seconds: float, now: datetime) -> list[Fresh]:
    """Decisions after a position, of conversations that have settled, in the order of the log."""
    rows = labelled_rows(store, tenant=tenant, unlabelled=True, after=after)
    last: dict[str, str] = {}
    for row in rows:
        last[_conversation(row)] = max(row["timestamp"], last.get(_conversation(row), ""))
    until = (now - timedelta(seconds=settle_seconds)).isoformat()
    return [_fresh(row) for row in rows if row["source"] != "import" and last[_conversation(row)] <= until]


def pairs(traffic: Sequence[Fresh], active: Model, candidate: Model) -> list[Paired]:
    """What two models would have done with the same decisions.

    Raises:
        DataError: One of them cannot be asked.
    """
    comparators = Comparators(declared=candidate.certificate.comparators)
    found = []
    for fresh in traffic:
        old, new = active.sends(fresh.decision), candidate.sends(fresh.decision)
        worse = _worse(fresh, old, new, comparators)
        less = float(old is not None) - float(new is not None)
        found.append(Paired(fresh.decision.episode, action_of(fresh.decision.calls), worse, less))
    return found


def _worse(fresh: Fresh, old: Calls | None, new: Calls | None, comparators: Comparators) -> float:
    tools = fresh.decision.state.tools

    def wrong(calls: Calls | None) -> float:
        return float(calls is not None and not strict(calls, fresh.decision.calls, tools, comparators))

    if fresh.known:
        return wrong(new) - wrong(old)
    if new is None:  # at most as many errors as the other
        return 0.0
    return 0.0 if old is not None and strict(new, old, tools, comparators) else 1.0


def _fresh(row: Mapping[str, Any]) -> Fresh:
    given_to = (row.get("serving") or {}).get("model_id") or ""
    return Fresh(Decision.from_row(row), row["source"] != "student", given_to)


def _conversation(row: Mapping[str, Any]) -> str:
    return str(row.get("session_id") or row["event_id"])
