"""Live agreement of the calls that students sent, with bounds, and whose certificate has to go; from the log alone.

Each deployment is watched as a family: all its calls, each action, each agent. A revocation is right at every
moment together with probability 1 - `RISK`, shared among all calls and the actions of the certificate. What this
file does not know: what is done about a revocation, and how large the audits' share is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from ultracore.distillation.events import (
    AuditRecordedEvent,
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    Event,
    ModelDeployedEvent,
)
from ultracore.distillation.events.base import JsonObject
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import fingerprint
from ultracore.distillation.watch.bounds import Bounds

__all__ = ["RISK", "Agreement", "Audits", "Refuted"]

RISK = 0.001
"""Probability that anything of a deployment which agrees well enough is ever revoked."""

FOR_ALL = 0.7
"""Share of the risk that goes to all calls together: they need more audits than one action that went wrong."""

Kind = Literal["all", "action", "agent", "tier"]


class Scope(NamedTuple):
    """Some calls of a deployment: all of them, those of an action or of an agent, those remembered or decided."""

    kind: Kind
    name: str = ""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far some calls of a deployed model agree with the teacher.

    Attributes:
        model_id: The model.
        kind: `all`, `action`, `agent` or `tier`.
        name: Which action or agent; as tier `cache` (remembered) or `model` (decided); "" for all.
        labelled: Audits with a label since the deployment; for all calls, since the last action was revoked.
        unlabelled: Audits that brought none.
        agreement: The estimate, each audit weighted by the inverse of its probability; `None` without a label.
        lower: Bound at `risk`, at every moment together (0..1).
        upper: Likewise; below the floor the certificate is revoked.
        floor: Agreement that the certificate promises (0..1).
        risk: Probability that a bound is ever wrong.
        revoked: Whether these calls go to the teacher because of it.
    """

    model_id: str
    kind: Kind
    name: str
    labelled: int
    unlabelled: int
    agreement: float | None
    lower: float
    upper: float
    floor: float
    risk: float
    revoked: bool


class Refuted(NamedTuple):
    """A certificate that does not hold: of a whole deployment (`action` is `None`) or of an action."""

    tenant: str
    model_id: str
    action: str | None
    upper: float
    floor: float
    labelled: int
    deployment: str
    audit: str

    def event(self, clock: Callable[[], datetime]) -> CertificateRevokedEvent:
        """The fact; its id is equal for whoever finds it, so that it gets into the log once."""
        identity = fingerprint([self.tenant, self.model_id, self.action, self.deployment, self.audit])
        whose = "all calls" if self.action is None else self.action
        return CertificateRevokedEvent.record(
            event_id=f"revoked-{identity}",
            tenant_id=self.tenant,
            causation_id=self.audit,
            clock=clock,
            model_id=self.model_id,
            reason=f"live agreement of {whose} is below {self.floor:.3f} after {self.labelled} labelled audits",
            upper_bound=self.upper,
            floor=self.floor,
            actions=[] if self.action is None else [self.action],
        )


class Audits:
    """Reads events of `types` in the order of the log.

    Args:
        floor: Agreement demanded of a model whose certificate is not in the log (0..1).
    """

    types = tuple(
        e.event_type for e in (AuditRecordedEvent, CertificateDecidedEvent, CertificateRevokedEvent, ModelDeployedEvent)
    )

    def __init__(self, floor: float) -> None:
        self._unknown = Certificate(certified=True, target=floor)
        self._certificates: dict[tuple[str, str], Certificate] = {}
        self._deployments: dict[tuple[str, str], _Deployment] = {}

    def apply(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case AuditRecordedEvent():
                self._deployment(event, event.model_id).audited(event)
            case CertificateDecidedEvent(certified=True):
                self._certificates[event.metadata.tenant_id, event.model_id] = _certificate(event.certificate)
            case CertificateRevokedEvent():
                self._deployment(event, event.model_id).revoke(event.actions)
            case ModelDeployedEvent():
                self._deployments.pop((event.metadata.tenant_id, event.model_id), None)
                self._deployment(event, event.model_id)

    def agreement(self, tenant: str, model_id: str) -> list[Agreement]:
        """What is known of a model's calls since it was deployed: all first, then actions, agents and tiers."""
        deployment = self._deployments.get((tenant, model_id))
        return [] if deployment is None else list(deployment.agreement())

    def upper(self, tenant: str, model_id: str, risk: float) -> float | None:
        """Upper bound of all calls of a model at another risk; `None` where it was never deployed."""
        deployment = self._deployments.get((tenant, model_id))
        return None if deployment is None else deployment.upper(risk)

    def refuted(self) -> list[Refuted]:
        """Certificates that do not hold and are not revoked yet."""
        return [found for deployment in self._deployments.values() for found in deployment.refuted.values()]

    def _deployment(self, event: Event, model_id: str) -> _Deployment:
        key = event.metadata.tenant_id, model_id
        if key not in self._deployments:
            certificate = self._certificates.get(key, self._unknown)
            self._deployments[key] = _Deployment(*key, event.metadata.event_id, certificate)
        return self._deployments[key]


class _Tally:
    """What is known of one scope."""

    def __init__(self, floor: float, risk: float) -> None:
        self.floor = floor
        self.risk = risk
        self.unlabelled = 0
        self.bounds = Bounds(floor)

    @property
    def refuted(self) -> bool:
        return self.bounds.upper(self.risk) <= self.floor


class _Deployment:
    """A model since it was deployed.

    Attributes:
        refuted: What does not hold and is not revoked yet.
    """

    def __init__(self, tenant: str, model_id: str, identity: str, certificate: Certificate) -> None:
        self.refuted: dict[Scope, Refuted] = {}
        self._of = tenant, model_id
        self._identity = identity
        self._certificate = certificate
        self._tallies: dict[Scope, _Tally] = {}
        self._revoked: set[Scope] = set()
        self._tally(ALL)

    def audited(self, event: AuditRecordedEvent) -> None:
        action, others = Scope("action", event.action), [Scope("agent", event.agent_id)]
        others += [Scope("tier", event.tier)] if event.tier else []
        # a call of a revoked action may still be on its way; of what is sent from now on it says nothing
        scopes = [action] if action in self._revoked else [ALL, action, *others]
        for scope in scopes:
            tally = self._tally(scope)
            if event.agrees is None or not 0.0 < event.sampling_probability <= 1.0:
                tally.unlabelled += 1
                continue
            tally.bounds.observe(event.agrees, event.sampling_probability, (event.agent_id, event.action))
            if scope.kind in ("all", "action") and tally.refuted and self._revoked.isdisjoint((ALL, scope)):
                self.refuted[scope] = self._refutation(scope, tally, event)
                self._stop(scope)

    def upper(self, risk: float) -> float:
        return self._tally(ALL).bounds.upper(risk)

    def revoke(self, actions: list[str]) -> None:
        for scope in [Scope("action", name) for name in actions] or [ALL]:
            self.refuted.pop(scope, None)
            if scope not in self._revoked:
                self._stop(scope)

    def _stop(self, scope: Scope) -> None:
        """From here on, not from when somebody writes it down: the same follows however often one looks."""
        self._revoked.add(scope)
        if scope.kind == "action":  # what is sent from now on is another mix of calls
            del self._tallies[ALL]
            self._tally(ALL)

    def agreement(self) -> Iterator[Agreement]:
        kinds = ("all", "action", "agent", "tier")
        for scope in sorted(self._tallies, key=lambda s: (kinds.index(s.kind), s.name)):
            tally = self._tallies[scope]
            yield Agreement(
                model_id=self._of[1],
                kind=scope.kind,
                name=scope.name,
                labelled=tally.bounds.observed,
                unlabelled=tally.unlabelled,
                agreement=tally.bounds.mean,
                lower=tally.bounds.lower(tally.risk),
                upper=tally.bounds.upper(tally.risk),
                floor=tally.floor,
                risk=tally.risk,
                revoked=scope in self._revoked or ALL in self._revoked,
            )

    def _tally(self, scope: Scope) -> _Tally:
        if scope not in self._tallies:
            self._tallies[scope] = _Tally(self._floor(scope), self._risk(scope))
        return self._tallies[scope]

    def _floor(self, scope: Scope) -> float:
        """All calls together need no more than the least level that any of them was certified at."""
        certificate = self._certificate
        if scope.kind == "action":
            return certificate.level_of(scope.name)
        return min(certificate.target, *certificate.levels.values()) if certificate.levels else certificate.target

    def _risk(self, scope: Scope) -> float:
        if scope.kind == "all":
            return RISK * FOR_ALL
        rest, known = RISK * (1.0 - FOR_ALL), self._certificate.thresholds
        if scope.kind == "action" and scope.name in known:
            return rest / len(known)
        nth = 1 + sum(other.kind == scope.kind and other.name not in known for other in self._tallies)
        return rest / (nth * (nth + 1))  # of a list without a known end: these sum to the rest

    def _refutation(self, scope: Scope, tally: _Tally, event: AuditRecordedEvent) -> Refuted:
        action = scope.name if scope.kind == "action" else None
        upper, labelled = tally.bounds.upper(tally.risk), tally.bounds.observed
        return Refuted(*self._of, action, upper, tally.floor, labelled, self._identity, event.metadata.event_id)


ALL = Scope("all")


def _certificate(value: JsonObject) -> Certificate:
    return msgspec.convert(value, Certificate)
