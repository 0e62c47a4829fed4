"""One request and what came of it, as the events and the headers that tell of it.

The receipt is the decision's event id: the header, the log and the outcome name the same thing. What
this file does not know: how the request was answered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from ultracore.distillation.agreement import Comparators, strict
from ultracore.distillation.decisions import action_of
from ultracore.distillation.events import AgentDecisionEvent, AuditRecordedEvent, DecisionOutcomeEvent
from ultracore.distillation.events.base import new_event_id
from ultracore.distillation.events.pattern import Pattern
from ultracore.distillation.serve.dialect import Dialect
from ultracore.distillation.serve.gate import Escalate, Send
from ultracore.distillation.serve.offer import Offer
from ultracore.distillation.serve.replies import Reply
from ultracore.distillation.serve.wire import ChatRequest
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import ToolCall

__all__ = ["Exchange"]

_HEADER_SAFE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,127}")


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """A request with its verdict.

    Attributes:
        dialect: In which shape it was asked.
        request: What was asked.
        offer: The tools in it.
        verdict: Who answers.
        receipt: Id of the decision.
        session: The conversation.
        agent_id: Who asked, as far as the client says.
        tenant: Whose it is.
        model_id: The student that was asked, "" if there is none.
        certificate_id: Fingerprint of its certificate.
        comparators: How arguments compare where the user declared it.
        audit_share: How likely the answer is to be audited, if the student gives it.
        started: `time.perf_counter()` when the request was whole.
        clock: Tells the time.
    """

    dialect: Dialect
    request: ChatRequest
    offer: Offer
    verdict: Send | Escalate
    receipt: str
    session: str
    agent_id: str
    tenant: str
    model_id: str
    certificate_id: str
    comparators: Comparators
    audit_share: float
    started: float
    clock: Callable[[], datetime]

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the request was whole."""
        return (time.perf_counter() - self.started) * 1000.0

    @property
    def reason(self) -> str | None:
        """Why the teacher answers; `None` if it does not."""
        return str(self.verdict.reason) if isinstance(self.verdict, Escalate) else None

    @property
    def headers(self) -> dict[str, str]:
        """The response headers that say who answered, and why."""
        local = isinstance(self.verdict, Send)
        values = {
            "x-distill-receipt": self.receipt,
            "x-distill-source": "student" if local else "teacher",
            "x-distill-model": self.model_id if local else self.request.model,
            "x-distill-certificate": self.certificate_id,
            "x-distill-reason": self.reason or "",
        }
        return {name: value for name, value in values.items() if _HEADER_SAFE.fullmatch(value)}

    @property
    def user_id(self) -> str | None:
        """The person on whose behalf it was asked, as far as the client says; their data are erased together."""
        for name in ("safety_identifier", "user"):
            said = self.request.options.get(name)
            if isinstance(said, str) and said:
                return said
        return None

    @property
    def audited(self) -> bool:
        """Whether the audit looks at this exchange: drawn from the end of its receipt, which is random."""
        return int(self.receipt[-12:], 16) < self.audit_share * 16**12

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """What the student proposed, if it was asked."""
        return () if self._proposal is None else self._proposal.calls

    def student_decision(self) -> AgentDecisionEvent:
        """The student's call, before it is sent."""
        return self._decision(
            "student", self.calls, confidence=self._confidence, reply=None, label_probability=self.audit_share
        )

    def teacher_decision(self, reply: Reply) -> AgentDecisionEvent:
        """The teacher's decision: a label.

        Args:
            reply: Whole, with calls that are known.
        """
        decision = self._decision(
            "teacher", reply.calls or (), confidence=None, reply=reply.text, label_probability=1.0
        )
        serving = {**(decision.serving or {}), "request_id": reply.id}
        return msgspec.structs.replace(decision, serving=serving)

    def outcome(self, status: str, error: str | None = None, cost_usd: float | None = None) -> DecisionOutcomeEvent:
        """How the exchange ended.

        Args:
            status: `ok`, `error`, `cancelled` or `truncated`.
            error: Why, in our own words.
            cost_usd: What the teacher cost; its tokens are told by each attempt.
        """
        receipt = self.receipt
        return _outcomes(self.tenant, status, error).again(
            new_event_id(),
            receipt,
            self.clock(),
            receipt,
            subject=self.user_id,
            decision_id=receipt,
            execution_time_ms=self.elapsed_ms,
            cost_usd=cost_usd,
        )

    def audit(self, teacher: tuple[ToolCall, ...] | None) -> AuditRecordedEvent:
        """What the teacher would have done; `None` where it could not be asked."""
        calls = self.calls
        agrees = None if teacher is None else strict(calls, teacher, self.offer.tools.values(), self.comparators)
        return AuditRecordedEvent.record(
            decision_id=self.receipt,
            model_id=self.model_id,
            action=action_of(calls),
            agrees=agrees,
            sampling_probability=self.audit_share,
            agent_id=self.agent_id,
            tier="" if self._proposal is None else self._proposal.source,
            teacher_calls=_plain(teacher or ()),
            subject=self.user_id,
            causation_id=self.receipt,
            tenant_id=self.tenant,
            clock=self.clock,
        )

    @property
    def _proposal(self) -> Proposal | None:
        return self.verdict.proposal

    @property
    def _confidence(self) -> float | None:
        return None if self._proposal is None else self._proposal.confidence

    def _decision(self, source: str, calls: Sequence[ToolCall], **data: Any) -> AgentDecisionEvent:
        return AgentDecisionEvent.record(
            event_id=self.receipt,
            tenant_id=self.tenant,
            clock=self.clock,
            agent_id=self.agent_id,
            session_id=self.session,
            step=self.request.step,
            context=self.request.context,
            tools_available=self.offer.definitions,
            tool_selected=action_of(calls),
            tool_parameters=calls[0].arguments if calls else None,
            tool_calls=_plain(calls),
            teacher_model=self.request.model,
            user_id=self.user_id,
            source=source,
            serving=self._serving(),
            **data,
        )

    def _serving(self) -> dict[str, Any]:
        return {
            "receipt": self.receipt,
            "model_id": self.model_id or None,
            "reason": self.reason,
            "detail": self.verdict.detail if isinstance(self.verdict, Escalate) else "",
            "confidence": self._confidence,
            "tier": None if self._proposal is None else self._proposal.source,
            "latency_ms": round(self.elapsed_ms, 3),
            "endpoint": self.dialect.path,
            "partial": self.request.partial,
        }


@lru_cache(maxsize=256)
def _outcomes(tenant: str, status: str, error: str | None) -> Pattern[DecisionOutcomeEvent]:
    """Outcomes that differ in numbers and ids; of which conversation, the decision says: here it would be sealed."""
    success = status == "ok"
    first = DecisionOutcomeEvent.record(decision_id="", success=success, status=status, error=error, tenant_id=tenant)
    return Pattern(first, ("decision_id", "execution_time_ms", "cost_usd"))


def _plain(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [{"name": call.name, "arguments": call.arguments} for call in calls]
