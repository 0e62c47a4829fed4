"""The facts: every kind of event, past tense, bare data, frozen.

A fact never changes its meaning. A new field gets a default; anything else is a new `version`
with an upcaster in `codec`. What this file does not know: bytes, and where events are kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import msgspec

__all__ = [
    "EVENT_TYPES",
    "AgentDecisionEvent",
    "AuditRecordedEvent",
    "CertificateDecidedEvent",
    "CertificateRevokedEvent",
    "DecisionOutcomeEvent",
    "DriftDetectedEvent",
    "Event",
    "Metadata",
    "ModelDeployedEvent",
    "ModelEvaluatedEvent",
    "ModelRejectedEvent",
    "ModelRolledBackEvent",
    "ModelTrainedEvent",
    "PromptsOptimizedEvent",
    "RetrainTriggeredEvent",
    "SessionEndedEvent",
    "SessionStartedEvent",
    "TracesImportedEvent",
    "TrainingDataCuratedEvent",
]

JsonObject = dict[str, Any]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of every event.

    Attributes:
        event_id: Unique; appending the same id twice is refused.
        event_type: Name of the fact, such as `AGENT_TOOL_SELECTED`.
        aggregate_id: The thing that the fact is about.
        aggregate_type: Its kind: decision, session, dataset, prompt, model.
        version: Version of the fact's data.
        timestamp: ISO 8601 in UTC, with offset.
        causation_id: The event that caused this one.
        correlation_id: The run or request that both belong to.
        tenant_id: Whose event it is.
        position: Place in the log, from 1, without gaps; null until it is appended.
    """

    event_id: str
    event_type: str
    aggregate_id: str
    aggregate_type: str
    version: int
    timestamp: str
    causation_id: str | None = None
    correlation_id: str | None = None
    tenant_id: str = "default"
    position: int | None = None


def utc_now() -> datetime:
    """The wall clock; a caller that needs another one passes it to `Event.record`."""
    return datetime.now(UTC)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact with its metadata; make one with `record`, read one with `from_dict`.

    Example:
        >>> event = RetrainTriggeredEvent.record(model_id="m", reason="drift_detected", drift_score=0.2)
        >>> event.to_dict()["data"]["reason"]
        'drift_detected'
    """

    metadata: Metadata

    event_type: ClassVar[str] = ""
    aggregate_type: ClassVar[str] = ""
    aggregate_key: ClassVar[str] = ""
    version: ClassVar[int] = 1

    @classmethod
    def record(
        cls,
        *,
        event_id: str | None = None,
        tenant_id: str = "default",
        causation_id: str | None = None,
        correlation_id: str | None = None,
        timestamp: datetime | None = None,
        clock: Callable[[], datetime] = utc_now,
        **data: Any,
    ) -> Self:
        """Write down a fact that happened now.

        Args:
            event_id: Unique id; a random one by default.
            tenant_id: Whose event it is.
            causation_id: The event that caused it.
            correlation_id: The run or request that it belongs to.
            timestamp: When it happened, aware; now by default.
            clock: Tells the time.
            **data: The fields of the fact.
        """
        identity = event_id or uuid.uuid4().hex
        metadata = Metadata(
            event_id=identity,
            event_type=cls.event_type,
            aggregate_id=str(data.get(cls.aggregate_key) or identity),
            aggregate_type=cls.aggregate_type,
            version=cls.version,
            timestamp=(timestamp or clock()).astimezone(UTC).isoformat(),
            causation_id=causation_id,
            correlation_id=correlation_id,
            tenant_id=tenant_id,
        )
        return cls(metadata=metadata, **data)

    def to_dict(self) -> JsonObject:
        """`{"metadata": {...}, "data": {...}}`, plain and JSON-ready."""
        data: JsonObject = msgspec.to_builtins(self)
        return {"metadata": data.pop("metadata"), "data": data}

    @staticmethod
    def from_dict(value: JsonObject) -> Event:
        """The reverse of `to_dict`, for every type and every version ever written.

        Raises:
            EventError: The type is unknown, the version newer than this release, or a field is wrong.
        """
        from ultracore.distillation.events import codec  # the codec knows the facts, not the reverse

        return codec.from_dict(value)

    def at(self, position: int) -> Self:
        """The same event at its place in the log."""
        return msgspec.structs.replace(self, metadata=msgspec.structs.replace(self.metadata, position=position))


class AgentDecisionEvent(Event, frozen=True, kw_only=True):
    """An agent's model chose: a tool, several, or a text reply.

    `tool_selected` and `tool_parameters` describe the first call, `tool_calls` all of them.
    `source` says who chose: `teacher`, `student` or `import`; only a teacher's decision is a label.
    `label_probability` is how likely this decision was to be labelled by the teacher (1 unless sampled).
    """

    event_type: ClassVar[str] = "AGENT_TOOL_SELECTED"
    aggregate_type: ClassVar[str] = "decision"

    agent_id: str
    session_id: str | None = None
    context: JsonObject = {}
    tools_available: list[JsonObject] = []
    tool_selected: str | None = None
    tool_parameters: JsonObject | None = None
    tool_calls: list[JsonObject] | None = None
    reply: str | None = None
    reasoning: str = ""
    confidence: float | None = None
    teacher_model: str | None = None
    teacher_confidence: float | None = None
    teacher_reasoning: str | None = None
    outcome: JsonObject | None = None
    environment: str | None = None
    user_id: str | None = None
    source: str = "teacher"
    label_probability: float = 1.0
    task: str | None = None
    trial: int | None = None
    step: int | None = None
    origin: JsonObject | None = None
    serving: JsonObject | None = None


class DecisionOutcomeEvent(Event, frozen=True, kw_only=True):
    """What came of a decision; exactly one for each decision that has an outcome at all."""

    event_type: ClassVar[str] = "DECISION_OUTCOME_RECORDED"
    aggregate_type: ClassVar[str] = "decision"
    aggregate_key: ClassVar[str] = "decision_id"

    decision_id: str
    session_id: str | None = None
    success: bool
    status: str = "ok"
    execution_time_ms: float | None = None
    result: Any = None
    error: str | None = None
    cost_usd: float | None = None


class SessionStartedEvent(Event, frozen=True, kw_only=True):
    """An agent began a session."""

    event_type: ClassVar[str] = "SESSION_STARTED"
    aggregate_type: ClassVar[str] = "session"
    aggregate_key: ClassVar[str] = "session_id"

    session_id: str
    agent_id: str
    context: JsonObject = {}


class SessionEndedEvent(Event, frozen=True, kw_only=True):
    """A session ended; the figures are those of its decisions and outcomes."""

    event_type: ClassVar[str] = "SESSION_ENDED"
    aggregate_type: ClassVar[str] = "session"
    aggregate_key: ClassVar[str] = "session_id"

    session_id: str
    agent_id: str
    duration_seconds: float
    decision_count: int
    successful_decisions: int
    total_cost_usd: float


class TracesImportedEvent(Event, frozen=True, kw_only=True):
    """A file of traces was read into the log, in one transaction."""

    event_type: ClassVar[str] = "TRACES_IMPORTED"
    aggregate_type: ClassVar[str] = "import"
    aggregate_key: ClassVar[str] = "data_id"

    data_id: str
    file_name: str
    decisions: int
    duplicates: int
    skipped: JsonObject = {}


class TrainingDataCuratedEvent(Event, frozen=True, kw_only=True):
    """Decisions were deduplicated and selected."""

    event_type: ClassVar[str] = "TRAINING_DATA_CURATED"
    aggregate_type: ClassVar[str] = "dataset"
    aggregate_key: ClassVar[str] = "dataset_id"

    dataset_id: str
    source_event_count: int
    curated_count: int
    deduplication_rate: float
    cluster_count: int
    quality_score: float | None = None


class PromptsOptimizedEvent(Event, frozen=True, kw_only=True):
    """A prompt was optimized: `dspy`, `gepa` or `combined`."""

    event_type: ClassVar[str] = "PROMPTS_OPTIMIZED"
    aggregate_type: ClassVar[str] = "prompt"

    agent_ids: list[str]
    optimization_method: str
    iteration: int
    accuracy_before: float
    accuracy_after: float
    improvement: float


class ModelTrainedEvent(Event, frozen=True, kw_only=True):
    """A student was fitted; its files are the artefact with the given hash."""

    event_type: ClassVar[str] = "MODEL_TRAINED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    model_name: str
    dataset_id: str
    decisions: int
    episodes: int
    training_seconds: float
    seed: int
    versions: JsonObject = {}


class ModelEvaluatedEvent(Event, frozen=True, kw_only=True):
    """A student was measured on decisions it had not seen."""

    event_type: ClassVar[str] = "MODEL_EVALUATED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    data_id: str
    decisions: int
    metrics: JsonObject = {}


class CertificateDecidedEvent(Event, frozen=True, kw_only=True):
    """A certificate was issued or refused; `certificate` holds it whole, numbers included."""

    event_type: ClassVar[str] = "CERTIFICATE_DECIDED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    certified: bool
    certificate: JsonObject


class CertificateRevokedEvent(Event, frozen=True, kw_only=True):
    """Live agreement fell below the floor: everything goes to the teacher again."""

    event_type: ClassVar[str] = "CERTIFICATE_REVOKED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    reason: str
    upper_bound: float | None = None
    floor: float | None = None


class ModelDeployedEvent(Event, frozen=True, kw_only=True):
    """A certified student began to answer."""

    event_type: ClassVar[str] = "MODEL_DEPLOYED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    model_name: str
    model_size: int
    accuracy_vs_teacher: float
    latency_ms: float
    cost_per_request_usd: float
    training_duration_hours: float


class ModelRejectedEvent(Event, frozen=True, kw_only=True):
    """A student was not deployed, and why."""

    event_type: ClassVar[str] = "MODEL_REJECTED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    reason: str
    metrics: JsonObject = {}


class ModelRolledBackEvent(Event, frozen=True, kw_only=True):
    """The last good model answers again."""

    event_type: ClassVar[str] = "MODEL_ROLLED_BACK"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    to_model_id: str | None
    reason: str


class RetrainTriggeredEvent(Event, frozen=True, kw_only=True):
    """Something asked for a new student: `accuracy_drop`, `drift_detected`, `scheduled` ..."""

    event_type: ClassVar[str] = "RETRAIN_TRIGGERED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    reason: str
    current_accuracy: float | None = None
    threshold_accuracy: float | None = None
    drift_score: float | None = None


class DriftDetectedEvent(Event, frozen=True, kw_only=True):
    """Recent decisions differ from those the student learned from."""

    event_type: ClassVar[str] = "DRIFT_DETECTED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    detector: str
    drift_score: float
    threshold: float
    reference_count: int
    recent_count: int


class AuditRecordedEvent(Event, frozen=True, kw_only=True):
    """The teacher was asked about a call that the student had sent."""

    event_type: ClassVar[str] = "AUDIT_RECORDED"
    aggregate_type: ClassVar[str] = "decision"
    aggregate_key: ClassVar[str] = "decision_id"

    decision_id: str
    model_id: str
    action: str
    agrees: bool | None
    sampling_probability: float
    teacher_calls: list[JsonObject] = []


EVENT_TYPES: dict[str, type[Event]] = {cls.event_type: cls for cls in Event.__subclasses__()}
"""Every fact by the name it has in the log."""
