"""What may go to the teacher on one day, counted in a small file.

All worker processes share it and a restart forgets nothing; it survives the end of a process, not a
power loss. What this file does not know: prices, and what is asked.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from ultracore.distillation.events import Event, UpstreamAttemptedEvent
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.settings import AgentPolicy
from ultracore.distillation.tools import fingerprint

__all__ = ["Budgets"]

MAX_OWNERS = 50_000
"""Decisions whose budget is remembered until they are paid for; an audit ends within minutes."""

_COUNTS = struct.Struct("<qd")


class Budgets:
    """Counts requests and dollars of a day; a `Observer` of the journal, from which it learns what was paid.

    Args:
        folder: Where the files are; made once it is needed.
        clock: Tells the time.
    """

    of: ClassVar[tuple[type[Event], ...]] = (UpstreamAttemptedEvent,)

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._clock = clock
        self._owners: OrderedDict[str, str] = OrderedDict()

    def take(self, name: str, policy: AgentPolicy, *, priced: bool = True) -> None:
        """Count one request to the teacher.

        Args:
            name: Whose budget it is.
            policy: The limits.
            priced: Whether the cost of the request will be known.

        Raises:
            RequestError: 429, until the day is over; 503 where dollars are limited and nobody knows the price.
        """
        requests, dollars = policy.teacher_requests_per_day, policy.teacher_dollars_per_day
        if requests is None and dollars is None:
            return
        if dollars is not None and not priced:
            raise RequestError(503, "dollars are limited, but this model has no price", code="no_price")
        try:
            self._count(name, requests, dollars)
        except OSError:
            message = "the teacher's budget cannot be read, so that nothing more is spent"
            raise RequestError(503, message, code="budget_unavailable", headers={"retry-after": "1"}) from None

    def note(self, receipt: str, name: str, policy: AgentPolicy) -> None:
        """Remember whose budget pays for a decision, its audit included."""
        if policy.teacher_dollars_per_day is not None:
            self._owners[receipt] = name
            if len(self._owners) > MAX_OWNERS:
                self._owners.popitem(last=False)

    def wrote(self, event: Event) -> None:
        """See `Observer.wrote`."""
        if isinstance(event, UpstreamAttemptedEvent) and event.cost_usd and event.decision_id in self._owners:
            with _Day(self._path(self._owners[event.decision_id])) as day:
                day.dollars += event.cost_usd

    def lost(self, count: int) -> None:
        """See `Observer.lost`."""

    def _count(self, name: str, requests: int | None, dollars: float | None) -> None:
        with _Day(self._path(name)) as day:
            if (requests is not None and day.requests >= requests) or (dollars is not None and day.dollars >= dollars):
                raise self._spent()
            day.requests += 1

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._clock():%Y-%m-%d}-{fingerprint(name)}"

    def _spent(self) -> RequestError:
        now = self._clock()
        tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        headers = {"retry-after": str(int((tomorrow - now).total_seconds()) + 1)}
        message = "the teacher's budget of this day is spent; what the student may answer is still answered"
        return RequestError(429, message, code="insufficient_quota", headers=headers)


class _Day:
    """The counts of one day, locked while they are changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.requests, self.dollars = 0, 0.0

    def __enter__(self) -> _Day:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        stored = os.pread(self._file, _COUNTS.size, 0)
        if len(stored) == _COUNTS.size:
            self.requests, self.dollars = _COUNTS.unpack(stored)
        else:  # a new day: the files of the others have done their work
            self._forget_earlier_days()
        return self

    def __exit__(self, *_: object) -> None:
        os.pwrite(self._file, _COUNTS.pack(self.requests, self.dollars), 0)
        os.close(self._file)

    def _forget_earlier_days(self) -> None:
        for path in self._path.parent.iterdir():
            if path.name[:10] < self._path.name[:10]:
                path.unlink(missing_ok=True)
