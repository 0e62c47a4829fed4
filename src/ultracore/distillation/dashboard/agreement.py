"""Live agreement with its bounds, of whichever model answers: the watch's own account, followed in memory.

What this file does not know: how bounds are computed (`watch.audits`), and which events they are made of (`figures`).
"""

from __future__ import annotations

import threading
from typing import Any

import apsw
import msgspec

from ultracore.distillation.events import Event
from ultracore.distillation.events.base import JsonObject
from ultracore.distillation.watch.audits import Audits

__all__ = ["LiveAgreement"]

BATCH = 500
"""Events between two chances for a reader."""


class LiveAgreement:
    """Reads audits as they come.

    Args:
        floor: Agreement demanded of a model whose certificate is not in the log (0..1).
    """

    def __init__(self, floor: float) -> None:
        self._audits = Audits(floor)
        self._after = 0
        self._complete = False
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], tuple[int, list[JsonObject]]] = {}

    def catch_up(self, state: apsw.Connection) -> None:
        """Take in what is new in the state of `LiveFigures`."""
        query = f"SELECT position, event FROM watched WHERE position > ? ORDER BY position LIMIT {BATCH}"  # noqa: S608
        while rows := state.execute(query, (self._after,)).fetchall():
            with self._lock:
                for row in rows:
                    self._take(*row)
        self._complete = True

    def of(self, tenant: str, model_id: str) -> list[JsonObject] | None:
        """What is known of a model's calls, see `watch.audits.Agreement`: all first, then actions, then agents.

        `None` until everything of the past was taken in.
        """
        if not self._complete:
            return None
        key = tenant, model_id
        with self._lock:
            if key not in self._told or self._told[key][0] != self._after:
                found = [msgspec.to_builtins(each) for each in self._audits.agreement(tenant, model_id)]
                self._told[key] = self._after, found
            return self._told[key][1]

    def _take(self, position: Any, event: Any) -> None:
        self._audits.apply(Event.from_dict(msgspec.json.decode(event)))
        self._after = position
