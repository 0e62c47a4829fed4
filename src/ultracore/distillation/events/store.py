"""The protocol of the decision log: append, read, follow. Nothing else is the truth.

Acknowledged means synced: when `append` returns, or the future of `submit` resolves, the events
survive a crash of the process and of the machine. Positions count from 1 without gaps in the order
of commit, and a reader never sees position n + 1 before n. What this file does not know: which
database keeps the events (`sqlite`; others implement the same protocol).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, runtime_checkable

from ultracore.distillation.errors import EventError
from ultracore.distillation.events.facts import Event

__all__ = ["EventStore", "Expected", "instant"]


class Expected(NamedTuple):
    """Optimistic concurrency: the aggregate must have had this many events, or the append is refused."""

    aggregate_id: str
    events: int


@runtime_checkable
class EventStore(Protocol):
    """Where events are kept. Implementations are checked by `checks.check_event_store`."""

    def submit(
        self, events: Iterable[Event], *, expected: Expected | None = None, patient: bool = False
    ) -> Future[list[int]]:
        """Hand events over for one atomic append; never waits for the disk.

        Args:
            events: What to append.
            expected: How many events there must have been.
            patient: Whether nobody waits for it, so that it may be written a few milliseconds later, with others.

        Returns:
            A future of the positions, resolved once the events are synced, or failed with
            `ConcurrencyError` (stale `expected`), `EventError` (an event cannot be stored, or its
            id is in the log already) or `LogError` (disk full, sync failed, closed).
        """
        ...

    def append(self, events: Iterable[Event], *, expected: Expected | None = None) -> list[int]:
        """`submit`, and wait."""
        ...

    def read(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        types: Collection[str] | None = None,
        tenant: str | None = None,
        aggregate: str | None = None,
        agent: str | None = None,
        since: str | None = None,
        until_time: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Events in order of position that pass every filter given.

        Args:
            after: Only positions above this one.
            until: Only positions up to and including this one.
            types: Only these event types.
            tenant: Only this tenant's.
            aggregate: Only those about this thing.
            agent: Only those whose `agent_id` is this one.
            since: Only those that happened then or later: ISO 8601, UTC where it names no offset.
            until_time: Only those that happened then or earlier.
            limit: At most so many.

        Raises:
            EventError: A time is not ISO 8601.
        """
        ...

    def known(self, event_ids: Collection[str]) -> set[str]:
        """Those of the given ids that are in the log already."""
        ...

    def last_position(self) -> int:
        """Position of the newest event, 0 for an empty log."""
        ...

    def follow(
        self, *, after: int = 0, types: Collection[str] | None = None, timeout: float | None = None
    ) -> Iterator[Event]:
        """Yield events as they come, without a skip or a duplicate; ends after `timeout` idle seconds."""
        ...

    def close(self) -> None:
        """Finish what was submitted, then let go of the files; further calls raise `LogError`."""
        ...


def instant(time: str) -> str:
    """A time in the one form in which times compare as strings: UTC, as `datetime.isoformat` writes it.

    Raises:
        EventError: It is not ISO 8601.

    Example:
        >>> instant("2026-01-02T01:00:00+01:00"), instant("2026-01-02")
        ('2026-01-02T00:00:00+00:00', '2026-01-02T00:00:00+00:00')
    """
    try:
        moment = datetime.fromisoformat(time)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (TypeError, ValueError, OverflowError):
        raise EventError(f"{time!r} is not a time; write it like 2026-01-31T12:00:00+00:00") from None
