"""The gateway's pen: events written before something happens, or after it without waiting.

Submitting never waits, so that a request that is being cancelled can still be written down. What the log
does not take goes to the spill file, if there is one; what that cannot hold either is counted and told,
never forgotten. What this file does not know: what the events mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Protocol

from ultracore.distillation.errors import DistillationError, EventError, LogError
from ultracore.distillation.events import Event, EventStore
from ultracore.distillation.serve.spill import Spill

__all__ = ["Journal", "Witness"]

logger = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""Longest wait for the disk before a local answer is given up, or goes out without (`available`)."""


class Witness(Protocol):
    """Somebody who counts what is written.

    Attributes:
        of: The types of event that it wants to be told of.
    """

    of: ClassVar[tuple[type[Event], ...]]

    def wrote(self, event: Event) -> None:
        """An event was handed to the log; called at once, on the caller's thread."""
        ...

    def lost(self, count: int) -> None:
        """So many events are nowhere; called on any thread."""
        ...


class _Entry(NamedTuple):
    """Events that are written together or not at all, and who waits for them."""

    events: tuple[Event, ...]
    synced: asyncio.Future[None] | None = None
    known_is_well: bool = False


class Journal:
    """Writes to the decision log: what one turn of the event loop brings in one append, which wakes the loop once.

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
        self._told: dict[type[Event], list[Callable[[Event], None]]] = defaultdict(list)
        for witness in witnesses:
            for kind in witness.of:
                self._told[kind].append(witness.wrote)
        self._lock = threading.Lock()
        self._turn: list[_Entry] = []

    async def durable(self, *events: Event) -> None:
        """Write events, and return once they are synced; unless `strict`, once they are synced or spilled.

        Raises:
            LogError: They are not, or not in time.
        """
        synced = asyncio.get_running_loop().create_future()  # its own: a cancelled request cancels nobody else's
        self._write(_Entry(events, synced))
        try:
            await synced
        except TimeoutError:
            if self._strict or not self._keep(events):
                raise LogError("the decision log did not answer in time") from None
        except DistillationError as error:
            if self._strict or not isinstance(error, LogError) or not self._keep(events):
                self._count(len(events))
                raise LogError(f"the decision log refused the event: {type(error).__name__}") from None

    def later(self, *events: Event) -> None:
        """Write events without waiting; what the log does not take is spilled, or counted in `lost`."""
        self._write(_Entry(events))

    def once(self, event: Event) -> None:
        """Write an event whose id says what it is about; that it is there already is well."""
        self._write(_Entry((event,), known_is_well=True))

    def flush(self) -> None:
        """Hand over what this turn of the event loop has brought so far."""
        entries, self._turn = self._turn, []
        if entries:
            waiting, timer = _waiting(entries), None
            if waiting:  # one timer for all of them
                timer = waiting[0].get_loop().call_later(self._wait_seconds, _wake, waiting, TimeoutError())
            self._hand_over(entries, timer)

    def _write(self, entry: _Entry) -> None:
        for event in entry.events:
            for wrote in self._told.get(event.__class__, ()):
                wrote(event)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no event loop, no turn to wait for
            self._hand_over([entry])
            return
        if not self._turn:
            loop.call_soon(self.flush)
        self._turn.append(entry)

    def _hand_over(self, entries: Sequence[_Entry], timer: asyncio.TimerHandle | None = None) -> None:
        """Entries to the log, all in one piece; may be called on any thread, and by then without a timer."""
        try:
            future = self._store.submit([event for entry in entries for event in entry.events])
        except DistillationError as error:
            self._settle(entries, error, timer)
            return
        future.add_done_callback(lambda done: self._settle(entries, done.exception(), timer))

    def _settle(
        self, entries: Sequence[_Entry], error: BaseException | None, timer: asyncio.TimerHandle | None
    ) -> None:
        """What became of entries, on the log's thread."""
        if isinstance(error, EventError) and len(entries) > 1:  # one cannot be stored: it must not hold up the others
            for entry in entries:
                self._hand_over([entry])
            return
        self._note(error)
        for entry in entries:
            if entry.synced is None:
                self._save(entry, error)
        waiting = _waiting(entries)
        if waiting:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                waiting[0].get_loop().call_soon_threadsafe(_wake, waiting, error, timer)

    def _note(self, error: BaseException | None) -> None:
        with self._lock:
            self.healthy = not isinstance(error, LogError)
        if isinstance(error, LogError):
            logger.error("the decision log does not take events: %s", type(error).__name__)

    def _save(self, entry: _Entry, error: BaseException | None) -> None:
        if error is None or (entry.known_is_well and isinstance(error, EventError)):
            return
        if not (isinstance(error, LogError) and self._keep(entry.events)):
            self._count(len(entry.events))

    def _keep(self, events: tuple[Event, ...]) -> bool:
        return self._spill is not None and self._spill.add(events)

    def _count(self, count: int) -> None:
        logger.error("%d events could not be written to the decision log, and are lost", count)
        with self._lock:
            self.lost += count
        for witness in self._witnesses:
            witness.lost(count)


def _waiting(entries: Sequence[_Entry]) -> list[asyncio.Future[None]]:
    return [entry.synced for entry in entries if entry.synced is not None]


def _wake(
    waiting: Sequence[asyncio.Future[None]], error: BaseException | None, timer: asyncio.TimerHandle | None = None
) -> None:
    """Tell those who wait, on the event loop."""
    if timer is not None:
        timer.cancel()
    for synced in waiting:
        if synced.done():
            continue
        if error is None:
            synced.set_result(None)
        else:
            synced.set_exception(error)
