"""The gate: send the student's whole call, or hand the request over and say why.

Pure and synchronous: the same request gives the same verdict. A call is sent only if it was
offered, is what the request allows, is known to the certificate unchanged, is sure enough for it,
and has arguments that are valid under the schema offered now. What this file does not know: HTTP,
teachers, and the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from ultracore.distillation.agreement import Comparators
from ultracore.distillation.decisions import CIRCLE, State, goes_in_circles
from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.events.privacy.redaction import MARK
from ultracore.distillation.serve.offer import Offer, invalid, read_offer
from ultracore.distillation.serve.support import unsupported
from ultracore.distillation.serve.wire import ChatRequest
from ultracore.distillation.students.base import Proposal, Recalls, Student
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import Tool, ToolCall

__all__ = ["Escalate", "Gate", "Reason", "Send"]


MAX_VERDICTS = 10_000
"""Verdicts remembered, a few hundred bytes each; then all are forgotten, which costs less than keeping their order."""


class Reason(StrEnum):
    """Why a request goes to the teacher; a closed list."""

    NOT_CERTIFIED = "not_certified"
    REVOKED = "revoked"
    LOW_CONFIDENCE = "low_confidence"
    TEXT_REPLY = "text_reply"
    UNKNOWN_TOOL = "unknown_tool"
    SCHEMA_CHANGED = "schema_changed"
    PROMPT_CHANGED = "prompt_changed"
    OTHER_TEACHER = "other_teacher"
    INVALID_ARGUMENTS = "invalid_arguments"
    UNSUPPORTED_REQUEST = "unsupported_request"
    POLICY = "policy"
    FORCED = "forced"
    STUDENT_ERROR = "student_error"
    OVERLOAD = "overload"
    ROLLOUT = "rollout"


class Send(msgspec.Struct, frozen=True):
    """The student's proposal goes out; every call in it has arguments."""

    proposal: Proposal


class Escalate(msgspec.Struct, frozen=True):
    """The request goes to the teacher.

    Attributes:
        reason: From the closed list.
        detail: For a person; holds no values from the conversation.
        proposal: What the student would have done, if it was asked.
    """

    reason: Reason
    detail: str = ""
    proposal: Proposal | None = None


_Key = tuple[bytes, bool, frozenset[str]]
Kept = TypeVar("Kept", dict[_Key, "Send | Escalate"], set[_Key])
Found = TypeVar("Found", Send, Escalate, Send | Escalate, Send | Escalate | None)


class Gate:
    """Decides who answers.

    Args:
        student: Is asked for a proposal.
        certificate: Says which proposals may be sent; it must be this student's.
        never: Names of tools whose calls always go to the teacher, beside those that the certificate names. So
            do those of tools that an MCP annotation calls destructive, unless the certificate gives them a level.
        revoked: Whether the certificate was revoked after it was issued.

    Attributes:
        revoked: As given; may be set while serving.
        revoked_actions: Tools for whose calls alone it was revoked; may be replaced while serving.

    Raises:
        ConfigurationError: The certificate is another student's.
    """

    def __init__(
        self,
        student: Student,
        certificate: Certificate,
        *,
        never: Collection[str] = (),
        revoked: bool = False,
    ) -> None:
        if certificate.model_id not in ("", student.model_id):
            raise ConfigurationError(f"the certificate is for {certificate.model_id}, not for {student.model_id}")
        self.student = student
        self.certificate = certificate
        self.revoked = revoked
        self.revoked_actions: frozenset[str] = frozenset()
        self.certificate_id = certificate.fingerprint
        self._recall = student.recall if isinstance(student, Recalls) else None
        self.comparators = Comparators(declared=certificate.comparators)
        self._never = frozenset(never) | frozenset(certificate.never)
        self._verdicts: dict[_Key, Send | Escalate] = {}
        self._open: set[_Key] = set()  # looked up, and found that only the student can say

    def decide(self, request: ChatRequest) -> Send | Escalate:
        """Who answers this request.

        Args:
            request: As parsed by a dialect.
        """
        key = self._key(request)
        looked_up = key in self._open
        self._open.discard(key)
        if self._recall is None:
            return self._decided(request, looked_up)
        return self._verdicts.get(key) or self._remembered(key, self._decided(request, looked_up))

    def at_once(self, request: ChatRequest) -> Send | Escalate | None:
        """What `decide` would say, where that costs microseconds; `None` where the student must think.

        So it is where no student is needed, where one remembers this very context, and where the same bytes had a
        verdict before, as long as nothing was revoked meanwhile: all else is the gate's for good. (A student that
        `Recalls` says the same of the same context; of any other nobody knows that.)

        Args:
            request: As parsed by a dialect.
        """
        key = self._key(request)
        known = self._verdicts.get(key)
        if known is not None or key in self._open:  # it is asked where bytes arrive, and again before the student is
            return known
        verdict = self._remembered(key, self._look_up(request))
        if verdict is None and request.digest:
            _bounded(self._open).add(key)
        return verdict

    def _key(self, request: ChatRequest) -> _Key:
        return request.digest, self.revoked, self.revoked_actions

    def _remembered(self, key: _Key, verdict: Found) -> Found:
        if not key[0] or verdict is None or (isinstance(verdict, Escalate) and verdict.reason == Reason.STUDENT_ERROR):
            return verdict
        _bounded(self._verdicts)[key] = verdict
        return verdict

    def _decided(self, request: ChatRequest, looked_up: bool) -> Send | Escalate:
        offer = read_offer(request.tools)
        refused = None if looked_up else self._before(request, offer)
        verdict = refused or self._ask(request, offer, self.student.propose)
        return verdict or Escalate(Reason.STUDENT_ERROR, "no proposal")

    def _look_up(self, request: ChatRequest) -> Send | Escalate | None:
        offer = read_offer(request.tools)
        refused = self._before(request, offer)
        if refused is not None or self._recall is None:
            return refused
        return self._ask(request, offer, self._recall)

    def _before(self, request: ChatRequest, offer: Offer) -> Escalate | None:
        certificate = self.certificate
        if self.revoked:
            return Escalate(Reason.REVOKED)
        if not certificate.certified:
            return Escalate(Reason.NOT_CERTIFIED, certificate.reason)
        if problem := request.problem or unsupported(request) or offer.problem:
            return Escalate(Reason.UNSUPPORTED_REQUEST, problem)
        if certificate.teacher and request.model != certificate.teacher:
            return Escalate(Reason.OTHER_TEACHER, f"certified against {certificate.teacher}")
        if not certificate.covers_prompt(request.messages):
            return Escalate(Reason.PROMPT_CHANGED)
        if goes_in_circles(request.messages):
            return Escalate(Reason.POLICY, f"the last {CIRCLE} calls of the conversation are one and the same")
        if not offer.tools or request.options.get("tool_choice") == "none":
            return Escalate(Reason.TEXT_REPLY, "no call is possible")
        return None

    def _ask(
        self, request: ChatRequest, offer: Offer, propose: Callable[[State], Proposal | None]
    ) -> Send | Escalate | None:
        try:
            found = propose(State(request.messages, list(offer.tools.values())))
            if found is None:
                return None
            proposal = _checked(found, offer)
        except Exception as error:  # noqa: BLE001  whatever a student raises, the teacher answers
            return Escalate(Reason.STUDENT_ERROR, type(error).__name__)
        refusal = self._refusal(request, offer, proposal)
        return Send(proposal) if refusal is None else Escalate(*refusal, proposal)

    def _refusal(self, request: ChatRequest, offer: Offer, proposal: Proposal) -> tuple[Reason, str] | None:
        if not proposal.calls:
            return Reason.TEXT_REPLY, ""
        for call in proposal.calls:
            if refusal := self._refuses_tool(offer.tools[call.name], offer.fingerprints[call.name]):
                return refusal
        if proposal.missing:
            return Reason.INVALID_ARGUMENTS, f"no value for {', '.join(proposal.missing)}"
        if not self.certificate.is_sendable(proposal):
            return Reason.POLICY, "calls that need different levels of agreement"
        if not self.certificate.accepts(proposal):
            return Reason.LOW_CONFIDENCE, ""
        if not _allowed(request.options, proposal.calls):
            return Reason.UNSUPPORTED_REQUEST, "the student's calls do not fit tool_choice or parallel_tool_calls"
        for call in proposal.calls:
            if problem := invalid(call, offer.tools[call.name]):
                return Reason.INVALID_ARGUMENTS, f"{call.name}: {problem}"
            if MARK in str(call.arguments):
                return Reason.INVALID_ARGUMENTS, f"{call.name}: a value that was redacted before training"
        return None

    def _refuses_tool(self, tool: Tool, print_now: str) -> tuple[Reason, str] | None:
        known = self.certificate.tools.get(tool.name)
        if known is None:
            return Reason.UNKNOWN_TOOL, tool.name
        if known != print_now:
            return Reason.SCHEMA_CHANGED, tool.name
        if tool.name in self.revoked_actions:
            return Reason.REVOKED, tool.name
        if tool.name in self._never or (tool.destructive and tool.name not in self.certificate.levels):
            return Reason.POLICY, tool.name
        if self.certificate.level == "tool" and tool.takes_arguments:
            return Reason.NOT_CERTIFIED, f"{tool.name}: only the choice of the tool is certified, not its arguments"
        return None


def _bounded(kept: Kept) -> Kept:
    if len(kept) >= MAX_VERDICTS:
        kept.clear()
    return kept


def _checked(proposal: Proposal, offer: Offer) -> Proposal:
    """The proposal in plain types, `{}` filled in where a tool takes no arguments; raises if it breaks its protocol."""
    confidence = float(proposal.confidence)
    if not 0.0 <= confidence <= 1.0:  # false for NaN too
        raise DataError("the confidence is not a probability")
    calls = tuple(_completed(call, offer.tools[call.name]) for call in proposal.calls)
    return msgspec.structs.replace(proposal, calls=calls, confidence=confidence)


def _completed(call: ToolCall, tool: Tool) -> ToolCall:
    if call.arguments is None and not tool.takes_arguments:
        return ToolCall(call.name, {})
    return call


def _allowed(options: dict[str, Any], calls: tuple[ToolCall, ...]) -> bool:
    """Whether calls are what `tool_choice` and `parallel_tool_calls` ask for; "none" never comes this far."""
    choice = options.get("tool_choice")
    if isinstance(choice, dict) and any(call.name != choice["function"]["name"] for call in calls):
        return False
    return len(calls) == 1 or options.get("parallel_tool_calls") is not False
