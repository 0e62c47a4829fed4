"""The heavy work of the loop: curating, training and certifying from the log, and comparing two models.

Old labelled decisions stay in training; those of an action whose certificate was revoked are left out from before the
revocation, because they show what the teacher does no more. What this file does not know: when this is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ultracore.distillation.agents.curator import DataCuratorAgent
from ultracore.distillation.agents.trainer import ModelTrainerAgent
from ultracore.distillation.autonomy.compare import compare
from ultracore.distillation.autonomy.promotion import candidate_of
from ultracore.distillation.autonomy.rules import PromotionRules
from ultracore.distillation.autonomy.traffic import Model, fresh_traffic, pairs
from ultracore.distillation.autonomy.work import Compared
from ultracore.distillation.decisions import Decision, decisions_from_rows
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import CertificateRevokedEvent, EventStore, ModelDeployedEvent
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.log.labels import labelled_rows
from ultracore.distillation.policy import load_policy
from ultracore.distillation.settings import Settings
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.train.parts import of_one_teacher

__all__ = ["CompactBackend", "Compared", "compare_candidate", "stopped_actions", "training_decisions"]


class CompactBackend:
    """The compact student's; a process of its own opens it by name.

    Args:
        home: The home folder.
        settings: Target, delta, seed, tenant and policy.
        rules: Of promotion.
    """

    def __init__(self, home: Path, settings: Settings, rules: PromotionRules) -> None:
        self.settings = msgspec.structs.replace(settings, home=str(home))
        self.rules = rules
        self.store = open_store(home, self.settings)

    def train(self) -> dict[str, Any]:
        """See `TrainingBackend.train`."""
        decisions = training_decisions(self.store, self.settings.tenant)
        return asyncio.run(self._train(decisions))

    def compare(self) -> Compared:
        """See `TrainingBackend.compare`."""
        registry = ModelRegistry(self.settings.home_path, self.store)
        return compare_candidate(self.store, registry, self.settings.tenant, utc_now)

    async def _train(self, decisions: list[Decision]) -> dict[str, Any]:
        policy = load_policy(None if self.settings.policy is None else Path(self.settings.policy))
        common: dict[str, Any] = {"store": self.store, "settings": self.settings}
        curated = await DataCuratorAgent(thresholds=(), **common).execute({"raw_decisions": decisions})
        trainer = ModelTrainerAgent(
            target=self.settings.agreement_floor, policy=policy, rules=msgspec.to_builtins(self.rules), **common
        )
        found = await trainer.execute({"training_data": curated})
        model = found.get("model") or {}
        kept: dict[str, Any] = {key: found[key] for key in ("status", "reason", "coverage", "level") if key in found}
        return {**kept, "model_id": model.get("model_id"), "decisions": len(decisions)}


def training_decisions(store: EventStore, tenant: str) -> list[Decision]:
    """The labelled decisions of the most frequent teacher, weighted by one over the probability of their labels.

    Raises:
        DataError: There are none.
    """
    rows = [row for row in labelled_rows(store, tenant=tenant) if row["source"] != "import"]
    decisions = decisions_from_rows(rows)
    if not decisions:
        raise DataError(f"the log holds no labelled decision of tenant {tenant}")
    until = _revoked_until(store, tenant)
    times = {row["event_id"]: row["timestamp"] for row in rows}
    fresh = [d for d in decisions if times[d.event_id] >= until.get(d.action, "")]
    return of_one_teacher(fresh or decisions).decisions


def compare_candidate(
    store: EventStore, registry: ModelRegistry, tenant: str, clock: Callable[[], datetime]
) -> Compared:
    """Compare the candidate with the model that it is to replace, on what came after its training.

    The canary's own conversations are left out: what it sends there has a label only where it was audited, and each
    call without one would count against it. Which conversations are its own was drawn before anything was said in them.

    Raises:
        DataError: There is no candidate, or a model cannot be asked.
        ArtefactError: The files of a model are missing or altered.
    """
    candidate = candidate_of(store, tenant)
    if candidate is None:
        raise DataError("no model is in the shadow or the canary")
    traffic = fresh_traffic(store, tenant, candidate.since, candidate.rules.settle_seconds, clock())
    old, new = (_model(store, registry, tenant, name) for name in (candidate.against, candidate.model_id))
    own = {f.decision.episode for f in traffic if f.given_to == candidate.model_id}
    others = [fresh for fresh in traffic if fresh.decision.episode not in own]
    return Compared(compare(pairs(others, old, new), candidate.rules), len(own))


def stopped_actions(store: EventStore, tenant: str, model_id: str) -> frozenset[str]:
    """Actions for which a model's certificate was revoked since it was last deployed."""
    stopped: set[str] = set()
    types = [CertificateRevokedEvent.event_type, ModelDeployedEvent.event_type]
    for event in store.read(types=types, aggregate=model_id, tenant=tenant):
        if isinstance(event, CertificateRevokedEvent):
            stopped.update(event.actions)
        else:
            stopped.clear()
    return frozenset(stopped)


def _model(store: EventStore, registry: ModelRegistry, tenant: str, model_id: str) -> Model:
    stopped = stopped_actions(store, tenant, model_id)
    return Model(registry.load(model_id), registry.load_certificate(model_id, tenant), stopped)


def _revoked_until(store: EventStore, tenant: str) -> dict[str, str]:
    """For each action, when its certificate was last revoked."""
    until: dict[str, str] = {}
    for event in store.read(types=[CertificateRevokedEvent.event_type], tenant=tenant):
        if isinstance(event, CertificateRevokedEvent):
            until |= dict.fromkeys(event.actions, event.metadata.timestamp)
    return until
