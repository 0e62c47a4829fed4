"""One look at the log: read what is new, and append what follows from it.

Everything is derived from the log, so that a watcher that was killed, or another one, goes on where this one was.
What it appends has ids that follow from what was found: the same finding gets into the log once. What this file
does not know: what is done about its findings (the loop), and how anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from ultracore.distillation.errors import EventError
from ultracore.distillation.events import (
    AlertRaisedEvent,
    AlertResolvedEvent,
    DriftDetectedEvent,
    Event,
    EventStore,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelRolledBackEvent,
)
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.settings import Settings
from ultracore.distillation.students.mix import Mix
from ultracore.distillation.students.models import active_model
from ultracore.distillation.tools import fingerprint
from ultracore.distillation.watch import conditions
from ultracore.distillation.watch.alerts import Alerts, Condition
from ultracore.distillation.watch.audits import Agreement, Audits
from ultracore.distillation.watch.drift import Drift
from ultracore.distillation.watch.metrics import Metrics, Snapshot
from ultracore.distillation.watch.notify import Notifier, tell
from ultracore.distillation.watch.traffic import WINDOW, Traffic, reference_of

__all__ = ["Look", "Watcher"]

ROUNDS = 3
"""What was appended is read again, and may have consequences of its own."""

TAIL = 50_000
"""Events before the end of the log from which the figures of the last day are taken by a watcher that begins."""

RECENT = 10 * WINDOW
"""Events before the end of the log in which such a watcher looks for the recent decisions."""

TOLD_AGAIN = timedelta(days=1)
"""A detector's finding about a model is not written down again within a day."""

CHANGES = (ModelDeployedEvent.event_type, ModelRolledBackEvent.event_type)
FACTS = frozenset({*Audits.types, *Alerts.types, *Metrics.facts, *CHANGES, DriftDetectedEvent.event_type})
PASSING = frozenset({*Metrics.types, *Traffic.types})


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found.

    Attributes:
        position: The log was read up to here.
        model_id: The model that answers, `None` where none does.
        agreement: Live agreement of its calls; see `audits.Agreement`.
        metrics: The figures of the last day.
        drift: What the detectors said last.
        alerts: Those that are open.
        appended: The facts that this look added to the log.
    """

    position: int
    model_id: str | None
    agreement: list[Agreement]
    metrics: Snapshot
    drift: list[Drift] = []
    alerts: list[AlertRaisedEvent] = []
    appended: list[Event] = []


class Watcher:
    """Watches the decisions of one tenant.

    Args:
        store: The log.
        settings: The tenant, the limits, and the floor where no certificate names one.
        clock: Tells the time of what it appends.
        notify: Who is told of alerts that this watcher raises or resolves; see `notify.notifiers`.

    Attributes:
        audits: Live agreement of every deployment.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from ultracore.distillation.events.sqlite import SqliteEventStore
        >>> store = SqliteEventStore(Path(tempfile.mkdtemp()) / "log.db")
        >>> Watcher(store).look().agreement
        []
        >>> store.close()
    """

    def __init__(
        self,
        store: EventStore,
        settings: Settings | None = None,
        *,
        clock: Callable[[], datetime] = utc_now,
        notify: Sequence[Notifier] = (),
    ) -> None:
        self._store = store
        self._settings = settings or Settings()
        self._clock = clock
        self._notify = list(notify)
        self._after = -1
        self._deployed: Event | None = None
        self._told: dict[tuple[str, str], datetime] = {}
        self._alerts = Alerts(self._settings.tenant)
        self._metrics = Metrics()
        self._traffic = self._new_traffic()
        self._reference: Mix | None = None
        self.audits = Audits(self._settings.agreement_floor)

    def look(self) -> Look:
        """Read what is new and append what follows; on a log without news nothing is appended.

        Raises:
            LogError: The log cannot be read or written.
        """
        appended: list[Event] = []
        for _ in range(ROUNDS):
            self._read()
            added = self._append(self._facts())
            appended += added
            if not added:
                break
        model_id = self._active()
        return Look(
            position=self._after,
            model_id=model_id,
            agreement=[] if model_id is None else self.audits.agreement(self._settings.tenant, model_id),
            metrics=self._metrics.snapshot(model_id),
            drift=self._traffic.found,
            alerts=list(self._alerts.open.values()),
            appended=appended,
        )

    def _active(self) -> str | None:
        return active_model(self._store, self._settings.tenant)

    def _read(self) -> None:
        last, tenant = self._store.last_position(), self._settings.tenant
        if self._after < 0:
            for event in self._store.read(until=last, types=FACTS, tenant=tenant):
                self._fact(event)
            self._begin(last)
        else:
            for event in self._store.read(after=self._after, until=last, types=FACTS | PASSING, tenant=tenant):
                self._fact(event)
                self._passing(event)
        self._after = last

    def _begin(self, last: int) -> None:
        """Decisions may be millions: those right after the deployment, and those of late, are enough."""
        tenant, first = self._settings.tenant, 0
        deployed = 0 if self._deployed is None else self._deployed.metadata.position or 0
        for event in self._store.read(after=deployed, until=last, types=Traffic.types, tenant=tenant):
            if self._traffic.first_is_full:
                break
            self._traffic.apply(event)
            first = event.metadata.position or 0
        for event in self._store.read(after=max(0, last - TAIL), until=last, types=PASSING, tenant=tenant):
            self._metrics.apply(event)
            if (event.metadata.position or 0) > max(first, last - RECENT):
                self._traffic.apply(event)

    def _fact(self, event: Event) -> None:
        if event.event_type in Audits.types:
            self.audits.apply(event)
        if event.event_type in Metrics.facts:
            self._metrics.apply(event)
        if event.event_type in CHANGES:
            self._deployed, self._reference = event, None
            self._traffic = self._new_traffic()
        if isinstance(event, DriftDetectedEvent):
            self._told[event.model_id, event.detector] = datetime.fromisoformat(event.metadata.timestamp)
        self._alerts.apply(event)

    def _new_traffic(self) -> Traffic:
        return Traffic(threshold=self._settings.alert_drift, seed=self._settings.seed)

    def _passing(self, event: Event) -> None:
        if event.event_type in Metrics.types:
            self._metrics.apply(event)
        self._traffic.apply(event)

    def _facts(self) -> list[Event]:
        revoked = [found.event(self._clock) for found in self.audits.refuted()]
        if revoked:
            return [*revoked]  # the rest is judged by what then answers
        model_id = self._active()
        return [*self._drifted(model_id), *self._alerts.follow(self._conditions(model_id), model_id, self._clock)]

    def _drifted(self, model_id: str | None) -> list[Event]:
        now = self._clock()
        if model_id is None or not self._traffic.due(now):
            return []
        if self._reference is None:
            types = [ModelEvaluatedEvent.event_type]
            self._reference = reference_of(
                self._store.read(types=types, aggregate=model_id, tenant=self._settings.tenant)
            )
        found = self._traffic.compare(now, self._reference)
        return [self._drift_event(model_id, one) for one in found if one.alarmed and self._is_news(model_id, one, now)]

    def _is_news(self, model_id: str, found: Drift, now: datetime) -> bool:
        told = self._told.get((model_id, found.detector))
        return told is None or abs(now - told) >= TOLD_AGAIN

    def _drift_event(self, model_id: str, found: Drift) -> DriftDetectedEvent:
        window = list(self._traffic.window)
        identity = fingerprint([self._settings.tenant, model_id, found.detector, window])
        return DriftDetectedEvent.record(
            event_id=f"drift-{identity}",
            model_id=model_id,
            detector=found.detector,
            drift_score=found.score,
            threshold=found.threshold,
            reference_count=found.reference_count,
            recent_count=found.recent_count,
            p_value=found.p_value,
            window=window,
            detail=found.detail,
            tenant_id=self._settings.tenant,
            clock=self._clock,
        )

    def _conditions(self, model_id: str | None) -> list[Condition]:
        settings, tenant = self._settings, self._settings.tenant
        whole = None if model_id is None else next(iter(self.audits.agreement(tenant, model_id)), None)
        upper = None if model_id is None else self.audits.upper(tenant, model_id, conditions.AGREEMENT_RISK)
        trained_at = self._metrics.snapshot(model_id).trained_at
        return [
            conditions.agreement(settings, upper, None if whole is None else whole.agreement),
            conditions.latency(settings, self._metrics.last_hour()),
            conditions.drift(settings, self._traffic.found),
            conditions.staleness(settings, trained_at, self._clock()),
        ]

    def _append(self, facts: Sequence[Event]) -> list[Event]:
        added = []
        for fact in facts:
            try:
                (position,) = self._store.append([fact])
            except EventError:
                if not self._store.known([fact.metadata.event_id]):
                    raise
                continue  # another watcher was first
            added.append(fact.at(position))
            if isinstance(fact, AlertRaisedEvent | AlertResolvedEvent):
                tell(fact, self._notify)
        return added
