"""The model that answers follows the log: deployed, rolled back or revoked, without a request that notices.

A request keeps the gate with which it began. A revocation, of a whole certificate or of some actions, holds
from the very next request. A model that cannot be loaded leaves the one before it answering, unless that
one was revoked: then nothing answers. A canary decides for a share of the conversations; models that answered
before are kept warm. What this file does not know: who decides what is deployed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import NamedTuple

from ultracore.distillation.errors import DistillationError
from ultracore.distillation.events import (
    CertificateRevokedEvent,
    Event,
    ModelDeployedEvent,
    ModelRejectedEvent,
    ModelRolledBackEvent,
    ModelStagedEvent,
)
from ultracore.distillation.serve.gate import Gate
from ultracore.distillation.students.registry import Deployed, ModelRegistry, certificate_hash

__all__ = ["DEPLOYMENT_EVENTS", "Canary", "Deployment"]

logger = logging.getLogger(__name__)

DEPLOYMENT_EVENTS = tuple(
    event.event_type
    for event in (
        ModelDeployedEvent, CertificateRevokedEvent, ModelRolledBackEvent, ModelStagedEvent, ModelRejectedEvent
    )
)  # fmt: skip

WARM = 3
"""Models kept in memory: a roll-back to one of them takes no file."""


class Canary(NamedTuple):
    """A model that is tried on some conversations.

    Attributes:
        gate: Decides there.
        share: Of the conversations (0..1).
    """

    gate: Gate
    share: float

    def takes(self, session: str) -> bool:
        """Whether a conversation is its own; always the same for one."""
        drawn = hashlib.sha256(f"canary/{self.gate.student.model_id}/{session}".encode()).digest()[:8]
        return int.from_bytes(drawn) < self.share * 2**64


class Deployment:
    """Keeps a gate as the log wants it.

    Args:
        registry: The models.
        tenant: Whose deployment it is.
        build: Makes a gate of a model.

    Attributes:
        gate: Who decides now; `None` where no model was ever deployed.
        canary: Who decides for a share of the conversations.
        failed: The deployed model that could not be loaded, if there is one.

    Raises:
        ArtefactError: The files of the model that is deployed at the start are missing or altered.
    """

    def __init__(self, registry: ModelRegistry, tenant: str, build: Callable[[Deployed], Gate]) -> None:
        self._registry = registry
        self._tenant = tenant
        self._build = build
        self._changed = False
        self._revoked: set[str] = set()
        self._revoked_actions: dict[str, frozenset[str]] = {}
        self._tried: ModelStagedEvent | None = None
        self._warm: dict[str, Gate] = {}
        self.canary: Canary | None = None
        self.failed: str | None = None
        active = registry.active_id(tenant)
        self.gate = None if active is None else self._gate(active)

    def apply(self, event: Event) -> None:
        """Take notice of an event."""
        if event.event_type not in DEPLOYMENT_EVENTS or event.metadata.tenant_id != self._tenant:
            return
        self._changed = True
        self._note_canary(event)
        if isinstance(event, CertificateRevokedEvent):
            self._revoke(event)
        elif isinstance(event, ModelDeployedEvent):
            self._revoked.discard(event.model_id)
            self._revoked_actions.pop(event.model_id, None)

    def settle(self, publish: Callable[[Gate], None]) -> None:
        """Load what is new, if anything is; never raises.

        Args:
            publish: Takes the gate that decides from now on.
        """
        if not self._changed:
            return
        self._changed = False
        try:
            self._follow(publish)
        except Exception as error:  # noqa: BLE001  whatever is wrong with a model, the gateway goes on
            said = str(error) if isinstance(error, DistillationError) else type(error).__name__
            logger.error("the deployed model cannot be served, the one before it stays: %s", said)
        try:
            self._settle_canary()
        except Exception as error:  # noqa: BLE001  a canary that cannot be loaded is none
            self.canary = None
            logger.error("the canary cannot be served: %s", type(error).__name__)

    def _revoke(self, event: CertificateRevokedEvent) -> None:
        """Only ever less goes out: what may answer instead is found when the events have been read."""
        if event.actions:
            known = self._revoked_actions.get(event.model_id, frozenset())
            self._revoked_actions[event.model_id] = known.union(event.actions)
        else:
            self._revoked.add(event.model_id)
        for gate in (self.gate, None if self.canary is None else self.canary.gate):
            if gate is not None:
                self._obey(gate)

    def _note_canary(self, event: Event) -> None:
        """A canary ends with the next fact about its stage, or with its certificate."""
        if isinstance(event, ModelStagedEvent) and event.stage == "canary":
            self._tried = event
        elif self._tried is not None and self._tried.model_id == event.metadata.aggregate_id:
            over = not (isinstance(event, CertificateRevokedEvent) and event.actions)
            self._tried = None if over else self._tried

    def _settle_canary(self) -> None:
        tried = self._tried
        if tried is None:
            self.canary = None
        elif self.canary is None or self.canary.gate.student.model_id != tried.model_id:
            self.canary = Canary(self._gate(tried.model_id), tried.share)
            logger.warning("model %s answers %.0f %% of the conversations", tried.model_id, 100 * tried.share)

    def _gate(self, model_id: str) -> Gate:
        """A gate that obeys; the one kept warm, where its certificate is still the model's."""
        certificate = self._registry.load_certificate(model_id, self._tenant)
        gate = self._warm.pop(model_id, None)
        if gate is None or gate.revoked or gate.certificate_id != certificate_hash(certificate):
            gate = self._build(self._registry.deployable(model_id, self._tenant))
        self._warm[model_id] = gate
        while len(self._warm) > WARM:
            self._warm.pop(next(iter(self._warm)))
        self._obey(gate)
        return gate

    def _obey(self, gate: Gate) -> None:
        model_id = gate.student.model_id
        gate.revoked_actions = self._revoked_actions.get(model_id, frozenset())
        gate.revoked = gate.revoked or model_id in self._revoked

    def _follow(self, publish: Callable[[Gate], None]) -> None:
        active = self.failed = self._registry.active_id(self._tenant)
        if active is None:
            if self.gate is not None:
                self.gate.revoked = True
            return
        if not self._serves(active):
            self.gate = self._gate(active)
            publish(self.gate)
            logger.warning("model %s answers now", active)
        if self.gate is not None:
            self._obey(self.gate)  # a revocation may have come while a model was loaded, or another deployment ended it
        self.failed = None

    def _serves(self, model_id: str) -> bool:
        gate = self.gate
        if gate is None or gate.revoked or gate.student.model_id != model_id:
            return False
        return certificate_hash(self._registry.load_certificate(model_id, self._tenant)) == gate.certificate_id
