"""One look at the log: read what is new, and append what follows from it.

Everything is derived from the log, so that a watcher that was killed, or another one, goes on where this one was.
What it appends has ids that follow from what was found: the same finding gets into the log once. What this file
does not know: what is done about its findings (the loop), and how anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from ultracore.distillation.errors import EventError
from ultracore.distillation.events import Event, EventStore
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.settings import Settings
from ultracore.distillation.students.models import active_model
from ultracore.distillation.watch.audits import Agreement, Audits

__all__ = ["Look", "Watcher"]

ROUNDS = 3
"""What was appended is read again, and may have consequences of its own."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found.

    Attributes:
        position: The log was read up to here.
        model_id: The model that answers, `None` where none does.
        agreement: Live agreement of its calls; see `audits.Agreement`.
        appended: The facts that this look added to the log.
    """

    position: int
    model_id: str | None
    agreement: list[Agreement]
    appended: list[Event] = []


class Watcher:
    """Watches the decisions of one tenant.

    Args:
        store: The log.
        settings: The tenant and the floor where no certificate names one.
        clock: Tells the time of what it appends.

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
        self, store: EventStore, settings: Settings | None = None, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._settings = settings or Settings()
        self._clock = clock
        self._after = 0
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
        return self._seen(appended)

    def _read(self) -> None:
        last = self._store.last_position()
        tenant = self._settings.tenant
        for event in self._store.read(after=self._after, until=last, types=self.audits.types, tenant=tenant):
            self.audits.apply(event)
        self._after = last

    def _seen(self, appended: list[Event]) -> Look:
        tenant = self._settings.tenant
        model_id = active_model(self._store, tenant)
        agreement = [] if model_id is None else self.audits.agreement(tenant, model_id)
        return Look(position=self._after, model_id=model_id, agreement=agreement, appended=appended)

    def _facts(self) -> list[Event]:
        return [found.event(self._clock) for found in self.audits.refuted()]

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
        return added
