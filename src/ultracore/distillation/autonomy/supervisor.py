"""Keeps the loop going: rounds for ever, a stage that fails is tried again later, and only one leader does them.

What this file does not know: what a round does.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ultracore.distillation.autonomy.cycle import Cycle
from ultracore.distillation.errors import DistillationError
from ultracore.distillation.events.election import Election
from ultracore.distillation.settings import Settings

__all__ = ["LeaderLock", "Supervisor", "leader_lock_at"]

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0


class LeaderLock(Protocol):
    """A lock for one leader; it is lost with the process."""

    def win(self) -> bool:
        """Whether it is this one's, now or already."""
        ...

    def resign(self) -> None:
        """Leave it."""
        ...


class Supervisor:
    """Runs the stages of a cycle again and again.

    Args:
        cycle: Whose stages.
        lock: Only who has it does anything.
        every_seconds: Between rounds.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, cycle: Cycle, lock: LeaderLock, *, every_seconds: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cycle, self._lock, self._every, self._clock = cycle, lock, every_seconds, clock
        self._pauses: dict[str, _Pause] = {}

    def run(self, stop: threading.Event) -> None:
        """Until told to stop; the stage under way is finished first."""
        try:
            while not stop.is_set():
                self.round(stop)
                stop.wait(self._every)
        finally:
            self._lock.resign()

    def round(self, stop: threading.Event | None = None) -> bool:
        """One round, without the stages that rest after a failure; returns whether this is the leader."""
        if not self._wins():
            return False
        for stage in self._cycle.stages:
            if stop is None or not stop.is_set():
                self._try(stage.__name__, stage)
        return True

    def _try(self, name: str, stage: Callable[[], None]) -> None:
        pause = self._pauses.setdefault(name, _Pause())
        if self._clock() < pause.until:
            return
        try:
            stage()
        except Exception as error:  # noqa: BLE001  whatever fails, the other stages and later rounds go on
            pause.longer(self._clock())
            why = str(error) if isinstance(error, DistillationError) else type(error).__name__
            logger.error("%s failed, again in %g s: %s", name, pause.seconds, why)
            self._write_down(name, why)
        else:
            self._pauses[name] = _Pause()

    def _write_down(self, name: str, why: str) -> None:
        try:
            self._cycle.failed(name, why)
        except DistillationError as error:  # the log itself may be what fails
            logger.error("the decision log cannot be written: %s", type(error).__name__)

    def _wins(self) -> bool:
        try:
            return self._lock.win()
        except (DistillationError, OSError) as error:
            logger.error("no leader can be elected: %s", type(error).__name__)
            return False


class _Pause:
    """After a failure: twice as long after each."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.until = 0.0

    def longer(self, now: float) -> None:
        self.seconds = min(LONGEST_PAUSE, max(FIRST_PAUSE, 2.0 * self.seconds))
        self.until = now + self.seconds


def leader_lock_at(settings: Settings) -> LeaderLock:
    """The lock of a log's loop: a lock file in the home folder, or a lock in the log's PostgreSQL."""
    if settings.log_url is not None:
        return _PostgresLock(settings.log_url, settings.tenant)
    folder = settings.home_path / "state"
    folder.mkdir(parents=True, exist_ok=True)
    return Election(Path(folder / f"loop-{zlib.crc32(settings.tenant.encode()):08x}.lock"))


class _PostgresLock:
    """A session's advisory lock: the server gives it up when the connection ends."""

    def __init__(self, url: str, tenant: str) -> None:
        self._url, self._key = url, zlib.crc32(b"loop" + tenant.encode())
        self._connection: Any = None

    def win(self) -> bool:
        from ultracore.distillation.events.postgres.connection import connect, explain

        if self._connection is not None and not self._alive():
            self._connection = None
        if self._connection is not None:
            return True
        connection = connect(self._url)
        try:
            won = connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
        except Exception as error:  # noqa: BLE001  told below
            connection.close()
            raise explain(error, self._url) from None
        if won and won[0]:
            self._connection = connection
            return True
        connection.close()
        return False

    def resign(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _alive(self) -> bool:
        try:
            self._connection.execute("SELECT 1")
        except Exception:  # noqa: BLE001  whatever it is, the lock is gone with the session
            return False
        return True
