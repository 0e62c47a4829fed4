"""The page at `/`: the live figures of the caller's tenant.

What this file does not know: how figures are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from ultracore.distillation.dashboard.agreement import LiveAgreement
from ultracore.distillation.dashboard.drill import Drill
from ultracore.distillation.dashboard.figures import LiveFigures
from ultracore.distillation.dashboard.live import Live
from ultracore.distillation.dashboard.pages import Page, Source
from ultracore.distillation.dashboard.reading import WINDOWS, overview
from ultracore.distillation.events import EventStore
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.serve.keys import Key
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.settings import Settings

__all__ = ["Overview"]

PATIENCE_SECONDS = 0.2
"""So long a reader waits for the newest events; a log that takes longer is shown as far as it was read."""

DEFAULT_WINDOW = "24h"


class Overview:
    """Reads the live figures.

    Args:
        store: The log.
        settings: The home folder, where figures are kept, and the agreement that is wanted.
        clock: Tells the time.
    """

    def __init__(self, store: EventStore, settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
        self._drill = Drill(store)
        self._agreement = LiveAgreement(settings.agreement_floor)
        path = settings.home_path / "projections" / "live.db"
        self._live = Live(store, LiveFigures(), path, [self._agreement.catch_up])
        self._floor = settings.agreement_floor
        self._clock = clock

    def read(self, tenant: str, window: str = DEFAULT_WINDOW, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The figures now, and how far into the log they reach."""
        self._live.follow(patience)
        with self._live.reading() as (state, progress):
            found = overview(state, tenant, window, self._clock(), self._floor)
        model = found["model"]
        known = [] if model is None else self._agreement.of(tenant, model["model_id"])
        return {"log": progress._asdict(), **found, "agreement": known}

    def page(self) -> Page:
        """The page."""
        source = Source("/dashboard/figures.json", self._asked)
        return Page("/", "Overview", source, ("overview.js", "decision.js"), (self._drill.source,))

    def _asked(self, key: Key, parameters: dict[str, str]) -> dict[str, Any]:
        window = parameters.get("window", DEFAULT_WINDOW)
        if window not in WINDOWS:
            raise RequestError(400, f"window is one of {', '.join(WINDOWS)}", code="invalid_window")
        return self.read(key.tenant, window)
