"""What came of a training: its figures, and the facts that go into the log together.

What this file does not know: how the student was fitted and certified (`trainer`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.agents.mix import mix_of
from ultracore.distillation.agents.scores import Scores, Timing
from ultracore.distillation.decisions import Decision
from ultracore.distillation.events import (
    CertificateDecidedEvent,
    Event,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelRejectedEvent,
    ModelTrainedEvent,
)
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import fingerprint

__all__ = ["TrainingRun", "data_id_of", "facts_of"]

MODEL_NAME = "compact"
PACKAGES = ("numpy", "scipy", "scikit-learn", "ultracore-distillation")
PROMISED = ("accuracy_vs_teacher", "latency_ms", "cost_per_request_usd", "training_duration_hours")


class TrainingRun(NamedTuple):
    """A trained, published and judged student.

    Attributes:
        training: What it learned from.
        calibration: What the certificate was decided on.
        certificate: Issued or refused.
        scores: Agreement on the calibration decisions.
        timing: Measured on the calibration decisions.
        usd_per_request: Price of the machine for one proposal.
        model_size: Bytes of its files.
        seconds: Wall-clock duration of the fit.
        seed: Seed of the run.
        causation_id: The event that caused this training, if one did.
    """

    training: list[Decision]
    calibration: list[Decision]
    certificate: Certificate
    scores: Scores
    timing: Timing
    usd_per_request: float
    model_size: int
    seconds: float
    seed: int
    causation_id: str | None

    @property
    def deployed(self) -> bool:
        """Whether the student may answer: certified, and sure enough of some calls."""
        return self.certificate.certified and self.certificate.coverage > 0.0

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of the result and of the events."""
        return {
            "accuracy_vs_teacher": self.certificate.agreement,
            "latency_ms": self.timing.median_ms,
            "latency_p95_ms": self.timing.p95_ms,
            "cost_per_request_usd": self.usd_per_request,
            "training_duration_hours": self.seconds / 3600.0,
            "whole_agreement": self.scores.whole_agreement,
            "calibration_decisions": self.scores.decisions,
        }


def data_id_of(decisions: Sequence[Decision]) -> str:
    """Fingerprint of a data set: equal for equal decisions in equal order."""
    return fingerprint([fingerprint(decision) for decision in decisions])


def facts_of(run: TrainingRun, clock: Callable[[], datetime]) -> list[Event]:
    """Trained, evaluated, certified or not, deployed or rejected: in this order, to be appended together.

    The evaluation holds the mix of the calibration decisions, which later drift is measured against.
    """
    common: dict[str, Any] = {
        "model_id": run.certificate.model_id,
        "tenant_id": run.training[0].tenant,
        "correlation_id": uuid.uuid4().hex,
        "clock": clock,
    }
    trained = ModelTrainedEvent.record(
        model_name=MODEL_NAME,
        dataset_id=data_id_of(run.training),
        decisions=len(run.training),
        episodes=len({decision.episode for decision in run.training}),
        training_seconds=run.seconds,
        seed=run.seed,
        versions={name: version(name) for name in PACKAGES},
        causation_id=run.causation_id,
        **common,
    )
    common["causation_id"] = trained.metadata.event_id
    evaluated = ModelEvaluatedEvent.record(
        data_id=run.certificate.data_id,
        decisions=len(run.calibration),
        metrics={**run.metrics, "reference_mix": msgspec.to_builtins(mix_of(run.calibration))},
        **common,
    )
    decided = CertificateDecidedEvent.record(
        certified=run.certificate.certified, certificate=msgspec.to_builtins(run.certificate), **common
    )
    return [trained, evaluated, decided, _verdict(run, {**common, "causation_id": decided.metadata.event_id})]


def _verdict(run: TrainingRun, common: dict[str, Any]) -> Event:
    metrics = run.metrics
    if not run.deployed:
        return ModelRejectedEvent.record(reason=run.certificate.reason, metrics=metrics, **common)
    promised = {name: metrics[name] for name in PROMISED}
    return ModelDeployedEvent.record(model_name=MODEL_NAME, model_size=run.model_size, **promised, **common)
