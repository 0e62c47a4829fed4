"""Alerts that do not flap: raised at a limit, resolved well within it, and not raised again at once.

Which are open follows from the log alone; each has a number, so that it is raised and resolved once whoever
watches. What this file does not know: where figures come from, and who is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from ultracore.distillation.events import AlertRaisedEvent, AlertResolvedEvent, Event
from ultracore.distillation.tools import fingerprint

__all__ = ["NAMES", "Alerts", "Condition"]

NAMES = ("agreement_low", "latency_high", "drift_high", "training_data_stale")
COOL_DOWN = timedelta(hours=6)
"""Between the end of an alert and its return; it also lasts so long."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """A watched figure.

    Attributes:
        name: Of `NAMES`.
        value: The figure; `None` where it is not known.
        limit: Beyond it the alert is raised.
        beyond: Whether it is.
        within: Whether it is well within, so that an open alert ends.
        message: For a person.
    """

    name: str
    value: float | None
    limit: float
    beyond: bool
    within: bool
    message: str


class Alerts:
    """The alerts of one tenant; reads events of `types` in the order of the log.

    Attributes:
        open: Those that are, by name.
    """

    types = (AlertRaisedEvent.event_type, AlertResolvedEvent.event_type)

    def __init__(self, tenant: str) -> None:
        self.open: dict[str, AlertRaisedEvent] = {}
        self._tenant = tenant
        self._changed: dict[str, datetime] = {}
        self._raised: dict[str, int] = {}

    def apply(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, AlertRaisedEvent) and event.name in NAMES:
            self.open[event.name] = event
            self._changed[event.name] = datetime.fromisoformat(event.metadata.timestamp)
            self._raised[event.name] = self._raised.get(event.name, 0) + 1
        elif isinstance(event, AlertResolvedEvent):
            for name in [name for name, alert in self.open.items() if alert.alert_id == event.alert_id]:
                del self.open[name]
                self._changed[name] = datetime.fromisoformat(event.metadata.timestamp)

    def follow(
        self, conditions: Sequence[Condition], model_id: str | None, clock: Callable[[], datetime]
    ) -> list[Event]:
        """The alerts to raise and to resolve now."""
        found: list[Event] = []
        for condition in conditions:
            alert = self.open.get(condition.name)
            if not self._may_change(condition.name, clock()):
                continue
            if alert is None and condition.beyond:
                found.append(self._raise(condition, model_id, clock))
            elif alert is not None and condition.within:
                found.append(self._resolve(alert, condition, clock))
        return found

    def _may_change(self, name: str, now: datetime) -> bool:
        changed = self._changed.get(name)
        return changed is None or abs(now - changed) >= COOL_DOWN  # also where the clock was set back

    def _raise(self, condition: Condition, model_id: str | None, clock: Callable[[], datetime]) -> AlertRaisedEvent:
        number = self._raised.get(condition.name, 0) + 1
        identity = f"{condition.name}-{number}-{fingerprint(self._tenant)[:8]}"
        return AlertRaisedEvent.record(
            event_id=f"raised-{identity}",
            alert_id=identity,
            name=condition.name,
            severity="critical" if condition.name == "agreement_low" else "warning",
            message=condition.message,
            model_id=model_id,
            value=condition.value,
            limit=condition.limit,
            tenant_id=self._tenant,
            clock=clock,
        )

    def _resolve(
        self, alert: AlertRaisedEvent, condition: Condition, clock: Callable[[], datetime]
    ) -> AlertResolvedEvent:
        return AlertResolvedEvent.record(
            event_id=f"resolved-{alert.alert_id}",
            alert_id=alert.alert_id,
            reason=f"{condition.message}; within its limit again",
            value=condition.value,
            causation_id=alert.metadata.event_id,
            tenant_id=self._tenant,
            clock=clock,
        )
