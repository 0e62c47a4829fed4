"""Bytes and dicts to facts and back; old versions are lifted to today's shape.

What is stored reads back as it was given: a value that JSON would alter without a word (NaN,
infinity) is refused. What many events repeat (`Event.shared`) is kept once and named by its hash.
An upcaster takes the data of version n and returns that of version n + 1; it is added once and never
edited. What this file does not know: files and databases.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.errors import EventError
from ultracore.distillation.events.base import Unchanging, UnchangingObject
from ultracore.distillation.events.facts import EVENT_TYPES, Event, JsonObject, Metadata

__all__ = [
    "MAX_PAYLOAD_BYTES",
    "UPCASTERS",
    "Encoded",
    "decode",
    "encode",
    "encode_shared",
    "from_dict",
    "inline",
    "part_of",
    "share",
]

Upcaster = Callable[[JsonObject], JsonObject]


def _model_trained_1(data: JsonObject) -> JsonObject:
    """Version 1 knew the packages only; on which machine and with how many threads nobody wrote down."""
    rest = {key: value for key, value in data.items() if key != "versions"}
    return {**rest, "environment": {"versions": data.get("versions", {}), "machine": None, "blas": None}}


UPCASTERS: dict[tuple[str, int], Upcaster] = {("MODEL_TRAINED", 1): _model_trained_1}
"""(event type, version it lifts from) -> upcaster."""

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
"""A longer payload is a mistake: the longest context windows are below 10 MB of text."""

SHALLOW = 300
"""With fewer brackets it cannot be too deep for a reader; 120 tools or a long conversation have more."""

HEADROOM = 100
"""Nesting levels kept free below the interpreter's recursion limit, so that a deeper reader can decode."""

MIN_PART_BYTES = 256
"""A shorter value costs less where it stands than its 64-digit hash and a look-up."""

_encoder = msgspec.json.Encoder(order="deterministic")
_packer = msgspec.msgpack.Encoder()
# A float in MessagePack is 0xCB and eight bytes; an exponent of ones makes it NaN or infinite.
_MAYBE_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")


class Encoded(NamedTuple):
    """An event's data as they are stored.

    Attributes:
        payload: JSON; a shared field is `{"part": hash}` instead of its value.
        parts: SHA-256 in hex digits -> the JSON that it names.
        unchanging: The same of values within the payload that were encoded before, and are nowhere else.
    """

    payload: bytes
    parts: dict[str, bytes]
    unchanging: dict[str, bytes] = {}  # noqa: RUF012  a NamedTuple's default, never changed


def encode(event: Event) -> bytes:
    """The data of an event as JSON, without its metadata; equal data give equal bytes.

    Keys that are not strings become strings, tuples become lists.

    Raises:
        EventError: A value has no JSON form (an object, NaN, infinity), is nested too deeply, holds a
            character that is not Unicode text, or all together are longer than `MAX_PAYLOAD_BYTES`.
    """
    return _encode(event, _fields(event))


def encode_shared(event: Event) -> Encoded:
    """The same, with what many events share apart.

    Raises:
        EventError: As `encode`.
    """
    data = _fields(event)
    parts = {}
    for name in event.shared:
        if data[name]:
            key, part = _part(event, data[name])
            if len(part) >= MIN_PART_BYTES:
                parts[key], data[name] = part, {"part": key}
    known = {name: _part(event, value) for name, value in data.items() if isinstance(value, UnchangingObject)}
    payload = _encode(event, {name: value for name, value in data.items() if name not in known} if known else data)
    if known:  # each of them was checked when it was encoded
        data |= {name: msgspec.Raw(part) for name, (_, part) in known.items()}
        payload = _bounded(event, _encoder.encode(data))
    return Encoded(payload, parts, dict(known.values()))


def _part(event: Event, value: Any) -> tuple[str, bytes]:
    fixed = value if isinstance(value, Unchanging | UnchangingObject) else None
    if fixed is not None and fixed.part is not None:
        return fixed.part
    part = _encode(event, value)
    found = part_of(part), part
    if fixed is not None:
        fixed.part = found
    return found


def part_of(part: bytes) -> str:
    """The name of a part: its SHA-256 in hex digits."""
    return hashlib.sha256(part).hexdigest()


def share(event_type: str, payload: bytes) -> Encoded:
    """What `encode_shared` would have made of a payload that `encode` made."""
    shared = EVENT_TYPES[event_type].shared if event_type in EVENT_TYPES else ()
    if not shared:
        return Encoded(payload, {})
    data, parts = msgspec.json.decode(payload), {}
    for name in shared:
        part = _encoder.encode(data.get(name))
        if isinstance(data.get(name), list) and len(part) >= MIN_PART_BYTES:
            key = part_of(part)
            parts[key], data[name] = part, {"part": key}
    return Encoded(_encoder.encode(data), parts)


def inline(event_type: str, payload: bytes, parts: Callable[[str], bytes]) -> bytes:
    """The payload with its parts in their places."""
    if event_type not in EVENT_TYPES or not EVENT_TYPES[event_type].shared:
        return payload
    return _encoder.encode(_with_parts(event_type, msgspec.json.decode(payload), parts))


def no_parts(key: str) -> bytes:
    """For payloads that are whole."""
    raise EventError(f"part {key} of an event is not at hand: read it through its store")


def decode(metadata: Metadata, payload: bytes, parts: Callable[[str], bytes] = no_parts) -> Event:
    """The event that `encode` or `encode_shared` wrote, lifted to the current version.

    Args:
        metadata: Its metadata.
        payload: Its data.
        parts: Gives the part of a hash.
    """
    try:
        data = _with_parts(metadata.event_type, msgspec.json.decode(payload), parts)
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


def _fields(event: Event) -> JsonObject:
    return {name: getattr(event, name) for name in event.__struct_fields__ if name != "metadata"}


def _encode(event: Event, value: Any) -> bytes:
    try:
        payload = _to_json(value)
        if payload.count(b"[") + payload.count(b"{") > SHALLOW:
            _to_json(_deeper(value))
        suspect = payload.count(b"null") > _nones(value) and _may_be_not_finite(value)
        if suspect and (path := _not_finite(msgspec.to_builtins(value, str_keys=True))):
            raise EventError(
                f"{event.event_type}: {path} is NaN or infinite, which JSON cannot hold; give None instead"
            )
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise EventError(f"{event.event_type}: this value cannot be stored as JSON: {error}") from None
    return _bounded(event, payload)


def _bounded(event: Event, payload: bytes) -> bytes:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise EventError(
            f"{event.event_type}: {len(payload):,} bytes in one event; the limit is {MAX_PAYLOAD_BYTES:,}: "
            "shorten the context or the result"
        )
    return payload


def _to_json(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except TypeError:  # a key that is no string, which this encoder cannot sort
        return _encoder.encode(msgspec.to_builtins(value, str_keys=True))


def _deeper(value: Any) -> Any:
    for _ in range(HEADROOM):
        value = [value]
    return value


def _nones(value: Any) -> int:
    """How many nulls of its JSON are fields, or their fields, that have no value: nearly always all of them."""
    if not isinstance(value, dict):
        return 0
    inner = [item for item in value.values() if item.__class__ is dict]
    return sum([item is None for fields in (value, *inner) for item in fields.values()])


def _may_be_not_finite(value: Any) -> bool:
    """Whether it is worth looking at every number; JSON would write such a one as null."""
    try:
        return _MAYBE_NOT_FINITE.search(_packer.encode(value)) is not None
    except OverflowError:  # an integer beyond 64 bits
        return True


def _with_parts(event_type: str, data: Any, parts: Callable[[str], bytes]) -> Any:
    for name in EVENT_TYPES[event_type].shared if event_type in EVENT_TYPES else ():
        if isinstance(data, dict) and isinstance(reference := data.get(name), dict):
            data[name] = msgspec.json.decode(parts(reference["part"]))
    return data


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
