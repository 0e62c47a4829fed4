"""The rows of all data products, as one projection of the log: no personal data, each event applied once.

What belongs to a person stays sealed in the log and is read from there when somebody asks for it. What is derived
from it (fingerprints, whether arguments are valid) is here, and emptied when the person is erased. What this file
does not know: who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from functools import lru_cache
from typing import Any

import apsw
import msgspec

from ultracore.distillation.events import (
    AgentDecisionEvent,
    AuditRecordedEvent,
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    DatasetManifestEvent,
    DecisionOutcomeEvent,
    Event,
    FeedbackRecordedEvent,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelRejectedEvent,
    ModelRolledBackEvent,
    ModelTrainedEvent,
    ProductExportedEvent,
    ProductQualityMeasuredEvent,
    ProductRegisteredEvent,
    RetentionAppliedEvent,
    SubjectErasedEvent,
    TrainingDataCuratedEvent,
)
from ultracore.distillation.products.decision_row import DERIVED, OUTCOME, decision_row

__all__ = ["ProductRows"]

SCHEMA = """
CREATE TABLE epoch (id TEXT NOT NULL);
INSERT INTO epoch VALUES (lower(hex(randomblob(8))));
CREATE TABLE decisions (
    position INTEGER PRIMARY KEY, event_id TEXT NOT NULL, timestamp TEXT NOT NULL, tenant_id TEXT NOT NULL,
    agent_id TEXT NOT NULL, environment TEXT, source TEXT NOT NULL, teacher_model TEXT, tool_selected TEXT,
    calls INT NOT NULL, confidence REAL, teacher_confidence REAL, label_probability REAL NOT NULL, subject TEXT,
    model_id TEXT, reason TEXT, tool_offered INT, arguments_known INT, arguments_valid INT, context_id TEXT,
    call_id TEXT, episode_id TEXT, success INT, status TEXT, execution_time_ms REAL, cost_usd REAL,
    outcome_seconds REAL, audit_agrees INT, erased INT NOT NULL, judged INT NOT NULL DEFAULT 0,
    told INT NOT NULL DEFAULT 0, changed INT NOT NULL
);
CREATE UNIQUE INDEX decisions_id ON decisions (event_id);
CREATE INDEX decisions_changed ON decisions (changed) WHERE changed <> position;
CREATE INDEX decisions_time ON decisions (tenant_id, timestamp);
CREATE INDEX decisions_agent ON decisions (tenant_id, agent_id, timestamp);
CREATE INDEX decisions_agent_success ON decisions (tenant_id, agent_id, success, timestamp);
CREATE INDEX decisions_success ON decisions (tenant_id, success, timestamp);
CREATE INDEX decisions_tool ON decisions (tenant_id, tool_selected, timestamp);
CREATE INDEX decisions_model ON decisions (tenant_id, model_id, timestamp) WHERE model_id IS NOT NULL;
CREATE INDEX decisions_subject ON decisions (subject) WHERE subject IS NOT NULL;
CREATE TABLE dataset_rows (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, dataset_id TEXT NOT NULL, chunk INT NOT NULL,
    number INT NOT NULL, event_id TEXT NOT NULL, part TEXT NOT NULL, weight REAL NOT NULL, cluster_id INT,
    changed INT NOT NULL, UNIQUE (tenant_id, dataset_id, chunk, number)
);
CREATE INDEX dataset_rows_changed ON dataset_rows (changed);
CREATE INDEX dataset_rows_event ON dataset_rows (event_id);
CREATE TABLE datasets (
    tenant_id TEXT NOT NULL, dataset_id TEXT NOT NULL, timestamp TEXT NOT NULL, position INT NOT NULL,
    chunks INT NOT NULL DEFAULT 0, manifest_event_id TEXT, curation_event_id TEXT, source_event_count INT,
    curated_count INT, deduplication_rate REAL, cluster_count INT, quality_score REAL, content_hash TEXT,
    PRIMARY KEY (tenant_id, dataset_id)
);
CREATE TABLE measurements (
    position INTEGER PRIMARY KEY, event_id TEXT NOT NULL, timestamp TEXT NOT NULL, tenant_id TEXT NOT NULL,
    model_id TEXT NOT NULL, kind TEXT NOT NULL, dataset_id TEXT, decisions INT, accuracy_vs_teacher REAL,
    coverage REAL, latency_ms REAL, throughput_rps REAL, cost_per_request_usd REAL, cost_reduction REAL,
    consistency_score REAL, drift_score REAL, training_duration_hours REAL, certified INT, certificate_hash TEXT,
    reason TEXT, causation_id TEXT
);
CREATE INDEX measurements_model ON measurements (tenant_id, model_id);
CREATE TABLE quality (
    position INTEGER PRIMARY KEY, timestamp TEXT NOT NULL, tenant_id TEXT NOT NULL, product_id TEXT NOT NULL,
    contract_version TEXT NOT NULL, until INT NOT NULL, rows INT NOT NULL, metrics TEXT NOT NULL,
    breaches TEXT NOT NULL
);
CREATE TABLE exports (
    position INTEGER PRIMARY KEY, timestamp TEXT NOT NULL, tenant_id TEXT NOT NULL, product_id TEXT NOT NULL,
    format TEXT NOT NULL, rows INT NOT NULL, sha256 TEXT NOT NULL, until INT NOT NULL, holds_personal INT NOT NULL,
    dataset_id TEXT
);
CREATE TABLE registrations (
    tenant_id TEXT NOT NULL, product_id TEXT NOT NULL, contract_version TEXT NOT NULL, contract_hash TEXT NOT NULL,
    timestamp TEXT NOT NULL, PRIMARY KEY (tenant_id, product_id, contract_hash)
);
"""


class ProductRows:
    """A projection, see `events.projection`."""

    name = "products"
    version = 1
    schema = SCHEMA
    types: Collection[str] | None

    def __init__(self) -> None:
        self._handlers: dict[type[Event], Callable[[Any, apsw.Connection], None]] = {
            AgentDecisionEvent: _decision,
            DecisionOutcomeEvent: _outcome,
            FeedbackRecordedEvent: _feedback,
            AuditRecordedEvent: _audit,
            DatasetManifestEvent: _manifest,
            TrainingDataCuratedEvent: _curated,
            ModelTrainedEvent: _trained,
            ModelEvaluatedEvent: _evaluated,
            CertificateDecidedEvent: _certificate,
            CertificateRevokedEvent: _verdict("revoked"),
            ModelRejectedEvent: _verdict("rejected"),
            ModelRolledBackEvent: _verdict("rolled_back"),
            ModelDeployedEvent: _deployed,
            ProductQualityMeasuredEvent: _quality,
            ProductExportedEvent: _exported,
            ProductRegisteredEvent: _registered,
            SubjectErasedEvent: _subject_erased,
            RetentionAppliedEvent: _retention,
        }
        self.types = tuple(cls.event_type for cls in self._handlers)

    def apply(self, event: Event, state: apsw.Connection) -> None:
        """Take one event into the tables."""
        self._handlers[type(event)](event, state)


def _insert(state: apsw.Connection, table: str, row: dict[str, Any], conflict: str = "") -> None:
    state.execute(_statement(table, conflict, tuple(row)), row)


@lru_cache(maxsize=64)
def _statement(table: str, conflict: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join(f":{name}" for name in columns)
    return f"INSERT {conflict} INTO {table} ({', '.join(columns)}) VALUES ({marks})"


def _decision(event: AgentDecisionEvent, state: apsw.Connection) -> None:
    _insert(state, "decisions", decision_row(event))


def _outcome(event: DecisionOutcomeEvent, state: apsw.Connection) -> None:
    """Feedback says whether the answer was right; that goes before how it was delivered."""
    values = {
        "id": event.decision_id, "success": event.success, "status": event.status, "ms": event.execution_time_ms,
        "cost": event.cost_usd, "at": event.metadata.position, "tenant": event.metadata.tenant_id,
        "seconds": _seconds_since(state, event),
    }  # fmt: skip
    state.execute(
        "UPDATE decisions SET success = CASE WHEN judged THEN success ELSE :success END, status = :status, "
        "execution_time_ms = :ms, cost_usd = CASE WHEN judged THEN coalesce(cost_usd, :cost) ELSE :cost END, "
        "outcome_seconds = :seconds, told = 1, changed = :at WHERE event_id = :id AND tenant_id = :tenant",
        values,
    )


def _seconds_since(state: apsw.Connection, event: DecisionOutcomeEvent) -> float | None:
    query = "SELECT timestamp FROM decisions WHERE event_id = ?"
    found = state.execute(query, (event.decision_id,)).fetchone()
    if found is None:
        return None
    delay = datetime.fromisoformat(event.metadata.timestamp) - datetime.fromisoformat(found[0])
    return delay.total_seconds()


def _feedback(event: FeedbackRecordedEvent, state: apsw.Connection) -> None:
    state.execute(
        "UPDATE decisions SET success = ?, cost_usd = coalesce(?, cost_usd), judged = 1, told = 1, changed = ? "
        "WHERE event_id = ? AND tenant_id = ?",
        (event.success, event.cost_usd, event.metadata.position, event.decision_id, event.metadata.tenant_id),
    )


def _audit(event: AuditRecordedEvent, state: apsw.Connection) -> None:
    state.execute(
        "UPDATE decisions SET audit_agrees = ?, changed = ? WHERE event_id = ? AND tenant_id = ?",
        (event.agrees, event.metadata.position, event.decision_id, event.metadata.tenant_id),
    )


def _manifest(event: DatasetManifestEvent, state: apsw.Connection) -> None:
    """A list is named by its content: the same list told again adds nothing."""
    tenant, position = event.metadata.tenant_id, event.metadata.position
    clusters = [None if cluster < 0 else cluster for cluster in event.clusters] or [None] * len(event.event_ids)
    rows = zip(event.event_ids, event.parts, event.weights, clusters, strict=True)
    state.executemany(
        "INSERT OR IGNORE INTO dataset_rows (tenant_id, dataset_id, chunk, number, event_id, part, weight, cluster_id, "
        "changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(tenant, event.dataset_id, event.chunk, number, *row, position) for number, row in enumerate(rows)],
    )
    _dataset(event, state, manifest_event_id=event.metadata.event_id, chunks=event.chunks)


def _curated(event: TrainingDataCuratedEvent, state: apsw.Connection) -> None:
    names = ("source_event_count", "curated_count", "deduplication_rate", "cluster_count", "quality_score")
    figures = {name: getattr(event, name) for name in (*names, "content_hash")}
    _dataset(event, state, curation_event_id=event.metadata.event_id, **figures)


def _dataset(event: Any, state: apsw.Connection, **values: Any) -> None:
    row = {**_about(event), "dataset_id": event.dataset_id, **values}
    row.pop("event_id")
    columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    changes = ", ".join(f"{name} = :{name}" for name in values)
    state.execute(f"INSERT INTO datasets ({columns}) VALUES ({marks}) ON CONFLICT DO UPDATE SET {changes}", row)


def _about(event: Event) -> dict[str, Any]:
    metadata = event.metadata
    return {
        "position": metadata.position,
        "event_id": metadata.event_id,
        "timestamp": metadata.timestamp,
        "tenant_id": metadata.tenant_id,
    }


def _measured(event: Any, state: apsw.Connection, kind: str, **values: Any) -> None:
    about = {**_about(event), "model_id": event.model_id, "kind": kind, "causation_id": event.metadata.causation_id}
    _insert(state, "measurements", about | values)


def _trained(event: ModelTrainedEvent, state: apsw.Connection) -> None:
    hours = event.training_seconds / 3600
    values = {"dataset_id": event.dataset_id, "decisions": event.decisions, "training_duration_hours": hours}
    _measured(event, state, "trained", **values)


FIGURES = (
    "accuracy_vs_teacher", "coverage", "latency_ms", "throughput_rps", "cost_per_request_usd", "cost_reduction",
    "consistency_score", "drift_score", "training_duration_hours",
)  # fmt: skip


def _evaluated(event: ModelEvaluatedEvent, state: apsw.Connection) -> None:
    """What an evaluation of live traffic calls accuracy is agreement with the teacher as well."""
    told = {"accuracy_vs_teacher": event.metrics.get("accuracy"), **event.metrics}
    figures = {name: told[name] for name in FIGURES if isinstance(told.get(name), int | float)}
    _measured(event, state, "evaluated", dataset_id=event.data_id, decisions=event.decisions, **figures)


def _certificate(event: CertificateDecidedEvent, state: apsw.Connection) -> None:
    issued = event.certificate
    values = {"accuracy_vs_teacher": issued.get("agreement"), "coverage": issued.get("coverage")}
    values |= {"certificate_hash": issued.get("data_id"), "reason": issued.get("reason")}
    _measured(event, state, "certified" if event.certified else "refused", certified=event.certified, **values)


def _deployed(event: ModelDeployedEvent, state: apsw.Connection) -> None:
    names = ("accuracy_vs_teacher", "latency_ms", "cost_per_request_usd", "training_duration_hours")
    _measured(event, state, "deployed", **{name: getattr(event, name) for name in names})


def _verdict(kind: str) -> Callable[[Any, apsw.Connection], None]:
    return lambda event, state: _measured(event, state, kind, reason=event.reason)


def _quality(event: ProductQualityMeasuredEvent, state: apsw.Connection) -> None:
    about = _about(event)
    about.pop("event_id")
    row = {
        "product_id": event.product_id, "contract_version": event.contract_version, "until": event.position,
        "rows": event.rows, "metrics": _json(event.metrics), "breaches": _json(event.breaches),
    }  # fmt: skip
    _insert(state, "quality", about | row)


def _exported(event: ProductExportedEvent, state: apsw.Connection) -> None:
    about = _about(event)
    about.pop("event_id")
    names = ("product_id", "format", "rows", "sha256", "until", "holds_personal", "dataset_id")
    _insert(state, "exports", about | {name: getattr(event, name) for name in names})


def _registered(event: ProductRegisteredEvent, state: apsw.Connection) -> None:
    metadata = event.metadata
    row = {"tenant_id": metadata.tenant_id, "timestamp": metadata.timestamp, "product_id": event.product_id}
    row |= {"contract_version": event.contract_version, "contract_hash": event.contract_hash}
    _insert(state, "registrations", row, "OR IGNORE")


def _subject_erased(event: SubjectErasedEvent, state: apsw.Connection) -> None:
    _forget(state, event, "subject = :subject", {"subject": event.subject})


def _retention(event: RetentionAppliedEvent, state: apsw.Connection) -> None:
    _forget(state, event, "(:before IS NULL OR timestamp < :before)", {"before": event.before})


def _forget(state: apsw.Connection, event: Event, which: str, values: dict[str, Any]) -> None:
    """Leave what the log itself still tells of such a decision: outcomes told apart stay, as they name nobody."""
    empty = ", ".join(f"{name} = NULL" for name in DERIVED)
    kept = ", ".join(f"{name} = CASE WHEN told THEN {name} END" for name in OUTCOME)
    state.execute(
        f"UPDATE decisions SET erased = 1, {empty}, {kept}, changed = :at "
        f"WHERE {which} AND (:tenant = '*' OR tenant_id = :tenant)",
        {**values, "tenant": event.metadata.tenant_id, "at": event.metadata.position},
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
