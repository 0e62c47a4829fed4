"""Live figures of a log, by tenant, day and hour: a projection that never reads an event twice.

It keeps names, numbers and our own words, nothing that belongs to a person, so that erasure need not know of it.
Days and hours are UTC, those of the events; the last two hours are kept by the minute, too. What this file does not
know: which figures are shown, and how.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

import apsw
import msgspec

from ultracore.distillation.events import (
    EVENT_TYPES,
    AgentDecisionEvent,
    AlertRaisedEvent,
    AlertResolvedEvent,
    AuditRecordedEvent,
    DecisionOutcomeEvent,
    DriftDetectedEvent,
    Event,
    UpstreamAttemptedEvent,
)
from ultracore.distillation.log.words import in_words
from ultracore.distillation.students.models import Models
from ultracore.distillation.watch.audits import Audits
from ultracore.distillation.watch.latency import bucket_of

__all__ = ["STORY", "UNITS", "LiveFigures"]

UNITS = {"day": 10, "hour": 13, "minute": 16}
"""So many characters of an event's time name its day, its hour and its minute."""

STORY = tuple(
    cls
    for cls in EVENT_TYPES.values()
    if cls.aggregate_type in ("model", "alert", "gateway", "agent") and not cls.personal
)
"""What the timeline tells of: nothing in these events belongs to a person."""

KEPT_DECISIONS = 200
TRIM_EVERY = 256
"""Positions between two cleanings of what is kept for a while only."""

Handler = Callable[[Any, apsw.Connection], None]

_SCHEMA = """
CREATE TABLE decided (
    tenant TEXT, unit TEXT, slot TEXT, agent TEXT, source TEXT, reason TEXT, tool TEXT, n INT NOT NULL,
    PRIMARY KEY (tenant, unit, slot, agent, source, reason, tool)
) WITHOUT ROWID;
CREATE TABLE audited (
    tenant TEXT, unit TEXT, slot TEXT, model TEXT, tool TEXT,
    n INT NOT NULL, labelled INT NOT NULL, agreeing INT NOT NULL, weight REAL NOT NULL, agreeing_weight REAL NOT NULL,
    PRIMARY KEY (tenant, unit, slot, model, tool)
) WITHOUT ROWID;
CREATE TABLE took (
    tenant TEXT, unit TEXT, slot TEXT, source TEXT, status TEXT, bucket INT, n INT NOT NULL,
    PRIMARY KEY (tenant, unit, slot, source, status, bucket)
) WITHOUT ROWID;
CREATE TABLE asked (
    tenant TEXT, unit TEXT, slot TEXT, role TEXT, status TEXT,
    n INT NOT NULL, priced INT NOT NULL, dollars REAL NOT NULL,
    PRIMARY KEY (tenant, unit, slot, role, status)
) WITHOUT ROWID;
CREATE TABLE pending (decision TEXT PRIMARY KEY, source TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE recent (
    tenant TEXT, position INT, id TEXT, time TEXT, agent TEXT, source TEXT, reason TEXT, tool TEXT, model TEXT,
    confidence REAL, PRIMARY KEY (tenant, position)
) WITHOUT ROWID;
CREATE TABLE story (
    tenant TEXT, position INT, time TEXT, type TEXT, model TEXT, words TEXT, PRIMARY KEY (tenant, position)
) WITHOUT ROWID;
CREATE TABLE watched (position INT PRIMARY KEY, event BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE drift (
    tenant TEXT, model TEXT, detector TEXT, time TEXT, score REAL, threshold REAL, reference INT, recent INT,
    PRIMARY KEY (tenant, model, detector)
) WITHOUT ROWID;
CREATE TABLE alerts (
    tenant TEXT, id TEXT, name TEXT, severity TEXT, message TEXT, value REAL, "limit" REAL, raised TEXT, resolved TEXT,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
"""


class LiveFigures:
    """A projection, see `events.projection`; `reading` makes figures of its tables."""

    name = "live"
    version = 4
    types: Collection[str] | None
    schema = _SCHEMA + Models.schema

    def __init__(self) -> None:
        self._handlers: dict[type[Event], list[Handler]] = {
            AgentDecisionEvent: [_decided],
            AuditRecordedEvent: [_audited, _watched],
            DecisionOutcomeEvent: [_ended],
            UpstreamAttemptedEvent: [_asked],
        }
        own: dict[type[Event], Handler] = {
            DriftDetectedEvent: _drifted,
            AlertRaisedEvent: _raised,
            AlertResolvedEvent: _resolved,
        }
        models = Models()
        for cls in STORY:
            more = [own[cls]] if cls in own else []
            self._handlers[cls] = [_told, *more, *([models.apply] if cls.event_type in (models.types or ()) else [])]
            if cls.event_type in Audits.types:
                self._handlers[cls].append(_watched)
        self.types = tuple(cls.event_type for cls in self._handlers)

    def apply(self, event: Event, state: apsw.Connection) -> None:
        """Take one event into the tables."""
        for handler in self._handlers[type(event)]:
            handler(event, state)
        if (event.metadata.position or 0) % TRIM_EVERY == 0:
            _trim(event, state)


def _decided(event: AgentDecisionEvent, state: apsw.Connection) -> None:
    """Only what passed a gateway: an imported or a told decision is nobody's request here."""
    if event.serving is None:
        return
    serving, tool = event.serving, event.tool_selected or ""
    who = {"agent": event.agent_id, "source": event.source, "reason": serving.get("reason") or "", "tool": tool}
    _add(state, "decided", event, who, n=1)
    identity = event.metadata.event_id
    state.execute("INSERT OR REPLACE INTO pending VALUES (?, ?)", (identity, event.source))
    row = (event.metadata.tenant_id, event.metadata.position, identity, event.metadata.timestamp, *who.values())
    state.execute(
        "INSERT INTO recent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, serving.get("model_id"), serving.get("confidence")),
    )


def _audited(event: AuditRecordedEvent, state: apsw.Connection) -> None:
    """Each label counts for as many calls as its chance of being drawn says; one without a label counts for none."""
    labelled = event.agrees is not None and event.sampling_probability > 0.0
    agreeing = labelled and bool(event.agrees)
    weight = 1.0 / event.sampling_probability if labelled else 0.0
    about = {"model": event.model_id, "tool": event.action}
    _add(
        state, "audited", event, about,
        n=1, labelled=int(labelled), agreeing=int(agreeing), weight=weight, agreeing_weight=weight * agreeing,
    )  # fmt: skip


def _watched(event: Event, state: apsw.Connection) -> None:
    """What the watch's account is made of, so that nobody reads a whole log for it; nothing that is a person's."""
    metadata = msgspec.structs.replace(event.metadata, subject=None, redacted={})
    bare = msgspec.structs.replace(event, metadata=metadata, **{name: [] for name in event.personal})
    row = (event.metadata.position, msgspec.json.encode(bare.to_dict()))
    state.execute("INSERT INTO watched VALUES (?, ?)", row)


def _ended(event: DecisionOutcomeEvent, state: apsw.Connection) -> None:
    """How long a gateway's answer took; other outcomes are an agent's own."""
    found = state.execute("DELETE FROM pending WHERE decision = ? RETURNING source", (event.decision_id,)).fetchone()
    if found is None or event.execution_time_ms is None:
        return
    how = {"source": found[0], "status": event.status, "bucket": bucket_of(event.execution_time_ms)}
    _add(state, "took", event, how, n=1)


def _asked(event: UpstreamAttemptedEvent, state: apsw.Connection) -> None:
    priced = event.cost_usd is not None
    what = {"role": event.role, "status": event.status}
    _add(state, "asked", event, what, n=1, priced=int(priced), dollars=event.cost_usd or 0.0)


def _told(event: Event, state: apsw.Connection) -> None:
    metadata, model = event.metadata, getattr(event, "model_id", None) or ""
    row = (metadata.tenant_id, metadata.position, metadata.timestamp, metadata.event_type, model, in_words(event))
    state.execute("INSERT INTO story VALUES (?, ?, ?, ?, ?, ?)", row)


def _drifted(event: DriftDetectedEvent, state: apsw.Connection) -> None:
    about = (event.metadata.tenant_id, event.model_id, event.detector, event.metadata.timestamp)
    found = (event.drift_score, event.threshold, event.reference_count, event.recent_count)
    state.execute("INSERT OR REPLACE INTO drift VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*about, *found))


def _raised(event: AlertRaisedEvent, state: apsw.Connection) -> None:
    what = (event.metadata.tenant_id, event.alert_id, event.name, event.severity, event.message)
    row = (*what, event.value, event.limit, event.metadata.timestamp)
    state.execute("INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", row)


def _resolved(event: AlertResolvedEvent, state: apsw.Connection) -> None:
    query = "UPDATE alerts SET resolved = ? WHERE tenant = ? AND id = ?"
    state.execute(query, (event.metadata.timestamp, event.metadata.tenant_id, event.alert_id))


def _add(state: apsw.Connection, table: str, event: Event, key: dict[str, Any], **amounts: float) -> None:
    """Add to the rows of the event's day, hour and minute."""
    time, tenant = event.metadata.timestamp, event.metadata.tenant_id
    sql = _addition(table, tuple(key), tuple(amounts))
    for unit, digits in UNITS.items():
        state.execute(sql, (tenant, unit, time[:digits], *key.values(), *amounts.values()))


@functools.cache
def _addition(table: str, key: tuple[str, ...], amounts: tuple[str, ...]) -> str:
    columns = ("tenant", "unit", "slot", *key, *amounts)
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in amounts)
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT DO UPDATE SET {sums}"  # noqa: S608 - our own names


def _trim(event: Event, state: apsw.Connection) -> None:
    """Forget the minutes before the last two hours, and all but the latest decisions, of the event's tenant."""
    tenant, time = event.metadata.tenant_id, event.metadata.timestamp
    for table in ("decided", "audited", "took", "asked"):
        query = f"DELETE FROM {table} WHERE tenant = ?1 AND unit = 'minute' AND slot < strftime('%Y-%m-%dT%H:%M', ?2, '-2 hours')"  # noqa: S608,E501 - our own names
        state.execute(query, (tenant, time))
    last = "SELECT position FROM recent WHERE tenant = ?1 ORDER BY position DESC LIMIT 1 OFFSET ?2"
    state.execute(f"DELETE FROM recent WHERE tenant = ?1 AND position <= ({last})", (tenant, KEPT_DECISIONS))  # noqa: S608 - our own words
