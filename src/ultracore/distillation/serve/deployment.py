"""The model that answers follows the log: deployed, rolled back or revoked, without a request that notices.

A request keeps the gate with which it began. A revocation, of a whole certificate or of some actions, holds
from the very next request. A model that cannot be loaded leaves the one before it answering, unless that
one was revoked: then nothing answers. What this file does not know: who decides
what is deployed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ultracore.distillation.errors import DistillationError
from ultracore.distillation.events import CertificateRevokedEvent, Event, ModelDeployedEvent, ModelRolledBackEvent
from ultracore.distillation.serve.gate import Gate
from ultracore.distillation.students.registry import Deployed, ModelRegistry, certificate_hash

__all__ = ["DEPLOYMENT_EVENTS", "Deployment"]

logger = logging.getLogger(__name__)

DEPLOYMENT_EVENTS = tuple(
    event.event_type for event in (ModelDeployedEvent, CertificateRevokedEvent, ModelRolledBackEvent)
)


class Deployment:
    """Keeps a gate as the log wants it.

    Args:
        registry: The models.
        tenant: Whose deployment it is.
        build: Makes a gate of a model.

    Attributes:
        gate: Who decides now; `None` where no model was ever deployed.
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
        self.failed: str | None = None
        deployed = registry.active(tenant)
        self.gate = None if deployed is None else build(deployed)

    def apply(self, event: Event) -> None:
        """Take notice of an event."""
        if event.event_type not in DEPLOYMENT_EVENTS or event.metadata.tenant_id != self._tenant:
            return
        self._changed = True
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

    def _revoke(self, event: CertificateRevokedEvent) -> None:
        """Only ever less goes out: what may answer instead is found when the events have been read."""
        if event.actions:
            known = self._revoked_actions.get(event.model_id, frozenset())
            self._revoked_actions[event.model_id] = known.union(event.actions)
        else:
            self._revoked.add(event.model_id)
        if self.gate is not None:
            self._obey(self.gate)

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
            deployed = self._registry.active(self._tenant)
            if deployed is not None:
                self.gate = self._build(deployed)
                self._obey(self.gate)
                publish(self.gate)
                logger.warning("model %s answers now", deployed.model_id)
        if self.gate is not None:
            self._obey(self.gate)  # a revocation may have come while a model was loaded, or another deployment ended it
        self.failed = None

    def _serves(self, model_id: str) -> bool:
        gate = self.gate
        if gate is None or gate.revoked or gate.student.model_id != model_id:
            return False
        return certificate_hash(self._registry.load_certificate(model_id, self._tenant)) == gate.certificate_id
