"""The page at `/`: the live figures of the caller's tenant.

What this file does not know: how figures are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from ultracore.distillation.dashboard.figures import LiveFigures
from ultracore.distillation.dashboard.live import Live
from ultracore.distillation.dashboard.pages import Page, Source
from ultracore.distillation.dashboard.reading import WINDOWS, overview
from ultracore.distillation.events import EventStore
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.serve.keys import Key
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.settings import Settings

__all__ = ["Overview", "live_figures"]

PATIENCE_SECONDS = 0.2
"""So long a reader waits for the newest events; a log that takes longer is shown as far as it was read."""

DEFAULT_WINDOW = "24h"


def live_figures(store: EventStore, home: Path) -> Live:
    """The figures of a log, kept in its home folder."""
    return Live(store, LiveFigures(), home / "projections" / "live.db")


class Overview:
    """Reads the live figures.

    Args:
        live: The figures.
        settings: The agreement that is wanted.
        clock: Tells the time.
    """

    def __init__(self, live: Live, settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
        self._live = live
        self._floor = settings.agreement_floor
        self._clock = clock

    def read(self, tenant: str, window: str = DEFAULT_WINDOW, patience: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The figures now, and how far into the log they reach."""
        self._live.follow(patience)
        with self._live.reading() as (state, progress):
            return {"log": progress._asdict(), **overview(state, tenant, window, self._clock(), self._floor)}

    def page(self) -> Page:
        """The page."""
        return Page("/", "Overview", Source("/dashboard/figures.json", self._asked), "overview.js")

    def _asked(self, key: Key, parameters: dict[str, str]) -> dict[str, Any]:
        window = parameters.get("window", DEFAULT_WINDOW)
        if window not in WINDOWS:
            raise RequestError(400, f"window is one of {', '.join(WINDOWS)}", code="invalid_window")
        return self.read(key.tenant, window)
