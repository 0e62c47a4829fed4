"""What a running gateway learns from the log: who may ask, and whether an operator has paused it.

Read once before the first request and then four times a second, so that every worker process obeys
within a second. A log that cannot be read changes nothing but `healthy`. What this file does not
know: requests.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from ultracore.distillation.errors import DistillationError
from ultracore.distillation.events import Event, EventStore, GatewayPausedEvent, GatewayResumedEvent

__all__ = ["PAUSE_EVENTS", "Control", "PeriodicThread", "Switch"]

logger = logging.getLogger(__name__)

PAUSE_EVENTS = (GatewayPausedEvent.event_type, GatewayResumedEvent.event_type)
EVERY_SECONDS = 0.25


class Switch:
    """Whether everything goes to the teacher because an operator said so.

    Attributes:
        paused: Whether it does.
    """

    def __init__(self) -> None:
        self.paused = False

    def apply(self, event: Event) -> None:
        """Take notice of an event."""
        if event.event_type in PAUSE_EVENTS:
            self.paused = isinstance(event, GatewayPausedEvent)


class Control:
    """Looks into the log and tells those who must know, in the order of the log.

    Args:
        store: The log.
        types: What to look for.
        apply: Each is called with each such event, by whoever calls `look`.

    Attributes:
        healthy: Whether the last look could read the log.
        loaded: Whether any look could; until then nobody knows who may ask.
    """

    def __init__(self, store: EventStore, types: Collection[str], apply: Collection[Callable[[Event], None]]) -> None:
        self.healthy = False
        self.loaded = False
        self._store = store
        self._types = frozenset(types)
        self._apply = apply
        self._after = 0

    def look(self) -> None:
        """Take in what is new."""
        try:
            last = self._store.last_position()
            if last > self._after:
                for event in self._store.read(after=self._after, until=last, types=self._types):
                    for apply in self._apply:
                        apply(event)
            self._after, self.healthy, self.loaded = last, True, True
        except DistillationError as error:
            if self.healthy:
                logger.error("the decision log cannot be read: %s", type(error).__name__)
            self.healthy = False


class PeriodicThread:
    """Does something again and again, on a thread of its own.

    Args:
        call: Does it; if it raises, that is logged, and it is called again.
        every_seconds: Between two rounds.
    """

    def __init__(self, call: Callable[[], None], *, every_seconds: float = EVERY_SECONDS) -> None:
        self._call = call
        self._every = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="distill-periodic", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Finish the round under way, do one more, and end."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self._round()
        self._round()

    def _round(self) -> None:
        try:
            self._call()
        except Exception as error:  # noqa: BLE001  the next round must come: a pause has to be heard
            logger.error("what the gateway does in the background failed: %s", type(error).__name__)
