"""The facts: every kind of event, past tense, bare data, frozen; this is the list of them.

A fact never changes its meaning. A new field gets a default; anything else is a new `version`
with an upcaster in `codec`. What this file does not know: bytes, and where events are kept.
"""

from __future__ import annotations

from ultracore.distillation.events.base import Event, JsonObject, Metadata, utc_now
from ultracore.distillation.events.decision_facts import (
    AgentDecisionEvent,
    DecisionOutcomeEvent,
    RetentionAppliedEvent,
    SessionEndedEvent,
    SessionStartedEvent,
    SubjectErasedEvent,
    TracesImportedEvent,
    UpstreamAttemptedEvent,
)
from ultracore.distillation.events.gateway_facts import (
    FeedbackRecordedEvent,
    GatewayPausedEvent,
    GatewayResumedEvent,
    KeyIssuedEvent,
    KeyRevokedEvent,
    ShadowRecordedEvent,
    ToolSchemaChangedEvent,
)
from ultracore.distillation.events.loop_facts import LoopDecidedEvent, ModelStagedEvent
from ultracore.distillation.events.model_facts import (
    AlertRaisedEvent,
    AlertResolvedEvent,
    AuditRecordedEvent,
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    DatasetManifestEvent,
    DriftDetectedEvent,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelRejectedEvent,
    ModelRolledBackEvent,
    ModelTrainedEvent,
    PromptAnsweredEvent,
    PromptChosenEvent,
    PromptsOptimizedEvent,
    PromptVersionRecordedEvent,
    RetrainTriggeredEvent,
    TrainingDataCuratedEvent,
)
from ultracore.distillation.events.product_facts import (
    ProductExportedEvent,
    ProductQualityMeasuredEvent,
    ProductRegisteredEvent,
)

__all__ = [
    "EVENT_TYPES",
    "AgentDecisionEvent",
    "AlertRaisedEvent",
    "AlertResolvedEvent",
    "AuditRecordedEvent",
    "CertificateDecidedEvent",
    "CertificateRevokedEvent",
    "DatasetManifestEvent",
    "DecisionOutcomeEvent",
    "DriftDetectedEvent",
    "Event",
    "FeedbackRecordedEvent",
    "GatewayPausedEvent",
    "GatewayResumedEvent",
    "JsonObject",
    "KeyIssuedEvent",
    "KeyRevokedEvent",
    "LoopDecidedEvent",
    "Metadata",
    "ModelDeployedEvent",
    "ModelEvaluatedEvent",
    "ModelRejectedEvent",
    "ModelRolledBackEvent",
    "ModelStagedEvent",
    "ModelTrainedEvent",
    "ProductExportedEvent",
    "ProductQualityMeasuredEvent",
    "ProductRegisteredEvent",
    "PromptAnsweredEvent",
    "PromptChosenEvent",
    "PromptVersionRecordedEvent",
    "PromptsOptimizedEvent",
    "RetentionAppliedEvent",
    "RetrainTriggeredEvent",
    "SessionEndedEvent",
    "SessionStartedEvent",
    "ShadowRecordedEvent",
    "SubjectErasedEvent",
    "ToolSchemaChangedEvent",
    "TracesImportedEvent",
    "TrainingDataCuratedEvent",
    "UpstreamAttemptedEvent",
    "utc_now",
]

EVENT_TYPES: dict[str, type[Event]] = {cls.event_type: cls for cls in Event.__subclasses__()}
"""Every fact by the name it has in the log."""
