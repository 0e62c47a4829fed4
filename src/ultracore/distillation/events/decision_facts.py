"""Facts about decisions: what was chosen, what came of it, in which session, and which traces were read.

What this file does not know: what is learned from them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ultracore.distillation.events.base import Event, JsonObject

__all__ = [
    "AgentDecisionEvent",
    "DecisionOutcomeEvent",
    "RetentionAppliedEvent",
    "SessionEndedEvent",
    "SessionStartedEvent",
    "SubjectErasedEvent",
    "TracesImportedEvent",
    "UpstreamAttemptedEvent",
]


class AgentDecisionEvent(Event, frozen=True, kw_only=True):
    """An agent's model chose: a tool, several, or a text reply.

    `tool_selected` and `tool_parameters` describe the first call, `tool_calls` all of them.
    `source` says who chose: `teacher` (through our own upstream, or told by the agent itself), `student`, or
    `import`: read from a file whose origin nobody vouches for. Only a teacher's decision is a label; an
    imported one is where an operator says so, as by naming its file to `distill run`.
    `label_probability` is how likely this decision was to be labelled by the teacher (1 unless sampled).
    """

    event_type: ClassVar[str] = "AGENT_TOOL_SELECTED"
    aggregate_type: ClassVar[str] = "decision"
    personal: ClassVar[tuple[str, ...]] = (
        "session_id", "context", "tool_parameters", "tool_calls", "reply", "reasoning", "teacher_reasoning",
        "outcome", "user_id", "task", "origin", "serving.detail",
    )  # fmt: skip
    shared: ClassVar[tuple[str, ...]] = ("tools_available",)

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
    personal: ClassVar[tuple[str, ...]] = ("session_id", "result", "error")

    decision_id: str
    session_id: str | None = None
    success: bool
    status: str = "ok"
    execution_time_ms: float | None = None
    result: Any = None
    error: str | None = None
    cost_usd: float | None = None


class UpstreamAttemptedEvent(Event, frozen=True, kw_only=True):
    """A request was sent to a teacher once; a retry is another attempt.

    `role` says what for: `answer`, `fallback`, `audit`, `optimizer` ...; `status` how it ended: `ok`, `error`,
    `timeout`, `cancelled`, `truncated`. `usage` is what the teacher counted, `null` where it did not say.
    """

    event_type: ClassVar[str] = "UPSTREAM_ATTEMPTED"
    aggregate_type: ClassVar[str] = "decision"
    aggregate_key: ClassVar[str] = "decision_id"
    personal: ClassVar[tuple[str, ...]] = ("error",)

    decision_id: str
    role: str
    model: str
    status: str
    duration_ms: float
    attempt: int = 1
    upstream: str | None = None
    http_status: int | None = None
    usage: JsonObject | None = None
    cost_usd: float | None = None
    error: str | None = None


class SessionStartedEvent(Event, frozen=True, kw_only=True):
    """An agent began a session."""

    event_type: ClassVar[str] = "SESSION_STARTED"
    aggregate_type: ClassVar[str] = "session"
    aggregate_key: ClassVar[str] = "session_id"
    personal: ClassVar[tuple[str, ...]] = ("context",)

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
    personal: ClassVar[tuple[str, ...]] = ("file_name",)

    data_id: str
    file_name: str
    decisions: int
    duplicates: int
    skipped: JsonObject = {}


class SubjectErasedEvent(Event, frozen=True, kw_only=True):
    """What the log held of a person cannot be read any more.

    `subject` is a pseudonym, never the name; `models` are those that learned from the person's decisions
    and are due for retraining.
    """

    event_type: ClassVar[str] = "SUBJECT_ERASED"
    aggregate_type: ClassVar[str] = "subject"
    aggregate_key: ClassVar[str] = "subject"

    subject: str
    reason: str = ""
    events: int | None = None
    models: list[str] = []


class RetentionAppliedEvent(Event, frozen=True, kw_only=True):
    """What the log held of a tenant, or of its days before `before`, cannot be read any more.

    `keys` were destroyed; `models` learned from such decisions and are due for retraining.
    """

    event_type: ClassVar[str] = "RETENTION_APPLIED"
    aggregate_type: ClassVar[str] = "tenant"

    before: str | None = None
    reason: str = ""
    keys: int
    events: int | None = None
    models: list[str] = []
