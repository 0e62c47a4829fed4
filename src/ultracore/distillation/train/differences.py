"""Examples for a person: where student and teacher differ on the test, the worst first.

What this file does not know: how they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ultracore.distillation.decisions import Message, text_of
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import ToolCall, canonical_json
from ultracore.distillation.train.evaluate import Judged

__all__ = ["disagreements"]

MOST = 100
MESSAGES = 4
CHARACTERS = 400


def disagreements(judged: Sequence[Judged], certificate: Certificate, most: int = MOST) -> list[dict[str, Any]]:
    """The `disagreements` of a result: calls that would have been sent first, then the surest.

    Args:
        judged: Test decisions.
        certificate: Says which proposals would be sent.
        most: How many at most.
    """
    differing = [row for row in judged if row.whole is False or (row.whole is None and not row.tool)]
    ordered = sorted(differing, key=lambda row: (not row.is_sent(certificate), -row.proposal.confidence))
    return [_entry(row, certificate) for row in ordered[:most]]


def _entry(row: Judged, certificate: Certificate) -> dict[str, Any]:
    sent = row.is_sent(certificate)
    return {
        "task": row.decision.task,
        "step": row.decision.step,
        "confidence": row.proposal.confidence,
        "sent": sent,
        "teacher": _calls(row.decision.calls),
        "student": _calls(row.proposal.calls),
        "context": [_excerpt(message) for message in row.decision.state.messages[-MESSAGES:]],
        "reason": "sent" if sent else _reason(row, certificate),
    }


def _reason(row: Judged, certificate: Certificate) -> str:
    proposal = row.proposal
    if row.in_circles:
        return "policy"
    if not proposal.calls:
        return "text_reply"
    if proposal.missing:
        return "invalid_arguments"
    if not certificate.is_sendable(proposal):
        return "policy"
    return "low_confidence" if certificate.certified else "not_certified"


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(call) for call in calls]


def _excerpt(message: Message) -> dict[str, str]:
    text = text_of(message)
    if not text and (rest := message.get("content") or message.get("tool_calls")):
        text = canonical_json(rest).decode()
    return {"role": str(message.get("role")), "text": text[:CHARACTERS]}
