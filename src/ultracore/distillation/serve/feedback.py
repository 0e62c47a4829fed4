"""What users say of an answer: found by its receipt or by the id that the client saw, written down once.

What this file does not know: how the answer came about.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar

import msgspec

from ultracore.distillation.events import (
    AgentDecisionEvent,
    DecisionOutcomeEvent,
    Event,
    EventStore,
    FeedbackRecordedEvent,
)
from ultracore.distillation.serve.wire import RequestError, decode_json

__all__ = ["Feedback", "RequestIds", "find_decision", "parse_feedback"]

MAX_IDS = 50_000
"""Requests of which the client's own id is remembered, in this process; a receipt is found for ever."""

LOCAL_IDS = ("chatcmpl-", "resp_", "msg_")
DECISIONS = (AgentDecisionEvent.event_type, DecisionOutcomeEvent.event_type)


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /v1/feedback`: one of `receipt` and `request_id`, and what came of the decision.

    Attributes:
        receipt: Of the response header `x-distill-receipt`.
        request_id: The `id` of the completion or response that was answered.
        success: Whether it did what it should.
        score: How well (0..1).
        result: Anything that is worth keeping.
        error: What went wrong.
        cost_usd: What it cost.
    """

    receipt: str | None = None
    request_id: str | None = None
    success: bool
    score: float | None = None
    result: Any = None
    error: str | None = None
    cost_usd: float | None = None

    def event(self, decision_id: str, **metadata: Any) -> FeedbackRecordedEvent:
        """The fact; its id is made from the decision's, so that there is one at most."""
        told = {name: getattr(self, name) for name in ("success", "score", "result", "error", "cost_usd")}
        return FeedbackRecordedEvent.record(
            event_id=f"feedback-{decision_id}", decision_id=decision_id, causation_id=decision_id, **told, **metadata
        )


class RequestIds:
    """Which receipt belongs to the id that a client saw; a `Observer` of the journal, for the latest ones."""

    of: ClassVar[tuple[type[Event], ...]] = (AgentDecisionEvent,)

    def __init__(self) -> None:
        self._receipts: OrderedDict[tuple[str, str], str] = OrderedDict()

    def wrote(self, event: Event) -> None:
        """See `Observer.wrote`."""
        request_id = (event.serving or {}).get("request_id") if isinstance(event, AgentDecisionEvent) else None
        if request_id:
            self._receipts[event.metadata.tenant_id, request_id[:256]] = event.metadata.event_id
            if len(self._receipts) > MAX_IDS:
                self._receipts.popitem(last=False)

    def lost(self, count: int) -> None:
        """See `Observer.lost`."""

    def receipt(self, tenant: str, request_id: str) -> str:
        """The receipt; that of a local answer is part of its id."""
        for prefix in LOCAL_IDS:
            if request_id.startswith(prefix) and len(request_id) == len(prefix) + 32:
                return self._receipts.get((tenant, request_id), request_id.removeprefix(prefix))
        return self._receipts.get((tenant, request_id), "")


def parse_feedback(body: bytes) -> Feedback:
    """Read a request body.

    Raises:
        RequestError: 400; it is not JSON, or not feedback.
    """
    try:
        feedback = msgspec.convert(decode_json(body), Feedback)
    except msgspec.ValidationError as error:
        raise RequestError(400, f"this is no feedback: {str(error)[:200]}", code="invalid_feedback") from None
    if (feedback.receipt is None) == (feedback.request_id is None):
        raise RequestError(400, "give either 'receipt' or 'request_id'", code="invalid_feedback")
    if feedback.score is not None and not 0.0 <= feedback.score <= 1.0:
        raise RequestError(400, "'score' must lie between 0 and 1", code="invalid_feedback")
    return feedback


def find_decision(store: EventStore, tenant: str, receipt: str) -> Event | None:
    """This tenant's decision, or request that failed, with this receipt."""
    if not receipt:
        return None
    found = store.read(aggregate=receipt, tenant=tenant, types=DECISIONS, limit=1)
    return next(iter(found), None)
