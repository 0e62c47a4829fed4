"""Bytes and dicts to facts and back; old versions are lifted to today's shape.

An upcaster takes the data of version n and returns that of version n + 1; it is added once and
never edited. What this file does not know: files and databases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ultracore.distillation.errors import EventError
from ultracore.distillation.events.facts import EVENT_TYPES, Event, JsonObject, Metadata

__all__ = ["UPCASTERS", "decode", "encode", "from_dict"]

Upcaster = Callable[[JsonObject], JsonObject]

UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""(event type, version it lifts from) -> upcaster. Empty: every fact is still in its first version."""

_encoder = msgspec.json.Encoder(order="deterministic")


def encode(event: Event) -> bytes:
    """The data of an event as JSON, without its metadata; equal data give equal bytes.

    Raises:
        EventError: A value has no JSON form, or holds a character that is not Unicode text.
    """
    try:
        return _encoder.encode(event.to_dict()["data"])
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EventError(f"{event.event_type}: this value cannot be stored as JSON: {error}") from None


def decode(metadata: Metadata, payload: bytes) -> Event:
    """The event that `encode` wrote, lifted to the current version."""
    try:
        data = msgspec.json.decode(payload)
    except msgspec.DecodeError as error:
        raise EventError(f"event {metadata.event_id}: its payload is not JSON: {error}") from None
    return _build(metadata, data)


def from_dict(value: JsonObject) -> Event:
    """The event that `Event.to_dict` gave."""
    try:
        metadata = msgspec.convert(value["metadata"], Metadata)
        data = dict(value["data"])
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise EventError(f"an event is {{'metadata': ..., 'data': ...}}: {error}") from None
    return _build(metadata, data)


def _build(metadata: Metadata, data: Any) -> Event:
    cls = EVENT_TYPES.get(metadata.event_type)
    if cls is None:
        raise EventError(f"event {metadata.event_id}: unknown type {metadata.event_type!r}; a newer release wrote it")
    if metadata.version > cls.version:
        raise EventError(
            f"event {metadata.event_id}: {metadata.event_type} version {metadata.version} was written by a newer "
            f"release (this one reads up to {cls.version}); upgrade ultracore-distillation"
        )
    for version in range(metadata.version, cls.version):
        data = UPCASTERS[metadata.event_type, version](data)
    metadata = msgspec.structs.replace(metadata, version=cls.version)
    try:
        return msgspec.convert({**data, "metadata": metadata}, cls)
    except msgspec.ValidationError as error:
        raise EventError(f"event {metadata.event_id}: {error}") from None
