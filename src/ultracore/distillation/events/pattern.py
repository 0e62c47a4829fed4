"""Events that repeat one another but for a few fields: encoded, searched for secrets and compressed once for all.

Each is still sealed by itself, under the keys of its own day and person and bound to its own id, so that erasure
and retention find it like any other. What this file does not know: what the events are about.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from ultracore.distillation.events import codec
from ultracore.distillation.events.base import Event, Metadata
from ultracore.distillation.events.skeleton import Skeleton

if TYPE_CHECKING:
    from ultracore.distillation.events.privacy.protection import Protection
    from ultracore.distillation.events.privacy.sealing import Parted

__all__ = ["Pattern", "Repeated"]

Fact = TypeVar("Fact", bound=Event)
EMPTY = Skeleton({}, ())
_encode = msgspec.json.Encoder(order="deterministic").encode

Repeated = tuple[Metadata, bytes, dict[str, bytes]]
"""What a store needs of an event: metadata and payload as they are stored, and what the payload names by hash."""


class _Ready(NamedTuple):
    """What is the same in all of them, under one protection; `parted` is `None` where they must be done one by one."""

    protection: Protection
    parted: Parted | None = None
    rest: Skeleton = EMPTY
    parts: dict[str, bytes] = {}  # noqa: RUF012  a NamedTuple's default, never changed


class Pattern(Generic[Fact]):
    """What such events have in common.

    Args:
        first: One of them.
        varying: Fields that differ: numbers and ids of our own, for they are neither searched nor sealed. An event
            that has something personal in one of them is stored as if it had no pattern.
    """

    def __init__(self, first: Fact, varying: Collection[str]) -> None:
        self._first = first
        self._varying = tuple(varying)
        self._ready: _Ready | None = None

    def again(
        self,
        event_id: str,
        aggregate_id: str,
        timestamp: datetime,
        causation_id: str | None = None,
        *,
        subject: str | None = None,
        **varying: Any,
    ) -> Fact:
        """Another of the events; of the same tenant and correlation as the first.

        Args:
            event_id: Its own, as what follows.
            aggregate_id: What it is about.
            timestamp: When it happened, aware.
            causation_id: The event that caused it.
            subject: The person whose data it holds; that of the first by default.
            **varying: The fields that differ.
        """
        metadata = msgspec.structs.replace(
            self._first.metadata,
            event_id=event_id,
            aggregate_id=aggregate_id,
            timestamp=timestamp.astimezone(UTC).isoformat(),
            causation_id=causation_id,
            subject=subject or self._first.metadata.subject,
        )
        event = msgspec.structs.replace(self._first, metadata=metadata, **varying)
        event.__dict__["pattern"] = self
        return event

    def protect(self, event: Event, protection: Protection) -> Repeated | None:
        """The event as it is stored; `None` if it must be encoded, searched and sealed like any other."""
        ready = self._ready
        if ready is None or ready.protection is not protection:
            ready = self._ready = self._prepared(event, protection)
        if ready.parted is None:
            return None
        fields = {name: _encode(getattr(event, name)) for name in self._varying}
        metadata, payload = protection.protect_parted(event, ready.parted, ready.rest, fields)
        return metadata, payload, ready.parts

    def _prepared(self, event: Event, protection: Protection) -> _Ready:
        encoded = codec.encode_shared(event)
        _, counts = protection.clean(event, *encoded)
        parted = protection.parted(event, encoded.payload)
        if counts or any(name.partition(".")[0] in self._varying for name in parted.hidden):
            return _Ready(protection)
        return _Ready(protection, parted, parted.rest(self._varying), encoded.parts)
