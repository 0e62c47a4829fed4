"""Events to the rows of a store and back, the same for every store: protected on the way in, revealed on the way out.

What this file does not know: blocks, tables and databases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ultracore.distillation.errors import EventError
from ultracore.distillation.events import codec
from ultracore.distillation.events.block import Row
from ultracore.distillation.events.facts import Event, Metadata
from ultracore.distillation.events.pattern import Repeated
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.store import instant

__all__ = ["INDEX_COLUMNS", "Stored", "event_of", "index_of", "is_storable", "metadata_of", "row_of"]

INDEX_COLUMNS = (
    "position", "event_id", "type", "version", "aggregate", "aggregate_type", "tenant", "agent", "subject",
    "occurred_at", "causation", "correlation",
)  # fmt: skip
"""The readable columns that a store keeps beside its blocks, one row an event."""

UTC_LENGTHS = (25, 32)  # of 2026-01-31T12:00:00+00:00, and with microseconds


class Stored(NamedTuple):
    """What a store keeps of an event.

    Attributes:
        row: Its row.
        parts: What the payload names by hash, see `codec.Encoded`.
    """

    row: Row
    parts: dict[str, bytes]


def row_of(event: Event, protection: Protection) -> Stored:
    """The row that stands for an event: redacted and sealed.

    Args:
        event: The event.
        protection: Its keys must be persisted before the row is committed, see `Protection.persist`.

    Raises:
        EventError: It cannot be stored.
    """
    if not isinstance(event, Event):
        raise EventError(f"only events can be appended, not {type(event).__name__}")
    if not event.metadata.event_id:
        raise EventError(f"{event.event_type}: an event needs an id")
    pattern = event.pattern
    repeated = None if pattern is None else pattern.protect(event, protection)
    m, payload, parts = repeated or _protected(event, protection)
    row = Row(
        m.event_id, m.event_type, m.version, m.aggregate_id, m.aggregate_type, m.tenant_id,
        getattr(event, "agent_id", None), m.subject, m.timestamp, m.causation_id, m.correlation_id, payload,
    )  # fmt: skip
    _check_text(row)
    return Stored(row, parts)


def _protected(event: Event, protection: Protection) -> Repeated:
    encoded = codec.encode_shared(event)
    event, counts = protection.clean(event, *encoded)
    if counts:
        encoded = codec.encode_shared(event)
    metadata, payload = protection.protect(event, encoded.payload, counts)
    return metadata, payload, encoded.parts


def event_of(position: int, row: Row, parts: Callable[[str], bytes], protection: Protection) -> Event:
    """The event that a row stands for; without its personal fields where their key was destroyed.

    Args:
        position: Its place in the log.
        row: The row.
        parts: Gives the part of a hash.
        protection: Opens what is sealed.
    """
    metadata, payload = protection.reveal(metadata_of(position, row), row.payload)
    return codec.decode(metadata, payload, parts)


def metadata_of(position: int, row: Row) -> Metadata:
    """The metadata that a row holds."""
    return Metadata(
        event_id=row.event_id,
        event_type=row.type,
        aggregate_id=row.aggregate,
        aggregate_type=row.aggregate_type,
        version=row.version,
        timestamp=row.occurred_at,
        causation_id=row.causation,
        correlation_id=row.correlation,
        tenant_id=row.tenant,
        subject=row.subject,
        position=position,
    )


def index_of(position: int, row: Row) -> tuple[int | str | None, ...]:
    """The values of `INDEX_COLUMNS`; times are in the form in which they compare as strings."""
    return (position, *row[:8], _comparable(row.occurred_at), row.causation, row.correlation)


def _comparable(time: str) -> str:
    if len(time) in UTC_LENGTHS and time.endswith("+00:00"):
        return time
    try:
        return instant(time)
    except EventError:  # not a time: kept as it was given, found by no time filter
        return time


def _check_text(row: Row) -> None:
    """Refuse what a text column cannot hold."""
    try:
        text = "".join([value for value in row[:-1] if value.__class__ is str])
        text.encode()
    except UnicodeEncodeError:
        text = "\0"
    if "\0" in text:
        bad = next(value for value in row[:-1] if isinstance(value, str) and not is_storable(value))
        raise EventError(f"{row.type}: {bad!r} in its metadata holds NUL or a lone surrogate")


def is_storable(text: str) -> bool:
    """Whether a column of text may hold it; what it may not hold cannot be found either."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
