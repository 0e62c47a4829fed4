"""What a training run writes into the decision log: the facts of one model, to be appended together.

What this file does not know: where the log is, and what reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.decisions import Decision
from ultracore.distillation.events import (
    CertificateDecidedEvent,
    Event,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelRejectedEvent,
    ModelTrainedEvent,
    TrainingDataCuratedEvent,
)
from ultracore.distillation.students.certificate import Certificate

__all__ = ["Trained", "curation_fact", "is_deployable", "model_facts"]

MODEL_NAME = "compact"

CORE_HOUR_USD = 0.05
"""About what an hour of one rented CPU core costs; prices the student's own work."""


class Trained(NamedTuple):
    """A model as the log describes it.

    Attributes:
        model_id: The student.
        size: Bytes of its files.
        dataset_id: What it learned from.
        decisions: Decisions it learned from.
        episodes: Their conversations.
        seconds: Wall-clock duration of the training.
        seed: Seed of the run.
        versions: Packages that it rests on.
    """

    model_id: str
    size: int
    dataset_id: str
    decisions: int
    episodes: int
    seconds: float
    seed: int
    versions: dict[str, str]

    @classmethod
    def of(
        cls,
        model_id: str,
        folder: Path,
        dataset_id: str,
        learned: Sequence[Decision],
        seconds: float,
        seed: int,
        versions: dict[str, str],
    ) -> Trained:
        """Describe a model whose files are in `folder`."""
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        episodes = len({decision.episode for decision in learned})
        return cls(model_id, size, dataset_id, len(learned), episodes, seconds, seed, versions)


def curation_fact(dataset_id: str, stats: Mapping[str, Any], **metadata: Any) -> Event:
    """That exact duplicates were merged."""
    return TrainingDataCuratedEvent.record(
        dataset_id=dataset_id,
        source_event_count=stats["original_count"],
        curated_count=stats["deduplicated_count"],
        deduplication_rate=stats["reduction_rate"],
        cluster_count=0,
        **metadata,
    )


def is_deployable(certificate: Certificate) -> bool:
    """Whether a student may answer at all: certified, and sure enough of some calls."""
    return certificate.certified and certificate.coverage > 0


def model_facts(trained: Trained, certificate: Certificate, result: Mapping[str, Any], **metadata: Any) -> list[Event]:
    """Trained, evaluated, certified or not, deployed or rejected, in this order.

    Args:
        trained: The model.
        certificate: The one that would be served.
        result: The `test`, `levels` and `latency_ms` of the run's result.
        **metadata: See `Event.record`.
    """
    common: dict[str, Any] = {"model_id": trained.model_id, **metadata}
    metrics = {name: value for name, value in result["test"].items() if name != "interval"}
    return [
        ModelTrainedEvent.record(
            model_name=MODEL_NAME,
            dataset_id=trained.dataset_id,
            decisions=trained.decisions,
            episodes=trained.episodes,
            training_seconds=trained.seconds,
            seed=trained.seed,
            versions=trained.versions,
            **common,
        ),
        ModelEvaluatedEvent.record(
            data_id=result["test"]["data_id"], decisions=metrics["n"], metrics=metrics, **common
        ),
        CertificateDecidedEvent.record(
            certified=certificate.certified, certificate=msgspec.to_builtins(certificate), **common
        ),
        _verdict(trained, certificate, result, metrics, common),
    ]


def _verdict(
    trained: Trained,
    certificate: Certificate,
    result: Mapping[str, Any],
    metrics: dict[str, Any],
    common: dict[str, Any],
) -> Event:
    if not is_deployable(certificate):
        return ModelRejectedEvent.record(reason=certificate.reason, metrics=metrics, **common)
    milliseconds = result["latency_ms"]["p50"]
    return ModelDeployedEvent.record(
        model_name=MODEL_NAME,
        model_size=trained.size,
        accuracy_vs_teacher=certificate.agreement or 0.0,
        latency_ms=milliseconds,
        cost_per_request_usd=milliseconds / 3_600_000 * CORE_HOUR_USD,
        training_duration_hours=trained.seconds / 3600,
        **common,
    )
