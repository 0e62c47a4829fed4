"""Live agreement with its bounds, of whichever model answers: the watch's own account, followed in memory.

What this file does not know: how bounds are computed (`watch.audits`).
"""

from __future__ import annotations

import threading

import msgspec

from ultracore.distillation.events import EventStore
from ultracore.distillation.events.base import JsonObject
from ultracore.distillation.watch.audits import Audits

__all__ = ["LiveAgreement"]

BATCH = 500
"""Events between two chances for a reader."""


class LiveAgreement:
    """Reads audits as they come.

    Args:
        store: The log.
        floor: Agreement demanded of a model whose certificate is not in the log (0..1).
    """

    def __init__(self, store: EventStore, floor: float) -> None:
        self._store = store
        self._audits = Audits(floor)
        self._after = 0
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], tuple[int, list[JsonObject]]] = {}

    def catch_up(self) -> None:
        """Take in what is new.

        Raises:
            LogError: The log cannot be read.
        """
        last = self._store.last_position()
        while self._after < last:
            events = list(self._store.read(after=self._after, until=last, types=self._audits.types, limit=BATCH))
            with self._lock:
                for event in events:
                    self._audits.apply(event)
                self._after = last if len(events) < BATCH else events[-1].metadata.position or last

    def of(self, tenant: str, model_id: str) -> list[JsonObject]:
        """What is known of a model's calls, see `watch.audits.Agreement`: all first, then actions, then agents."""
        key = tenant, model_id
        with self._lock:
            if key not in self._told or self._told[key][0] != self._after:
                found = [msgspec.to_builtins(each) for each in self._audits.agreement(tenant, model_id)]
                self._told[key] = self._after, found
            return self._told[key][1]
