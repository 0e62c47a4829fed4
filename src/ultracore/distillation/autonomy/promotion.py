"""From the shadow to the canary to answering, or not; and back to the last good model.

Each step is one event with the numbers that led to it, so that a crash leaves a model in the one stage or in the other.
Not enough data is no promotion. What this file does not know: how models are compared, and how they are served.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.autonomy.compare import Comparison
from ultracore.distillation.autonomy.rules import PromotionRules
from ultracore.distillation.errors import ArtefactError
from ultracore.distillation.events import (
    CertificateRevokedEvent,
    Event,
    EventStore,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelRejectedEvent,
    ModelRolledBackEvent,
    ModelStagedEvent,
)
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.students.models import ModelState, last_good, model_states
from ultracore.distillation.students.registry import ModelRegistry

__all__ = ["Candidate", "candidate_of", "next_stage", "roll_back"]

MODEL_NAME = "compact"


class Candidate(NamedTuple):
    """A model on its way.

    Attributes:
        model_id: Its id.
        stage: `shadow` or `canary`.
        against: The model that it is compared with.
        rules: Declared when it went to the shadow.
        since: Position from which traffic is fresh: where it went to the shadow.
        canary_since: Position of its canary; 0 before.
        size: Bytes of its files.
    """

    model_id: str
    stage: str
    against: str
    rules: PromotionRules
    since: int
    canary_since: int
    size: int


def candidate_of(store: EventStore, tenant: str) -> Candidate | None:
    """The newest model in the shadow or the canary; `None` where none is."""
    waiting = {m.model_id for m in model_states(store, tenant) if m.stage in ("shadow", "canary")}
    found: Candidate | None = None
    for event in store.read(types=[ModelStagedEvent.event_type], tenant=tenant):
        if not isinstance(event, ModelStagedEvent) or event.model_id not in waiting:
            continue
        at = event.metadata.position or 0
        if event.stage == "canary" and found is not None and found.model_id == event.model_id:
            found = found._replace(stage="canary", canary_since=at)
        elif event.stage == "shadow":
            rules = msgspec.convert(event.rules, PromotionRules)
            found = Candidate(event.model_id, "shadow", event.against or "", rules, at, 0, event.model_size)
    return found


def next_stage(
    store: EventStore,
    tenant: str,
    candidate: Candidate,
    comparison: Comparison,
    canary_units: int,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> Event | None:
    """The event that a comparison leads to; `None` is to wait.

    Args:
        store: The log.
        tenant: Whose models.
        candidate: From `candidate_of`.
        comparison: Of it with the model that answers.
        canary_units: Conversations that it answered as a canary.
        clock: Tells the time.
    """
    rules = candidate.rules
    stamp: dict[str, Any] = {"tenant_id": tenant, "clock": clock}
    numbers = {**msgspec.to_builtins(comparison), "canary_units": canary_units}
    if comparison.verdict == "worse":
        metrics = {"against": candidate.against, **numbers}
        return ModelRejectedEvent.record(
            model_id=candidate.model_id, reason=comparison.reason, metrics=metrics, **stamp
        )
    if comparison.verdict == "open" or _cooling(store, tenant, rules, clock()):
        return None
    if candidate.stage == "shadow" and rules.canary_share > 0.0:
        return ModelStagedEvent.record(
            model_id=candidate.model_id, stage="canary", reason=comparison.reason, against=candidate.against,
            share=rules.canary_share, model_size=candidate.size, rules=msgspec.to_builtins(rules), evidence=numbers,
            **stamp,
        )  # fmt: skip
    if candidate.stage == "canary" and canary_units < rules.canary_units:
        return None
    return ModelDeployedEvent.record(
        model_id=candidate.model_id, model_name=MODEL_NAME, model_size=candidate.size, replaces=candidate.against,
        reason=comparison.reason, evidence=numbers, **_figures(store, tenant, candidate.model_id), **stamp,
    )  # fmt: skip


def roll_back(
    store: EventStore,
    registry: ModelRegistry,
    tenant: str,
    reason: str,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> Event | None:
    """The event that makes the last good model answer: not revoked, its files and certificate whole.

    Returns:
        `None` where the log says nothing of a model that answered, or the last word was a roll-back already.
    """
    models = model_states(store, tenant)
    bad = _stopped(models)
    if bad is None:
        return None
    good = next((name for name in last_good(models, bad) if _is_whole(registry, name, tenant)), None)
    return ModelRolledBackEvent.record(model_id=bad, to_model_id=good, reason=reason, tenant_id=tenant, clock=clock)


def revocation_of(store: EventStore, tenant: str, model_id: str) -> CertificateRevokedEvent | None:
    """The last revocation of a model's certificate."""
    types = [CertificateRevokedEvent.event_type]
    found = list(store.read(types=types, aggregate=model_id, tenant=tenant))
    return found[-1] if found and isinstance(found[-1], CertificateRevokedEvent) else None


def _stopped(models: list[ModelState]) -> str | None:
    """The model that answers, else the last that did, where it was stopped and not yet rolled back."""
    active = next((m.model_id for m in models if m.active), None)
    if active is not None:
        return active
    stopped = [m for m in models if m.status == "revoked" and m.deployed_at]
    return max(stopped, key=lambda m: m.deployed_at).model_id if stopped else None


def _is_whole(registry: ModelRegistry, model_id: str, tenant: str) -> bool:
    try:
        registry.load_certificate(model_id, tenant)
        registry.load(model_id)
    except ArtefactError:
        return False
    return True


def _cooling(store: EventStore, tenant: str, rules: PromotionRules, now: datetime) -> bool:
    since = (now - timedelta(seconds=rules.cool_down_seconds)).isoformat()
    types = [ModelDeployedEvent.event_type]
    until = now.isoformat()  # a clock that was set back must not stop promotions until it has caught up
    return next(iter(store.read(types=types, tenant=tenant, since=since, until_time=until, limit=1)), None) is not None


def _figures(store: EventStore, tenant: str, model_id: str) -> dict[str, Any]:
    """The figures that it was certified with: promotion measures others."""
    names = ("accuracy_vs_teacher", "latency_ms", "cost_per_request_usd", "training_duration_hours")
    found: dict[str, Any] = dict.fromkeys(names, 0.0)
    for event in store.read(types=[ModelEvaluatedEvent.event_type], aggregate=model_id, tenant=tenant):
        if isinstance(event, ModelEvaluatedEvent) and all(event.metrics.get(name) is not None for name in names):
            found = {name: event.metrics[name] for name in names}
    return found
