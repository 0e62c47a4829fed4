"""What a training run writes into the decision log: the facts of one model, to be appended together.

What this file does not know: where the log is, and what reads it.
"""

from __future__ import annotations

import hashlib
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
    ModelStagedEvent,
    ModelTrainedEvent,
    TrainingDataCuratedEvent,
)
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.students.mix import mix_of
from ultracore.distillation.tools import fingerprint
from ultracore.distillation.train.dataset import Dataset
from ultracore.distillation.train.environment import environment
from ultracore.distillation.train.evaluate import Judged

__all__ = [
    "EXACT",
    "SPLIT",
    "SPLIT_WITH_TEST",
    "Trained",
    "curation_fact",
    "deployment_figures",
    "file_hashes",
    "is_deployable",
    "model_facts",
    "validation_hash",
]

MODEL_NAME = "compact"

EXACT, SPLIT, SPLIT_WITH_TEST = "exact", "by_task", "by_task_with_test"
"""How the loop curates and splits, as the parameters of a curation name it; what a replay can do again."""

MS_PER_HOUR = 3.6e6


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
        hyper_parameters: What else was chosen: the target, the folds, the networks ...
        files: SHA-256 of each of its files by name.
        environment: What the bytes depend on beside all that.
        validation_hash: See `validation_hash`.
    """

    model_id: str
    size: int
    dataset_id: str
    decisions: int
    episodes: int
    seconds: float
    seed: int
    hyper_parameters: dict[str, Any]
    files: dict[str, str]
    environment: dict[str, Any]
    validation_hash: str

    @classmethod
    def of(
        cls,
        model_id: str,
        folder: Path,
        dataset_id: str,
        learned: Sequence[Decision],
        seconds: float,
        seed: int,
        hyper_parameters: Mapping[str, Any],
        validation_hash: str,
    ) -> Trained:
        """Describe a model whose files are in `folder`, trained here and now."""
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        episodes = len({decision.episode for decision in learned})
        return cls(
            model_id, size, dataset_id, len(learned), episodes, seconds, seed, dict(hyper_parameters),
            file_hashes(folder), environment(), validation_hash,
        )  # fmt: skip


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a model by name."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def validation_hash(judged: Sequence[Judged], certificate: Certificate) -> str:
    """Names what a student does on the calibration decisions: which calls it proposes, and which of them are sent.

    Equal hashes mean identical decisions, whatever the last bits of the confidences are.
    """
    done = [[row.proposal.calls, row.proposal.missing, row.is_sent(certificate)] for row in judged]
    return fingerprint(done)


def curation_fact(
    dataset: Dataset, stats: Mapping[str, Any], seed: int, parameters: Mapping[str, Any], **metadata: Any
) -> Event:
    """That exact duplicates were merged.

    Args:
        dataset: What came out.
        stats: Of `deduplicate_rows`.
        seed: Of the split.
        parameters: What it was told.
        **metadata: See `Event.record`.
    """
    return TrainingDataCuratedEvent.record(
        dataset_id=dataset.dataset_id,
        content_hash=dataset.content_hash,
        seed=seed,
        parameters=dict(parameters),
        source_event_count=stats["original_count"],
        curated_count=stats["deduplicated_count"],
        deduplication_rate=stats["reduction_rate"],
        cluster_count=0,
        **metadata,
    )


def is_deployable(certificate: Certificate) -> bool:
    """Whether a student may answer at all: certified, and sure enough of some calls."""
    return certificate.certified and certificate.coverage > 0


def deployment_figures(
    trained: Trained, certificate: Certificate, milliseconds: float, machine_usd_per_hour: float = 0.0
) -> dict[str, Any]:
    """The figures that a deployment is known by.

    Args:
        trained: The model.
        certificate: The one that would be served.
        milliseconds: Median duration of one proposal.
        machine_usd_per_hour: Price of the machine that answers; nobody bills a local proposal by default.

    Returns:
        `accuracy_vs_teacher`, the agreement of the calibration calls that it would send (`None`: it would
        send none), `latency_ms`, `cost_per_request_usd` and `training_duration_hours`.
    """
    return {
        "accuracy_vs_teacher": certificate.agreement,
        "latency_ms": milliseconds,
        "cost_per_request_usd": machine_usd_per_hour * milliseconds / MS_PER_HOUR,
        "training_duration_hours": trained.seconds / 3600.0,
    }


def model_facts(
    trained: Trained,
    certificate: Certificate,
    figures: Mapping[str, Any],
    test: Mapping[str, Any],
    reference: Sequence[Decision],
    *,
    replaces: str | None = None,
    rules: Mapping[str, Any] | None = None,
    causation_id: str | None = None,
    **metadata: Any,
) -> list[Event]:
    """Trained, evaluated, certified or not, deployed or rejected: in this order, to be appended together.

    Where rules of promotion are given and another model answers, a certified model goes to the shadow instead.

    Args:
        trained: The model.
        certificate: The one that would be served.
        figures: From `deployment_figures`.
        test: What was measured on unseen decisions, from `measure_test`, and their `data_id`.
        reference: The decisions it was certified on: later drift is measured against their mix.
        replaces: The model that answered so far, if one did.
        rules: What was declared for the comparison with that one.
        causation_id: The event that caused this training, if one did.
        **metadata: See `Event.record`.
    """
    common: dict[str, Any] = {"model_id": trained.model_id, **metadata}
    metrics = {**figures, **{name: value for name, value in test.items() if name != "interval"}}
    learned = ModelTrainedEvent.record(
        model_name=MODEL_NAME,
        dataset_id=trained.dataset_id,
        decisions=trained.decisions,
        episodes=trained.episodes,
        training_seconds=trained.seconds,
        seed=trained.seed,
        hyper_parameters=trained.hyper_parameters,
        files=trained.files,
        environment=trained.environment,
        causation_id=causation_id,
        **common,
    )
    common["causation_id"] = learned.metadata.event_id
    evaluated = ModelEvaluatedEvent.record(
        data_id=test["data_id"],
        decisions=test["n"],
        metrics={**metrics, "reference_mix": msgspec.to_builtins(mix_of(reference))},
        validation_hash=trained.validation_hash,
        **common,
    )
    decided = CertificateDecidedEvent.record(
        certified=certificate.certified, certificate=msgspec.to_builtins(certificate), **common
    )
    common["causation_id"] = decided.metadata.event_id
    before = None if replaces == trained.model_id else replaces
    if is_deployable(certificate) and before and rules is not None:
        verdict: Event = ModelStagedEvent.record(
            stage="shadow", reason="certified; compared with the model that answers", against=before,
            model_size=trained.size, rules=dict(rules), **common,
        )  # fmt: skip
    elif is_deployable(certificate):
        verdict = ModelDeployedEvent.record(
            model_name=MODEL_NAME, model_size=trained.size, replaces=before, **figures, **common
        )
    else:
        verdict = ModelRejectedEvent.record(reason=certificate.reason, metrics=metrics, **common)
    return [learned, evaluated, decided, verdict]
