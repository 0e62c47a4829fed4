"""Seals the personal fields of an event: compressed, then encrypted under keys that can be destroyed.

The rest of the event stays readable JSON. A sealed field whose key is gone comes back empty, with the
event marked as erased. What this file does not know: where keys and events are kept.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ultracore.distillation.errors import EventError
from ultracore.distillation.events.base import Metadata, utc_now
from ultracore.distillation.events.privacy.keyring import ID_BYTES, Key, Keyring, Scope
from ultracore.distillation.events.skeleton import Skeleton

__all__ = ["SEALED", "Opened", "Parted", "Sealer", "parted_of"]

SEALED = "$sealed"
"""Sorts before every field, so that a payload says in its first bytes whether anything is sealed."""

VERSION = b"\x01"
NO_SUBJECT = bytes(ID_BYTES)
NONCE_BYTES = 12
PURPOSE = b"distill-event-1\0"
LEVEL = 1  # 3 makes an event of 2 kB 1 % smaller and takes 5 us more
CIPHERS_IN_MEMORY = 4096
MAX_REMEMBERED = 32 * 1024  # of 512 texts, so 16 MB at most
MAX_FIELD_BYTES = 256 * 1024 * 1024  # a bomb must not fill the memory

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
# What every conversation repeats; a lone event of 2 kB shrinks by a sixth more with it. It is part of the
# format: never edit it, add a version.
DICTIONARY = (
    b'"teacher_reasoning":null,"tool_parameters":{"order_id":"customer_id":"user_id":"reasoning":"","reply":null,'
    b'"outcome":{"success":true,"execution_time_ms":"result":null,"error":null,"cost_usd":null},"origin":{"file":'
    b'"task":"session_id":"metadata":{"kind":"trial":"status":"name":"id":"type":"date":"amount":"email":"phone":'
    b" please help me with my order I would like to know thank you you are a helpful assistant for customers. "
    b'"context":{"messages":[{"content":"","role":"system"},{"content":"","role":"user"},{"content":null,'
    b'"role":"assistant","tool_calls":[{"function":{"arguments":"{\\"id\\": \\"","name":"get_"},"id":"call_",'
    b'"type":"function"}]},{"content":"{\\"status\\": \\"ok\\"}","role":"tool","tool_call_id":"call_"}]},'
    b'"tool_calls":[{"arguments":{"id":""},"name":"'
)

_local = threading.local()
_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder(order="deterministic")


class Opened(NamedTuple):
    """A payload as it was before it was sealed.

    Attributes:
        payload: JSON of all fields, or of the readable ones where the rest is erased.
        erased: Whether the personal fields are gone.
    """

    payload: bytes
    erased: bool


class Parted(NamedTuple):
    """A payload taken apart.

    Attributes:
        clear: What stays readable.
        hidden: Names of the personal fields that are not empty.
        compressed: Those fields, ready to be encrypted; empty where there are none.
    """

    clear: dict[str, msgspec.Raw]
    hidden: frozenset[str]
    compressed: bytes

    def rest(self, varying: Sequence[str]) -> Skeleton:
        """What stays readable, with room for the sealed field, if there is one, and for those that vary."""
        return Skeleton(self.clear, (*varying, SEALED) if self.hidden else varying)


class Sealer:
    """Seals and opens payloads.

    Args:
        keyring: The keys.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def seal(self, metadata: Metadata, personal: Sequence[str], payload: bytes, subject: str | None) -> bytes:
        """Encrypt the personal fields of a payload.

        Args:
            metadata: Of the event; its id, type and tenant are bound to the ciphertext.
            personal: See `Event.personal`.
            payload: The event's data as JSON.
            subject: Pseudonym of the person whose data it is.
        """
        parted = parted_of(payload, personal)
        if not parted.hidden:
            return payload
        return _encoder.encode({SEALED: msgspec.Raw(self.sealed(metadata, parted, subject)), **parted.clear})

    def sealed(self, metadata: Metadata, parted: Parted, subject: str | None) -> bytes:
        """The value of the field `SEALED`, as JSON.

        Args:
            metadata: Of the event.
            parted: Its payload, taken apart.
            subject: Pseudonym of the person whose data it is.
        """
        day = metadata.timestamp[:10] if _DAY.match(metadata.timestamp) else utc_now().date().isoformat()
        of_day = self._keyring.key_for(Scope(metadata.tenant_id, day))
        of_subject = None if subject is None else self._keyring.key_for(Scope(metadata.tenant_id, subject))
        head = VERSION + of_day.id + (of_subject.id if of_subject else NO_SUBJECT)
        nonce = os.urandom(NONCE_BYTES)
        sealed = _cipher(of_day, of_subject).encrypt(nonce, parted.compressed, _about(metadata))
        return b'"%s"' % binascii.b2a_base64(head + nonce + sealed, newline=False)

    def open(self, metadata: Metadata, payload: bytes) -> Opened:
        """Decrypt what `seal` encrypted.

        Raises:
            EventError: The ciphertext was altered, or moved here from another event.
        """
        fields = _raw.decode(payload)
        sealed = base64.b64decode(msgspec.json.decode(fields.pop(SEALED)), validate=True)
        keys = self._keys(metadata, sealed)
        if keys is None:
            return Opened(_encoder.encode(fields), True)
        start = len(VERSION) + 2 * ID_BYTES
        nonce, ciphertext = sealed[start : start + NONCE_BYTES], sealed[start + NONCE_BYTES :]
        try:
            compressed = _cipher(*keys).decrypt(nonce, ciphertext, _about(metadata))
        except InvalidTag:
            raise EventError(
                f"event {metadata.event_id}: its sealed fields were altered or belong to another event; "
                "`distill verify` says more"
            ) from None
        hidden = _raw.decode(_decompressor().decompress(compressed, max_output_size=MAX_FIELD_BYTES))
        return Opened(_encoder.encode(_joined(fields, hidden)), False)

    def _keys(self, metadata: Metadata, sealed: bytes) -> tuple[Key, Key | None] | None:
        if sealed[:1] != VERSION:
            raise EventError(f"event {metadata.event_id}: a newer release sealed it; upgrade ultracore-distillation")
        if len(sealed) < len(VERSION) + 2 * ID_BYTES + NONCE_BYTES:
            raise EventError(f"event {metadata.event_id}: its sealed fields are cut short")
        day_id, subject_id = sealed[1 : 1 + ID_BYTES], sealed[1 + ID_BYTES : 1 + 2 * ID_BYTES]
        of_day = self._keyring.find(day_id)
        of_subject = None if subject_id == NO_SUBJECT else self._keyring.find(subject_id)
        if of_day is None or (of_subject is None and subject_id != NO_SUBJECT):
            return None
        return of_day, of_subject


def parted_of(payload: bytes, personal: Sequence[str]) -> Parted:
    """Take a payload apart.

    Args:
        payload: The event's data as JSON.
        personal: See `Event.personal`.
    """
    clear, hidden = _split(_raw.decode(payload), personal)
    return Parted(clear, frozenset(hidden), _compressed(_encoder.encode(hidden)) if hidden else b"")


def _split(
    fields: dict[str, msgspec.Raw], personal: Sequence[str]
) -> tuple[dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    """What stays readable, and what does not; empty values are no secret."""
    clear, hidden = dict(fields), {}
    for name, outer, inner in _paths(personal):
        value = clear.get(outer)
        if value is None or bytes(value) in _EMPTY:
            continue
        if not inner:
            hidden[name] = clear.pop(outer)
        elif bytes((parts := _raw.decode(value)).get(inner, b"null")) not in _EMPTY:
            hidden[name] = parts.pop(inner)
            clear[outer] = msgspec.Raw(_encoder.encode(parts))
    return clear, hidden


@lru_cache
def _paths(personal: Sequence[str]) -> list[tuple[str, str, str]]:
    """The names of personal fields with what stands before their point, and behind it."""
    return [(name, *name.partition(".")[::2]) for name in personal]


_EMPTY = frozenset((b"null", b'""', b"{}", b"[]"))


def _joined(clear: dict[str, msgspec.Raw], hidden: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    joined: dict[str, Any] = dict(clear)
    for name, value in hidden.items():
        outer, _, inner = name.partition(".")
        joined[outer] = {**_raw.decode(joined[outer]), inner: value} if inner else value
    return joined


def _about(metadata: Metadata) -> bytes:
    return "\0".join((metadata.event_id, metadata.event_type, metadata.tenant_id)).encode()


@lru_cache(CIPHERS_IN_MEMORY)
def _cipher(of_day: Key, of_subject: Key | None) -> AESGCM:
    """Both keys are needed where there are two."""
    outer = b"" if of_subject is None else of_subject.secret
    return AESGCM(hmac.digest(of_day.secret, PURPOSE + outer, "sha256"))


def _compressed(hidden: bytes) -> bytes:
    return _compressed_before(hidden) if len(hidden) <= MAX_REMEMBERED else _compressor().compress(hidden)


@lru_cache(maxsize=512)  # recurring work says the same again: compressing it was a third of sealing
def _compressed_before(hidden: bytes) -> bytes:
    return _compressor().compress(hidden)


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_local, "compressor"):  # neither is safe to share between threads
        _local.compressor = zstandard.ZstdCompressor(
            level=LEVEL, dict_data=_dictionary(), write_content_size=True, write_checksum=False, write_dict_id=False
        )
    found: zstandard.ZstdCompressor = _local.compressor
    return found


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor(dict_data=_dictionary())
    found: zstandard.ZstdDecompressor = _local.decompressor
    return found


def _dictionary() -> zstandard.ZstdCompressionDict:
    dictionary = zstandard.ZstdCompressionDict(DICTIONARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    dictionary.precompute_compress(level=LEVEL)
    return dictionary
