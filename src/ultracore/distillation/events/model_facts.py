"""Facts about what is learned: data sets, prompts, models, their certificates, and how they fare.

What this file does not know: how anything is learned or watched.
"""

from __future__ import annotations

from typing import ClassVar

from ultracore.distillation.events.base import Event, JsonObject

__all__ = [
    "AlertRaisedEvent",
    "AlertResolvedEvent",
    "AuditRecordedEvent",
    "CertificateDecidedEvent",
    "CertificateRevokedEvent",
    "DatasetManifestEvent",
    "DriftDetectedEvent",
    "ModelDeployedEvent",
    "ModelEvaluatedEvent",
    "ModelRejectedEvent",
    "ModelRolledBackEvent",
    "ModelTrainedEvent",
    "PromptAnsweredEvent",
    "PromptChosenEvent",
    "PromptVersionRecordedEvent",
    "PromptsOptimizedEvent",
    "RetrainTriggeredEvent",
    "TrainingDataCuratedEvent",
]


class TrainingDataCuratedEvent(Event, frozen=True, kw_only=True):
    """Decisions were deduplicated and selected; which ones is in the `DATASET_MANIFEST_RECORDED` before it.

    `content_hash` is that of what they say, `parameters` what the curation was told; both are empty where
    an earlier release curated.
    """

    event_type: ClassVar[str] = "TRAINING_DATA_CURATED"
    aggregate_type: ClassVar[str] = "dataset"
    aggregate_key: ClassVar[str] = "dataset_id"

    dataset_id: str
    source_event_count: int
    curated_count: int
    deduplication_rate: float
    cluster_count: int
    quality_score: float | None = None
    content_hash: str = ""
    parameters: JsonObject = {}
    seed: int | None = None


class DatasetManifestEvent(Event, frozen=True, kw_only=True):
    """Which decisions a data set is made of, in the order of their use; a long list comes in several chunks.

    Three columns of equal length. `weights` says how many source decisions one stands for, 0 where another
    stands for it. `parts` says what it is for: `train`, `calibration` or `test`. Nobody else repeats the list.
    `clusters`, where whoever published it told them, says which cluster each represents, -1 for none.
    """

    event_type: ClassVar[str] = "DATASET_MANIFEST_RECORDED"
    aggregate_type: ClassVar[str] = "dataset"
    aggregate_key: ClassVar[str] = "dataset_id"

    dataset_id: str
    chunk: int
    chunks: int
    event_ids: list[str]
    parts: list[str]
    weights: list[float]
    clusters: list[int] = []


class PromptsOptimizedEvent(Event, frozen=True, kw_only=True):
    """A prompt was optimized: `dspy`, `gepa` or `combined`.

    `prompt_id` is the version that came out, `figures` the rest of the result: intervals, cost, what was refused.
    """

    event_type: ClassVar[str] = "PROMPTS_OPTIMIZED"
    aggregate_type: ClassVar[str] = "prompt"

    agent_ids: list[str]
    optimization_method: str
    iteration: int
    accuracy_before: float
    accuracy_after: float
    improvement: float
    run_id: str = ""
    prompt_id: str | None = None
    figures: JsonObject = {}


class PromptVersionRecordedEvent(Event, frozen=True, kw_only=True):
    """A version of a prompt came to be, whole; `score` is that on `examples` held-out examples (0..1).

    The text is sealed: its demonstrations are what somebody's customers said.
    """

    event_type: ClassVar[str] = "PROMPT_VERSION_RECORDED"
    aggregate_type: ClassVar[str] = "prompt"
    aggregate_key: ClassVar[str] = "prompt_id"
    personal: ClassVar[tuple[str, ...]] = ("text",)

    prompt_id: str
    agent_id: str
    text: str
    method: str
    parent_id: str | None = None
    score: float | None = None
    examples: int | None = None
    run_id: str = ""
    reason: str = ""


class PromptAnsweredEvent(Event, frozen=True, kw_only=True):
    """An optimization was told something that cost: the scores of a prompt, or a reflection on its mistakes.

    `question` is a hash of what was asked. A run that goes on asks nothing twice.
    """

    event_type: ClassVar[str] = "PROMPT_ANSWERED"
    aggregate_type: ClassVar[str] = "prompt_run"
    aggregate_key: ClassVar[str] = "run_id"
    personal: ClassVar[tuple[str, ...]] = ("answer",)

    run_id: str
    question: str
    answer: JsonObject = {}


class PromptChosenEvent(Event, frozen=True, kw_only=True):
    """A version of an agent's prompt is in use from now on; an older one may be chosen again."""

    event_type: ClassVar[str] = "PROMPT_CHOSEN"
    aggregate_type: ClassVar[str] = "prompt"
    aggregate_key: ClassVar[str] = "prompt_id"

    prompt_id: str
    agent_id: str
    reason: str = ""


class ModelTrainedEvent(Event, frozen=True, kw_only=True):
    """A student was fitted; its files are the artefact with the given hash.

    `files` holds the SHA-256 of each file by name, `environment` what the bytes depend on beside data and
    seed: `versions` of packages, `machine`, and `blas` with its kernel and its threads.
    """

    event_type: ClassVar[str] = "MODEL_TRAINED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"
    version: ClassVar[int] = 2

    model_id: str
    model_name: str
    dataset_id: str
    decisions: int
    episodes: int
    training_seconds: float
    seed: int
    hyper_parameters: JsonObject = {}
    files: dict[str, str] = {}
    environment: JsonObject = {}


class ModelEvaluatedEvent(Event, frozen=True, kw_only=True):
    """A student was measured on decisions it had not seen.

    `validation_hash` is that of what it does on the calibration decisions: which calls, sent or not.
    """

    event_type: ClassVar[str] = "MODEL_EVALUATED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    data_id: str
    decisions: int
    metrics: JsonObject = {}
    validation_hash: str = ""


class CertificateDecidedEvent(Event, frozen=True, kw_only=True):
    """A certificate was issued or refused; `certificate` holds it whole, numbers included."""

    event_type: ClassVar[str] = "CERTIFICATE_DECIDED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    certified: bool
    certificate: JsonObject


class CertificateRevokedEvent(Event, frozen=True, kw_only=True):
    """Live agreement fell below the floor: everything goes to the teacher again, or every call of some actions.

    `actions` names these; none means all.
    """

    event_type: ClassVar[str] = "CERTIFICATE_REVOKED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    reason: str
    upper_bound: float | None = None
    floor: float | None = None
    actions: list[str] = []


class ModelDeployedEvent(Event, frozen=True, kw_only=True):
    """A certified student began to answer; `replaces` names the one that it was promoted over.

    `reason` and `evidence` are those of the promotion, where a comparison led to it.
    """

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
    replaces: str | None = None
    reason: str = ""
    evidence: JsonObject = {}


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
    """Recent decisions differ from those the student learned from, or from those after its deployment.

    `drift_score` is beyond chance, `p_value` how often chance gives as much, `window` the positions of the log
    between which the recent decisions lie.
    """

    event_type: ClassVar[str] = "DRIFT_DETECTED"
    aggregate_type: ClassVar[str] = "model"
    aggregate_key: ClassVar[str] = "model_id"

    model_id: str
    detector: str
    drift_score: float
    threshold: float
    reference_count: int
    recent_count: int
    p_value: float | None = None
    window: list[int] = []
    detail: str = ""


class AlertRaisedEvent(Event, frozen=True, kw_only=True):
    """A watched figure crossed its limit."""

    event_type: ClassVar[str] = "ALERT_RAISED"
    aggregate_type: ClassVar[str] = "alert"
    aggregate_key: ClassVar[str] = "alert_id"

    alert_id: str
    name: str
    severity: str
    message: str
    model_id: str | None = None
    value: float | None = None
    limit: float | None = None


class AlertResolvedEvent(Event, frozen=True, kw_only=True):
    """A watched figure is back within its limit, or a person said so."""

    event_type: ClassVar[str] = "ALERT_RESOLVED"
    aggregate_type: ClassVar[str] = "alert"
    aggregate_key: ClassVar[str] = "alert_id"

    alert_id: str
    reason: str
    value: float | None = None


class AuditRecordedEvent(Event, frozen=True, kw_only=True):
    """The teacher was asked about a call that the student had sent to an agent.

    `sampling_probability` is how likely it was that this call is looked at; `agrees` is `null` where no label
    could be had; `tier` is `cache` where the student remembered the call, `model` where it decided.
    """

    event_type: ClassVar[str] = "AUDIT_RECORDED"
    aggregate_type: ClassVar[str] = "decision"
    aggregate_key: ClassVar[str] = "decision_id"
    personal: ClassVar[tuple[str, ...]] = ("teacher_calls",)

    decision_id: str
    model_id: str
    action: str
    agrees: bool | None
    sampling_probability: float
    teacher_calls: list[JsonObject] = []
    agent_id: str = ""
    tier: str = ""
