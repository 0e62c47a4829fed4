"""The models as the log tells of them: which was trained when on what, certified or not, and which one answers.

A model goes candidate -> shadow -> canary -> active -> retired; `Stage` names these, `status` says it in detail.
The last deployment of a tenant counts. A revoked certificate stops its model, and then nothing answers until a
roll-back names another model (one that is not revoked) or a new one is deployed; one that is revoked for some
actions only stops nothing here. What this file does not know: files, and who decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

import apsw

from ultracore.distillation.events import (
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    Event,
    EventStore,
    ModelDeployedEvent,
    ModelRejectedEvent,
    ModelRolledBackEvent,
    ModelStagedEvent,
    ModelTrainedEvent,
)
from ultracore.distillation.events.moment import Moment
from ultracore.distillation.events.projection import project

__all__ = ["ModelState", "Models", "Stage", "active_model", "last_good", "model_states", "states_in"]

Stage = Literal["candidate", "shadow", "canary", "active", "retired"]

STAGES: dict[str, Stage] = {"trained": "candidate", "certified": "candidate", "shadow": "shadow", "canary": "canary"}
"""Of a status; whoever answers is active, and all others are retired."""


class ModelState(NamedTuple):
    """A model at some moment.

    Attributes:
        tenant: Whose.
        model_id: Its id.
        status: `trained`, `certified`, `refused`, `rejected`, `shadow`, `canary`, `deployed`, `replaced`, `revoked`
            or `rolled back`.
        since: Time of that.
        reason: Why, where somebody said so.
        dataset_id: What it learned from.
        decisions: How many it learned from.
        seed: Seed of its training.
        target: Agreement that its certificate guarantees (0..1).
        coverage: Share of the decisions that it may answer (0..1).
        active: Whether it answers.
        deployed_at: Position of its last deployment or of the roll-back to it; 0 where there was none.
        revoked: Whether its certificate was revoked as a whole since.
    """

    tenant: str
    model_id: str
    status: str
    since: str
    reason: str
    dataset_id: str | None
    decisions: int | None
    seed: int | None
    target: float | None
    coverage: float | None
    active: bool
    deployed_at: int = 0
    revoked: bool = False

    @property
    def stage(self) -> Stage:
        """Where it is on its way."""
        return "active" if self.active else STAGES.get(self.status, "retired")


class Models:
    """A projection, see `events.projection`: one row a model of a tenant."""

    name = "models"
    version = 2
    types: Collection[str] | None
    schema = """
    CREATE TABLE models (
        tenant TEXT NOT NULL, model_id TEXT NOT NULL, status TEXT NOT NULL, since TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '', dataset_id TEXT, decisions INT, seed INT, target REAL, coverage REAL,
        active INT NOT NULL DEFAULT 0, revoked INT NOT NULL DEFAULT 0, first INT NOT NULL,
        deployed_at INT NOT NULL DEFAULT 0,
        PRIMARY KEY (tenant, model_id)
    ) WITHOUT ROWID
    """

    def __init__(self) -> None:
        self._handlers: dict[type[Event], Callable[[Any, apsw.Connection], None]] = {
            ModelTrainedEvent: _trained,
            CertificateDecidedEvent: _decided,
            ModelRejectedEvent: _rejected,
            ModelStagedEvent: _staged,
            ModelDeployedEvent: _deployed,
            CertificateRevokedEvent: _revoked,
            ModelRolledBackEvent: _rolled_back,
        }
        self.types = tuple(cls.event_type for cls in self._handlers)

    def apply(self, event: Event, state: apsw.Connection) -> None:
        """Take one event into the table."""
        self._handlers[type(event)](event, state)


def active_model(store: EventStore, tenant: str = "default", moment: Moment | None = None) -> str | None:
    """The model that answers, or answered at a moment; `None` where none did."""
    return next((m.model_id for m in model_states(store, tenant, moment) if m.active), None)


def model_states(store: EventStore, tenant: str | None = None, moment: Moment | None = None) -> list[ModelState]:
    """The models of one tenant, or of all, in the order in which the log first speaks of them."""
    return states_in(project(store, Models(), moment, tenant))


def states_in(state: apsw.Connection, tenant: str | None = None) -> list[ModelState]:
    """As `model_states`, from the state of a projection that has the table."""
    columns = ", ".join(ModelState._fields)
    query = f"SELECT {columns} FROM models WHERE tenant = coalesce(?, tenant) ORDER BY tenant, first"  # noqa: S608 - our own names
    rows = state.execute(query, (tenant,))
    return [ModelState._make((*row[:-3], bool(row[-3]), row[-2], bool(row[-1]))) for row in rows]


def last_good(models: Collection[ModelState], but: str | None) -> list[str]:
    """Models that have answered and whose certificates still stand, the last first: whom to roll back to.

    Args:
        models: Of one tenant.
        but: The one to leave.
    """
    good = [m for m in models if m.deployed_at and not m.revoked and m.model_id != but and m.status != "rolled back"]
    return [m.model_id for m in sorted(good, key=lambda m: -m.deployed_at)]


def _trained(event: ModelTrainedEvent, state: apsw.Connection) -> None:
    _set(
        event, state, event.model_id, "trained", dataset_id=event.dataset_id, decisions=event.decisions, seed=event.seed
    )


def _decided(event: CertificateDecidedEvent, state: apsw.Connection) -> None:
    issued = event.certificate
    figures = {"target": issued.get("target"), "coverage": issued.get("coverage")}
    _set(
        event, state, event.model_id, "certified" if event.certified else "refused", issued.get("reason", ""), **figures
    )


def _rejected(event: ModelRejectedEvent, state: apsw.Connection) -> None:
    _set(event, state, event.model_id, "rejected", event.reason)


def _staged(event: ModelStagedEvent, state: apsw.Connection) -> None:
    _set(event, state, event.model_id, event.stage, event.reason)


def _deployed(event: ModelDeployedEvent, state: apsw.Connection) -> None:
    _stop(event, state, "replaced", but=event.model_id)
    _set(
        event, state, event.model_id, "deployed", event.reason, active=1, revoked=0, deployed_at=event.metadata.position
    )


def _revoked(event: CertificateRevokedEvent, state: apsw.Connection) -> None:
    if not event.actions:
        _set(event, state, event.model_id, "revoked", event.reason, active=0, revoked=1)


def _rolled_back(event: ModelRolledBackEvent, state: apsw.Connection) -> None:
    _stop(event, state, "replaced", but=event.to_model_id)
    if event.model_id != event.to_model_id:
        _set(event, state, event.model_id, "rolled back", event.reason, active=0)
    if event.to_model_id is None:
        return
    query = "SELECT revoked FROM models WHERE tenant = ? AND model_id = ?"
    revoked = state.execute(query, (event.metadata.tenant_id, event.to_model_id)).fetchone()
    if not (revoked and revoked[0]):
        at = event.metadata.position
        _set(event, state, event.to_model_id, "deployed", event.reason, active=1, deployed_at=at)


def _stop(event: Event, state: apsw.Connection, status: str, but: str | None) -> None:
    """Whatever answers, does no more."""
    query = "UPDATE models SET active = 0, status = ?, since = ?, reason = ''"
    about = (event.metadata.timestamp, event.metadata.tenant_id, but)
    state.execute(f"{query} WHERE tenant = ? AND active AND model_id IS NOT ?", (status, *about))


def _set(event: Event, state: apsw.Connection, model_id: str, status: str, reason: str = "", **values: Any) -> None:
    now = {"status": status, "since": event.metadata.timestamp, "reason": reason, **values}
    row = {"tenant": event.metadata.tenant_id, "model_id": model_id, "first": event.metadata.position, **now}
    columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    changes = ", ".join(f"{name} = :{name}" for name in now)
    query = f"INSERT INTO models ({columns}) VALUES ({marks}) ON CONFLICT DO UPDATE SET {changes}"  # noqa: S608 - our own names
    state.execute(query, row)
