"""Puts a prompt into service: the student that reads it is certified on tasks it never met, published and deployed.

The gateway follows the log, so that it answers from the next request on, for the calls that the certificate accepts;
an earlier version is deployed the same way. Where nothing can be certified, nothing changes. What this file does not
know: how the prompt came about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ultracore.distillation.agreement import Comparators, infer_free_text
from ultracore.distillation.decisions import Decision
from ultracore.distillation.events import (
    CertificateDecidedEvent,
    Event,
    EventStore,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelRejectedEvent,
)
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.optimize.figures import mean
from ultracore.distillation.policy import NO_POLICY, Policy
from ultracore.distillation.settings import Settings
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.students.mix import mix_of
from ultracore.distillation.students.prompted.student import KIND, PromptedStudent
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.train.certificates import certify_levels, data_id_of
from ultracore.distillation.train.evaluate import Judged, judge
from ultracore.distillation.train.facts import is_deployable, validation_hash
from ultracore.distillation.train.levels import level_of
from ultracore.distillation.train.parts import Parts

__all__ = ["deploy_prompt"]

DELTA = 0.05


def deploy_prompt(
    student: PromptedStudent,
    parts: Parts,
    teacher: str,
    store: EventStore,
    settings: Settings,
    *,
    policy: Policy = NO_POLICY,
    prices: tuple[float, float] = (0.0, 0.0),
    clock: Callable[[], datetime] = utc_now,
) -> Certificate:
    """Certify a prompted student, and deploy it where that succeeds.

    Args:
        student: Its prompt was optimized on `parts.train` at most.
        parts: Thresholds are chosen on `train` and tested on `calibration`, which chose nothing before.
        teacher: Whose decisions they are.
        store: The log.
        settings: The home folder, the agreement that is wanted, the tenant and the seed.
        policy: What the user says about their tools.
        prices: US dollars of a million tokens in, and out.
        clock: Tells the time of the events.

    Returns:
        The certificate, issued or refused; `reason` says why.

    Raises:
        ChatError: The language model does not answer.
        ArtefactError: The model cannot be written.
    """
    comparators = policy.comparators(infer_free_text(parts.train))
    development, calibrated = (_asked(student, part, comparators) for part in (parts.train, parts.calibration))
    target, registry = settings.agreement_floor, ModelRegistry(settings.home_path, store)
    model_id = registry.publish(student)
    certificate = certify_levels(
        development, calibrated, [target], level=level_of(parts.train), delta=DELTA, model_id=model_id, teacher=teacher,
        offered=[*parts.train, *parts.calibration], policy=policy, seed=settings.seed,
    )[target]  # fmt: skip
    registry.save_certificate(certificate)
    before = registry.active_id(settings.tenant)
    figures = {**student.spent.figures(*prices), "tool": mean([float(row.tool) for row in calibrated])}
    common: dict[str, Any] = {"model_id": model_id, "tenant_id": settings.tenant, "clock": clock}
    evaluated = ModelEvaluatedEvent.record(
        data_id=data_id_of(parts.calibration),
        decisions=len(calibrated),
        metrics={**figures, "reference_mix": msgspec.to_builtins(mix_of(parts.calibration))},
        validation_hash=validation_hash(calibrated, certificate),
        **common,
    )
    decided = CertificateDecidedEvent.record(
        certified=certificate.certified, certificate=msgspec.to_builtins(certificate), **common
    )
    size = sum(file.stat().st_size for file in registry.folder_of(model_id).rglob("*") if file.is_file())
    store.append([evaluated, decided, _verdict(certificate, figures, size, before, common)])
    return certificate


def _asked(student: PromptedStudent, part: Sequence[Decision], comparators: Comparators) -> list[Judged]:
    return judge(part, student.propose_batch([decision.state for decision in part]), comparators)


def _verdict(
    certificate: Certificate, figures: dict[str, Any], size: int, before: str | None, common: dict[str, Any]
) -> Event:
    if not is_deployable(certificate):
        return ModelRejectedEvent.record(reason=certificate.reason, metrics=figures, **common)
    return ModelDeployedEvent.record(
        model_name=KIND,
        model_size=size,
        replaces=None if before == certificate.model_id else before,
        accuracy_vs_teacher=certificate.agreement,
        latency_ms=figures["latency_ms"],
        cost_per_request_usd=figures["cost_per_request_usd"],
        training_duration_hours=0.0,
        **common,
    )
