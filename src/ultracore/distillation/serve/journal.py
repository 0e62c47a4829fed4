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
from functools import partial
from typing import ClassVar, Protocol

from ultracore.distillation.errors import DistillationError, EventError, LogError
from ultracore.distillation.events import Event, EventStore
from ultracore.distillation.serve.spill import Spill

__all__ = ["Journal", "Observer"]

logger = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""Longest wait for the disk before a local answer is given up, or goes out without (`available`)."""


class Observer(Protocol):
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


Told = Callable[[LogError | None], None]
"""Called on the event loop, once: with `None` when events are durable, else with why they are not."""


class _Entry:
    """Events that are written together or not at all, and who waits for them."""

    __slots__ = ("events", "known_is_well", "over", "told")

    def __init__(self, events: tuple[Event, ...], told: Told | None = None, *, known_is_well: bool = False) -> None:
        self.events = events
        self.told = told
        self.known_is_well = known_is_well
        self.over = False  # it was told


class Journal:
    """Writes to the decision log: what one turn of the event loop brings in one append, which wakes the loop once.

    Events take a few tenths of a millisecond to encode, on the event loop. Those that somebody waits for are next;
    others let the requests that have just come go first.

    Args:
        store: The log.
        wait_seconds: Longest wait of `durable`.
        spill: Where events go that the log did not take; without one they are lost, and counted.
        strict: Whether `durable` insists on the log itself; if not, the spill file will do.
        observers: Who is told of each event.

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
        observers: Sequence[Observer] = (),
    ) -> None:
        self.lost = 0
        self.healthy = True
        self._store = store
        self._wait_seconds = wait_seconds
        self._spill = spill
        self._strict = strict
        self._observers = observers
        self._told: dict[type[Event], list[Callable[[Event], None]]] = defaultdict(list)
        for observer in observers:
            for kind in observer.of:
                self._told[kind].append(observer.wrote)
        self._lock = threading.Lock()
        self._turn: list[_Entry] = []
        self._awaited = False  # somebody waits for one of them
        self._loop: asyncio.AbstractEventLoop

    async def durable(self, *events: Event) -> None:
        """Write events, and return once they are synced; unless `strict`, once they are synced or spilled.

        Raises:
            LogError: They are not, or not in time.
        """
        synced = asyncio.get_running_loop().create_future()  # its own: a cancelled request cancels nobody else's
        self.when_durable(partial(_resolve, synced), *events)
        await synced

    def when_durable(self, told: Told, *events: Event) -> None:
        """`durable` for who would rather be called than wait; on the event loop.

        Args:
            told: See `Told`.
            *events: What to write.
        """
        self._write(_Entry(events, told))

    def later(self, *events: Event) -> None:
        """Write events without waiting; what the log does not take is spilled, or counted in `lost`."""
        self._write(_Entry(events))

    def once(self, event: Event) -> None:
        """Write an event whose id says what it is about; that it is there already is well."""
        self._write(_Entry((event,), known_is_well=True))

    def flush(self) -> None:
        """Hand over what this turn of the event loop has brought so far."""
        entries, self._turn, self._awaited = self._turn, [], False
        if entries:
            waiting, timer = _waiting(entries), None
            if waiting:  # one timer for all of them
                timer = self._loop.call_later(self._wait_seconds, self._tell, waiting, TimeoutError())
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
        self._loop = loop
        if entry.told is not None and not self._awaited:
            self._awaited = True
            loop.call_soon(self.flush)
        elif not self._turn:  # requests that have just come go first: nobody waits for this
            loop.call_soon(loop.call_soon, self.flush)
        self._turn.append(entry)

    def _hand_over(self, entries: Sequence[_Entry], timer: asyncio.TimerHandle | None = None) -> None:
        """Entries to the log, all in one piece; may be called on any thread, and by then without a timer."""
        try:
            events = [event for entry in entries for event in entry.events]
            future = self._store.submit(events, patient=not _waiting(entries))
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
            if entry.told is None:
                self._save(entry, error)
        waiting = _waiting(entries)
        if waiting:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._tell, waiting, error, timer)

    def _tell(
        self, waiting: Sequence[_Entry], error: BaseException | None, timer: asyncio.TimerHandle | None = None
    ) -> None:
        """Tell those who wait, on the event loop."""
        if timer is not None:
            timer.cancel()
        for entry in waiting:
            if entry.over or entry.told is None:
                continue
            entry.over = True
            try:
                entry.told(None if error is None else self._refusal(entry.events, error))
            except Exception:  # whoever it was, the others wait too
                logger.exception("somebody failed who was told of the decision log")

    def _refusal(self, events: tuple[Event, ...], error: BaseException) -> LogError | None:
        """Why events are not durable; `None` where the spill file has them, and that will do."""
        late = isinstance(error, TimeoutError)
        if not self._strict and (late or isinstance(error, LogError)) and self._keep(events):
            return None
        if late:
            return LogError("the decision log did not answer in time")
        self._count(len(events))
        return LogError(f"the decision log refused the event: {type(error).__name__}")

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
        for observer in self._observers:
            observer.lost(count)


def _waiting(entries: Sequence[_Entry]) -> list[_Entry]:
    return [entry for entry in entries if entry.told is not None]


def _resolve(synced: asyncio.Future[None], refusal: LogError | None) -> None:
    if synced.done():
        return
    if refusal is None:
        synced.set_result(None)
    else:
        synced.set_exception(refusal)
