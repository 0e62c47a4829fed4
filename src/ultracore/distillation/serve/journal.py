"""The gateway's pen: events written before something happens, or after it without waiting.

Submitting never waits, so that a request that is being cancelled can still be written down. What the log
does not take goes to the spill file, if there is one; what that cannot hold either is counted and told,
never forgotten. What this file does not know: what the events mean.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from ultracore.distillation.errors import DistillationError, EventError, LogError
from ultracore.distillation.events import Event, EventStore
from ultracore.distillation.serve.spill import Spill

__all__ = ["Journal", "Witness"]

logger = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""Longest wait for the disk before a local answer is given up, or goes out without (`available`)."""


class Witness(Protocol):
    """Somebody who counts what is written."""

    def wrote(self, event: Event) -> None:
        """An event was handed to the log; called at once, on the caller's thread."""
        ...

    def lost(self, count: int) -> None:
        """So many events are nowhere; called on any thread."""
        ...


class Journal:
    """Writes to the decision log.

    Args:
        store: The log.
        wait_seconds: Longest wait of `durable`.
        spill: Where events go that the log did not take; without one they are lost, and counted.
        strict: Whether `durable` insists on the log itself; if not, the spill file will do.
        witnesses: Who is told of each event.

    Attributes:
        lost: Events that could not be written anywhere.
        healthy: Whether the log took the last write; an event that it refuses for itself does not count.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        wait_seconds: float = WAIT_SECONDS,
        spill: Spill | None = None,
        strict: bool = True,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        self.lost = 0
        self.healthy = True
        self._store = store
        self._wait_seconds = wait_seconds
        self._spill = spill
        self._strict = strict
        self._witnesses = witnesses
        self._lock = threading.Lock()

    async def durable(self, *events: Event) -> None:
        """Write events, and return once they are synced; unless `strict`, once they are synced or spilled.

        Raises:
            LogError: They are not, or not in time.
        """
        written = asyncio.wrap_future(self._submit(events))
        try:
            async with asyncio.timeout(self._wait_seconds):
                await asyncio.shield(written)  # a cancelled request must not cancel the writer's future
        except TimeoutError:
            if self._strict or not self._keep(events):
                raise LogError("the decision log did not answer in time") from None
        except DistillationError as error:
            if self._strict or not isinstance(error, LogError) or not self._keep(events):
                self._count(len(events))
                raise LogError(f"the decision log refused the event: {type(error).__name__}") from None

    def later(self, *events: Event) -> None:
        """Write events without waiting; what the log does not take is spilled, or counted in `lost`."""
        self._submit(events).add_done_callback(lambda done: self._save(done, events))

    def once(self, event: Event) -> None:
        """Write an event whose id says what it is about; that it is there already is well."""
        self._submit((event,)).add_done_callback(lambda done: self._save(done, (event,), known_is_well=True))

    def _submit(self, events: tuple[Event, ...]) -> Future[list[int]]:
        try:
            future = self._store.submit(events)
        except DistillationError as error:
            future = Future()
            future.set_exception(error)
        for event in events:
            for witness in self._witnesses:
                witness.wrote(event)
        future.add_done_callback(self._note)
        return future

    def _note(self, done: Future[list[int]]) -> None:
        error = done.exception()
        with self._lock:
            self.healthy = not isinstance(error, LogError)
        if isinstance(error, LogError):
            logger.error("the decision log does not take events: %s", type(error).__name__)

    def _save(self, done: Future[list[int]], events: tuple[Event, ...], *, known_is_well: bool = False) -> None:
        error = done.exception()
        if error is None or (known_is_well and isinstance(error, EventError)):
            return
        if not (isinstance(error, LogError) and self._keep(events)):
            self._count(len(events))

    def _keep(self, events: tuple[Event, ...]) -> bool:
        return self._spill is not None and self._spill.add(events)

    def _count(self, count: int) -> None:
        logger.error("%d events could not be written to the decision log, and are lost", count)
        with self._lock:
            self.lost += count
        for witness in self._witnesses:
            witness.lost(count)
