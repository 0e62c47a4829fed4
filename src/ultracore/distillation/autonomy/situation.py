"""What the loop knows, from the log alone: labelled decisions since it last asked for a training, alarms, and tools.

Kept as a projection, so that a log of a million decisions is read once. What this file does not know: what is done
about it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from ultracore.distillation.events import (
    AgentDecisionEvent,
    AuditRecordedEvent,
    CertificateRevokedEvent,
    DriftDetectedEvent,
    Event,
    EventStore,
    LoopDecidedEvent,
    ModelTrainedEvent,
    RetrainTriggeredEvent,
)
from ultracore.distillation.events.projection import Projector
from ultracore.distillation.tools import REPLY

__all__ = ["FAILED", "Alarm", "Situation", "Situations"]

FAILED = "failed"
"""The `action` of a decision that says that something did not work."""

TRAINER = "model_trainer"


class Alarm(NamedTuple):
    """Something that makes a new student due.

    Attributes:
        reason: As `RETRAIN_TRIGGERED` names it.
        words: For a person.
        labelled: Labelled decisions since.
    """

    reason: str
    words: str
    labelled: int


class Situation(NamedTuple):
    """What is known now.

    Attributes:
        labelled: Labelled decisions in all.
        new: Of them, since a training was last asked for.
        tools: The new ones by the teacher's tool.
        alarms: Since a training was last asked for, oldest first.
        trained_at: When the last training ended, ISO 8601.
        asked: When trainings were asked for, ISO 8601, oldest first, the last few.
        owed: Whether one was asked for and has neither ended nor been given up.
        failures: Of that one so far.
    """

    labelled: int = 0
    new: int = 0
    tools: dict[str, int] = {}  # noqa: RUF012 - never changed
    alarms: tuple[Alarm, ...] = ()
    trained_at: str | None = None
    asked: tuple[str, ...] = ()
    owed: bool = False
    failures: int = 0


class _Rows:
    """The projection behind `Situations`."""

    name = "loop"
    version = 1
    types: Collection[str] | None
    schema = """
    CREATE TABLE tenants (
        tenant TEXT PRIMARY KEY, labelled INT NOT NULL DEFAULT 0, trained_at TEXT,
        owed INT NOT NULL DEFAULT 0, failures INT NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE new (tenant TEXT, tool TEXT, n INT NOT NULL, PRIMARY KEY (tenant, tool)) WITHOUT ROWID;
    CREATE TABLE alarms (
        tenant TEXT, reason TEXT, words TEXT, labelled INT, PRIMARY KEY (tenant, reason)
    ) WITHOUT ROWID;
    CREATE TABLE asked (tenant TEXT, at TEXT, PRIMARY KEY (tenant, at)) WITHOUT ROWID
    """

    def __init__(self) -> None:
        self._handlers: dict[type[Event], Callable[[Any, apsw.Connection], None]] = {
            AgentDecisionEvent: _decision,
            AuditRecordedEvent: _audit,
            CertificateRevokedEvent: _revoked,
            DriftDetectedEvent: _drift,
            RetrainTriggeredEvent: _asked,
            ModelTrainedEvent: _trained,
            LoopDecidedEvent: _decided,
        }
        self.types = tuple(cls.event_type for cls in self._handlers)

    def apply(self, event: Event, state: apsw.Connection) -> None:
        """Take one event into the tables."""
        state.execute("INSERT OR IGNORE INTO tenants (tenant) VALUES (?)", (event.metadata.tenant_id,))
        self._handlers[type(event)](event, state)


class Situations:
    """Tells the situation of a tenant.

    Args:
        store: The log.
        folder: Where the state is kept; it can be deleted.
    """

    def __init__(self, store: EventStore, folder: Path) -> None:
        self._projector = Projector(store, _Rows(), folder / "loop.db")

    def now(self, tenant: str) -> Situation:
        """Read what is new, and tell.

        Raises:
            LogError: The log or the state cannot be read.
        """
        self._projector.catch_up()
        state, about = self._projector.state, (tenant,)
        query = "SELECT labelled, trained_at, owed, failures FROM tenants WHERE tenant = ?"
        row = state.execute(query, about).fetchone()
        if row is None:
            return Situation()
        labelled, trained_at, owed, failures = row
        tools: dict[str, int] = dict(state.execute("SELECT tool, n FROM new WHERE tenant = ?", about).fetchall())  # type: ignore[arg-type]
        query = "SELECT reason, words, labelled FROM alarms WHERE tenant = ? ORDER BY labelled, reason"
        alarms = tuple(Alarm(r, w, labelled - at) for r, w, at in state.execute(query, about))
        asked = tuple(at for (at,) in state.execute("SELECT at FROM asked WHERE tenant = ? ORDER BY at", about))
        return Situation(labelled, sum(tools.values()), tools, alarms, trained_at, asked, bool(owed), failures)

    def close(self) -> None:
        """Let go of the file."""
        self._projector.close()


def _decision(event: AgentDecisionEvent, state: apsw.Connection) -> None:
    if event.source == "teacher" and not event.metadata.erased:
        _count(event, event.tool_selected or REPLY, state)


def _audit(event: AuditRecordedEvent, state: apsw.Connection) -> None:
    if event.agrees is not None and not event.metadata.erased:
        _count(event, str(event.teacher_calls[0].get("name")) if event.teacher_calls else REPLY, state)


def _count(event: Event, tool: str, state: apsw.Connection) -> None:
    tenant = event.metadata.tenant_id
    state.execute("UPDATE tenants SET labelled = labelled + 1 WHERE tenant = ?", (tenant,))
    state.execute("INSERT INTO new VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (tenant, tool))


def _revoked(event: CertificateRevokedEvent, state: apsw.Connection) -> None:
    what = ", ".join(event.actions) or "all actions"
    _alarm(event, "accuracy_drop", f"the certificate was revoked for {what}: {event.reason}", state)


def _drift(event: DriftDetectedEvent, state: apsw.Connection) -> None:
    _alarm(event, "drift_detected", f"{event.detector}: {event.drift_score:.3f}, limit {event.threshold:g}", state)


def _alarm(event: Event, reason: str, words: str, state: apsw.Connection) -> None:
    """The first alarm of a kind counts: later ones tell of the same change."""
    query = "INSERT OR IGNORE INTO alarms SELECT tenant, ?, ?, labelled FROM tenants WHERE tenant = ?"
    state.execute(query, (reason, words, event.metadata.tenant_id))


def _asked(event: RetrainTriggeredEvent, state: apsw.Connection) -> None:
    tenant = (event.metadata.tenant_id,)
    state.execute("UPDATE tenants SET owed = 1, failures = 0 WHERE tenant = ?", tenant)
    state.execute("DELETE FROM new WHERE tenant = ?", tenant)
    state.execute("DELETE FROM alarms WHERE tenant = ?", tenant)
    state.execute("INSERT OR IGNORE INTO asked VALUES (?, ?)", (*tenant, event.metadata.timestamp))
    kept = "SELECT at FROM asked WHERE tenant = :tenant ORDER BY at DESC LIMIT 100"
    state.execute(f"DELETE FROM asked WHERE tenant = :tenant AND at NOT IN ({kept})", {"tenant": tenant[0]})  # noqa: S608


def _trained(event: ModelTrainedEvent, state: apsw.Connection) -> None:
    query = "UPDATE tenants SET trained_at = ?, owed = 0 WHERE tenant = ?"
    state.execute(query, (event.metadata.timestamp, event.metadata.tenant_id))


def _decided(event: LoopDecidedEvent, state: apsw.Connection) -> None:
    tenant = event.metadata.tenant_id
    if event.agent == TRAINER and event.action == FAILED:
        state.execute("UPDATE tenants SET failures = failures + 1 WHERE tenant = ?", (tenant,))
    if event.agent == TRAINER and event.action in ("give_up", "skip"):
        state.execute("UPDATE tenants SET owed = 0 WHERE tenant = ?", (tenant,))
