"""Bytes and dicts to facts and back; old versions are lifted to today's shape.

What is stored reads back as it was given: a value that JSON would alter without a word (NaN,
infinity) is refused. An upcaster takes the data of version n and returns that of version n + 1; it
is added once and never edited. What this file does not know: files and databases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from ultracore.distillation.errors import EventError
from ultracore.distillation.events.facts import EVENT_TYPES, Event, JsonObject, Metadata

__all__ = ["MAX_PAYLOAD_BYTES", "UPCASTERS", "decode", "encode", "from_dict"]

Upcaster = Callable[[JsonObject], JsonObject]


def _model_trained_1(data: JsonObject) -> JsonObject:
    """Version 1 knew the packages only; on which machine and with how many threads nobody wrote down."""
    rest = {key: value for key, value in data.items() if key != "versions"}
    return {**rest, "environment": {"versions": data.get("versions", {}), "machine": None, "blas": None}}


UPCASTERS: dict[tuple[str, int], Upcaster] = {("MODEL_TRAINED", 1): _model_trained_1}
"""(event type, version it lifts from) -> upcaster."""

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
"""A longer payload is a mistake: the longest context windows are below 10 MB of text."""

HEADROOM = 100
"""Nesting levels kept free below the interpreter's recursion limit, so that a deeper reader can decode."""

_encoder = msgspec.json.Encoder(order="deterministic")
_OPEN, _CLOSE = b"[" * HEADROOM, b"]" * HEADROOM


def encode(event: Event) -> bytes:
    """The data of an event as JSON, without its metadata; equal data give equal bytes.

    Keys that are not strings become strings, tuples become lists.

    Raises:
        EventError: A value has no JSON form (an object, NaN, infinity), is nested too deeply, holds a
            character that is not Unicode text, or all together are longer than `MAX_PAYLOAD_BYTES`.
    """
    try:
        data = msgspec.to_builtins(event, str_keys=True)
        del data["metadata"]
        payload = _encoder.encode(data)
        stored = _read_back(payload)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise EventError(f"{event.event_type}: this value cannot be stored as JSON: {error}") from None
    if stored != data and (path := _not_finite(data)):
        raise EventError(f"{event.event_type}: {path} is NaN or infinite, which JSON cannot hold; give None instead")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise EventError(
            f"{event.event_type}: {len(payload):,} bytes in one event; the limit is {MAX_PAYLOAD_BYTES:,}: "
            "shorten the context or the result"
        )
    return payload


def decode(metadata: Metadata, payload: bytes) -> Event:
    """The event that `encode` wrote, lifted to the current version."""
    try:
        data = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
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
    if not isinstance(data, dict):
        raise EventError(f"event {metadata.event_id}: its data is not an object")
    for version in range(metadata.version, cls.version):
        data = _upcaster(metadata, version)(data)
    metadata = msgspec.structs.replace(metadata, version=cls.version)
    try:
        return msgspec.convert({**data, "metadata": metadata}, cls)
    except msgspec.ValidationError as error:
        raise EventError(f"event {metadata.event_id}: {error}") from None


def _upcaster(metadata: Metadata, version: int) -> Upcaster:
    try:
        return UPCASTERS[metadata.event_type, version]
    except KeyError:
        raise EventError(f"event {metadata.event_id}: {metadata.event_type} never had a version {version}") from None


def _read_back(payload: bytes) -> Any:
    if payload.count(b"[") + payload.count(b"{") <= HEADROOM:  # cannot be deep
        return msgspec.json.decode(payload)
    wrapped = msgspec.json.decode(_OPEN + payload + _CLOSE)
    for _ in range(HEADROOM):
        wrapped = wrapped[0]
    return wrapped


def _not_finite(value: Any, path: str = "data") -> str | None:
    """Where the first float stands that is not a number, if there is one."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    if isinstance(value, dict):
        found = (_not_finite(item, f"{path}.{key}") for key, item in value.items())
    elif isinstance(value, list | tuple):
        found = (_not_finite(item, f"{path}[{index}]") for index, item in enumerate(value))
    else:
        return None
    return next((place for place in found if place), None)
