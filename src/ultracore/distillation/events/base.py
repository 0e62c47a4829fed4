"""What every fact is: metadata and data, frozen, with a way to plain dicts and back.

What this file does not know: which facts there are, bytes, and where events are kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

if TYPE_CHECKING:
    from ultracore.distillation.events.pattern import Pattern

__all__ = ["Event", "JsonObject", "Metadata", "Unchanging", "UnchangingObject", "new_event_id", "utc_now"]

JsonObject = dict[str, Any]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of every event.

    Attributes:
        event_id: Unique; appending the same id twice is refused.
        event_type: Name of the fact, such as `AGENT_TOOL_SELECTED`.
        aggregate_id: The thing that the fact is about.
        aggregate_type: Its kind: decision, session, dataset, prompt, model.
        version: Version of the fact's data.
        timestamp: ISO 8601 in UTC, with offset.
        causation_id: The event that caused this one.
        correlation_id: The run or request that both belong to.
        tenant_id: Whose event it is.
        position: Place in the log, from 1, without gaps; null until it is appended.
        subject: The person whose data it holds: an id before it is stored, a keyed pseudonym once it was.
        erased: Its personal fields are empty because their key was destroyed.
        redacted: How often each redaction rule replaced something before it was stored.
    """

    event_id: str
    event_type: str
    aggregate_id: str
    aggregate_type: str
    version: int
    timestamp: str
    causation_id: str | None = None
    correlation_id: str | None = None
    tenant_id: str = "default"
    position: int | None = None
    subject: str | None = None
    erased: bool = False
    redacted: dict[str, int] = {}


class Unchanging(list[JsonObject]):
    """The value of a shared field of many events (`Event.shared`) that nobody changes any more: encoded once for all.

    Attributes:
        part: Its hash and its JSON, once an event with it was encoded.
    """

    __slots__ = ("part",)

    def __init__(self, items: Iterable[JsonObject] = ()) -> None:
        super().__init__(items)
        self.part: tuple[str, bytes] | None = None


class UnchangingObject(JsonObject):
    """The value of a field of many events that nobody changes any more: encoded and searched for secrets once.

    Attributes:
        part: Its hash and its JSON, once an event with it was encoded.
    """

    __slots__ = ("part",)

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        self.part: tuple[str, bytes] | None = None


def utc_now() -> datetime:
    """The wall clock; a caller that needs another one passes it to `Event.record`."""
    return datetime.now(UTC)


def new_event_id() -> str:
    """A UUID of version 7 (RFC 9562) in hex digits: ids made later are greater, to a quarter of a microsecond.

    So a unique index over them grows at its right end. Random ids touched a page each.

    Example:
        >>> first, second = new_event_id(), new_event_id()
        >>> len(first), first[12], first[:12] <= second[:12]
        (32, '7', True)
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    random = int.from_bytes(os.urandom(8)) >> 2
    return f"{milliseconds:012x}{0x7000 | (rest << 12) // 1_000_000:04x}{0x8000000000000000 | random:016x}"


class Event(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A fact with its metadata; make one with `record`, read one with `from_dict`.

    `personal` names the fields that may hold what belongs to a person; `a.b` is the key `b` of the field `a`.
    They are sealed before they are stored, and empty once their key is destroyed. Every other field stays
    readable for ever: names, numbers and our own words only.

    Example:
        >>> event = RetrainTriggeredEvent.record(model_id="m", reason="drift_detected", drift_score=0.2)
        >>> event.to_dict()["data"]["reason"]
        'drift_detected'
    """

    metadata: Metadata

    event_type: ClassVar[str] = ""
    aggregate_type: ClassVar[str] = ""
    aggregate_key: ClassVar[str] = ""
    version: ClassVar[int] = 1
    personal: ClassVar[tuple[str, ...]] = ()
    shared: ClassVar[tuple[str, ...]] = ()
    """Fields (lists) that many events repeat: a store keeps each value once."""

    @classmethod
    def record(
        cls,
        *,
        event_id: str | None = None,
        tenant_id: str = "default",
        causation_id: str | None = None,
        correlation_id: str | None = None,
        subject: str | None = None,
        timestamp: datetime | None = None,
        clock: Callable[[], datetime] = utc_now,
        **data: Any,
    ) -> Self:
        """Write down a fact that happened now.

        Args:
            event_id: Unique id; `new_event_id` by default.
            tenant_id: Whose event it is.
            causation_id: The event that caused it.
            correlation_id: The run or request that it belongs to.
            subject: The person whose data it holds, where no field `user_id` says so.
            timestamp: When it happened, aware; now by default.
            clock: Tells the time.
            **data: The fields of the fact.
        """
        identity = event_id or new_event_id()
        if "subject" in cls.__struct_fields__:  # the fact is about the person, and says so in its data, too
            data["subject"] = subject
        metadata = Metadata(
            event_id=identity,
            event_type=cls.event_type,
            aggregate_id=str(data.get(cls.aggregate_key) or identity),
            aggregate_type=cls.aggregate_type,
            version=cls.version,
            timestamp=(timestamp or clock()).astimezone(UTC).isoformat(),
            causation_id=causation_id,
            correlation_id=correlation_id,
            tenant_id=tenant_id,
            subject=subject,
        )
        return cls(metadata=metadata, **data)

    @property
    def pattern(self) -> Pattern[Any] | None:
        """What it has in common with others, where a `Pattern` made it; no part of the fact."""
        return self.__dict__.get("pattern")

    def to_dict(self) -> JsonObject:
        """`{"metadata": {...}, "data": {...}}`, plain and JSON-ready."""
        data: JsonObject = msgspec.to_builtins(self)
        return {"metadata": data.pop("metadata"), "data": data}

    @staticmethod
    def from_dict(value: JsonObject) -> Event:
        """The reverse of `to_dict`, for every type and every version ever written.

        Raises:
            EventError: The type is unknown, the version newer than this release, or a field is wrong.
        """
        from ultracore.distillation.events import codec  # the codec knows the facts, not the reverse

        return codec.from_dict(value)

    def at(self, position: int) -> Self:
        """The same event at its place in the log."""
        return msgspec.structs.replace(self, metadata=msgspec.structs.replace(self.metadata, position=position))
