"""Tools that are offered with another definition than the certificate knows: told once for each definition.

What this file does not know: what becomes of such a request.
"""

from __future__ import annotations

from ultracore.distillation.events import ToolSchemaChangedEvent
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.gate import Escalate, Reason
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import fingerprint

__all__ = ["SchemaChanges"]

MOST = 10_000
"""Definitions that are told of while one process serves; a client could make up any number."""


class SchemaChanges:
    """Remembers which changes were told."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def event(self, exchange: Exchange, certificate: Certificate) -> ToolSchemaChangedEvent | None:
        """What to write down of an exchange, if anything; its id says what it is about, for other processes see it too.

        Args:
            exchange: With its verdict.
            certificate: Of the student that was asked.
        """
        verdict = exchange.verdict
        if not isinstance(verdict, Escalate) or verdict.reason != Reason.SCHEMA_CHANGED:
            return None
        certified, offered = certificate.tools[verdict.detail], exchange.offer.fingerprints[verdict.detail]
        identity = "schema-" + fingerprint([exchange.tenant, exchange.model_id, verdict.detail, certified, offered])
        if identity in self._told or len(self._told) >= MOST:
            return None
        self._told.add(identity)
        return ToolSchemaChangedEvent.record(
            event_id=identity,
            model_id=exchange.model_id,
            tool=verdict.detail,
            certified_fingerprint=certified,
            offered_fingerprint=offered,
            agent_id=exchange.agent_id,
            tenant_id=exchange.tenant,
            clock=exchange.clock,
        )
