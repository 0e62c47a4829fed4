"""Facts about the gateway: who may ask, whether it is paused, what it saw and what users said of its answers.

A key is written down as its SHA-256 only. What this file does not know: bytes, and where events are kept.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ultracore.distillation.events.base import Event, JsonObject

__all__ = [
    "FeedbackRecordedEvent",
    "GatewayPausedEvent",
    "GatewayResumedEvent",
    "KeyIssuedEvent",
    "KeyRevokedEvent",
    "ShadowRecordedEvent",
    "ToolSchemaChangedEvent",
]


class KeyIssuedEvent(Event, frozen=True, kw_only=True):
    """A key of the gateway was made, for the tenant whose event this is.

    `scope` is `client`, `read-only` or `admin`; `digest` the SHA-256 of the whole key, in hex; `null` limits
    mean none; `agent_id` names the agent of every request made with it; `expires_at` is ISO 8601 in UTC.
    """

    event_type: ClassVar[str] = "GATEWAY_KEY_ISSUED"
    aggregate_type: ClassVar[str] = "key"
    aggregate_key: ClassVar[str] = "key_id"

    key_id: str
    name: str
    scope: str
    digest: str
    agent_id: str | None = None
    requests_per_minute: int | None = None
    concurrent: int | None = None
    expires_at: str | None = None


class KeyRevokedEvent(Event, frozen=True, kw_only=True):
    """A key of the gateway is no longer accepted."""

    event_type: ClassVar[str] = "GATEWAY_KEY_REVOKED"
    aggregate_type: ClassVar[str] = "key"
    aggregate_key: ClassVar[str] = "key_id"

    key_id: str
    reason: str = ""


class GatewayPausedEvent(Event, frozen=True, kw_only=True):
    """An operator sent everything to the teacher."""

    event_type: ClassVar[str] = "GATEWAY_PAUSED"
    aggregate_type: ClassVar[str] = "gateway"

    reason: str = ""


class GatewayResumedEvent(Event, frozen=True, kw_only=True):
    """An operator let the student answer again."""

    event_type: ClassVar[str] = "GATEWAY_RESUMED"
    aggregate_type: ClassVar[str] = "gateway"

    reason: str = ""


class ToolSchemaChangedEvent(Event, frozen=True, kw_only=True):
    """A tool was offered with another definition than the certificate knows; once for each definition."""

    event_type: ClassVar[str] = "TOOL_SCHEMA_CHANGED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    tool: str
    certified_fingerprint: str
    offered_fingerprint: str
    agent_id: str | None = None


class ShadowRecordedEvent(Event, frozen=True, kw_only=True):
    """What the student would have done with a request that the teacher answered; nobody saw it.

    `agrees` compares whole calls strictly, and is `null` where the teacher's decision is not known.
    """

    event_type: ClassVar[str] = "SHADOW_RECORDED"
    aggregate_type: ClassVar[str] = "decision"
    aggregate_key: ClassVar[str] = "decision_id"
    personal: ClassVar[tuple[str, ...]] = ("calls",)

    decision_id: str
    model_id: str
    certificate_id: str
    would_send: bool
    reason: str | None
    action: str
    confidence: float | None
    agrees: bool | None
    calls: list[JsonObject] = []


class FeedbackRecordedEvent(Event, frozen=True, kw_only=True):
    """What came of a decision in the world, told by whom it served; at most one for each decision.

    `DECISION_OUTCOME_RECORDED` says how the answer was delivered; this says whether it was right.
    """

    event_type: ClassVar[str] = "FEEDBACK_RECORDED"
    aggregate_type: ClassVar[str] = "decision"
    aggregate_key: ClassVar[str] = "decision_id"
    personal: ClassVar[tuple[str, ...]] = ("result", "error")

    decision_id: str
    success: bool
    score: float | None = None
    result: Any = None
    error: str | None = None
    cost_usd: float | None = None
