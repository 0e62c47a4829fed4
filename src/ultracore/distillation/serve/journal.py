"""The gateway's pen: events written before something happens, or after it without waiting.

Submitting never waits, so that a request that is being cancelled can still be written down. What
could not be written is counted and told, never forgotten. What this file does not know: what the
events mean.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future

from ultracore.distillation.errors import DistillationError, LogError
from ultracore.distillation.events import Event, EventStore

__all__ = ["Journal"]

logger = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""Longest wait for the disk before a local answer is given up."""


class Journal:
    """Writes to the decision log.

    Args:
        store: The log.
        wait_seconds: Longest wait of `durable`.

    Attributes:
        lost: Events that could not be written.
        healthy: Whether the log took the last write; an event that it refuses for itself does not count.
    """

    def __init__(self, store: EventStore, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self.lost = 0
        self.healthy = True
        self._store = store
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()

    async def durable(self, *events: Event) -> None:
        """Write events, and return once they are synced.

        Raises:
            LogError: They are not, or not in time.
        """
        written = asyncio.wrap_future(self._submit(events))
        try:
            async with asyncio.timeout(self._wait_seconds):
                await asyncio.shield(written)  # a cancelled request must not cancel the writer's future
        except TimeoutError:
            raise LogError("the decision log did not answer in time") from None
        except DistillationError as error:
            raise LogError(f"the decision log refused the event: {type(error).__name__}") from None

    def later(self, *events: Event) -> None:
        """Write events without waiting; a failure is counted in `lost` and logged."""
        self._submit(events)

    def _submit(self, events: tuple[Event, ...]) -> Future[list[int]]:
        try:
            future = self._store.submit(events)
        except DistillationError as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self._note(done, len(events)))
        return future

    def _note(self, done: Future[list[int]], count: int) -> None:
        error = done.exception()
        with self._lock:
            self.healthy = not isinstance(error, LogError)
            self.lost += 0 if error is None else count
        if error is not None:
            logger.error("%d events could not be written to the decision log: %s", count, type(error).__name__)
