"""What was searched already and held nothing: the messages before the last one, and the tools, of nearly every event.

Every decision of a conversation repeats all its messages, and looking into them is most of what redaction
costs. Only digests are kept. What this file does not know: what is searched for.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

import msgspec

__all__ = ["Seen", "Unseen"]

MOST = 100_000
"""Digests in each of two generations, 10 MB in all."""

DIGEST_BYTES = 16


class _Context(msgspec.Struct, frozen=True):
    messages: list[msgspec.Raw] = []


class _Data(msgspec.Struct):
    context: _Context = _Context()


_data = msgspec.json.Decoder(_Data)


class Unseen(NamedTuple):
    """What is left to search of an event.

    Attributes:
        text: JSON of it, in pieces that do not belong together.
        digests: What need not be searched again, should nothing be found.
    """

    text: bytes
    digests: list[bytes]


class Seen:
    """Remembers the newest of what it was told; safe to share between threads.

    Example:
        >>> seen, payload = Seen(), b'{"context":{"messages":[{"content":"hi"}]},"user_id":"ann"}'
        >>> first = seen.unseen(payload, ())
        >>> seen.add(first.digests)
        >>> seen.unseen(payload, ()).text
        b'{"context":{"messages":[]},"user_id":"ann"}'
    """

    def __init__(self) -> None:
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def unseen(
        self, payload: bytes, parts: Iterable[tuple[str, bytes]], unchanging: Iterable[tuple[str, bytes]] = ()
    ) -> Unseen:
        """What of an event was not searched before.

        Args:
            payload: The event's data as JSON.
            parts: The rest of its data: hash and JSON.
            unchanging: Values that stand in the payload: hash and JSON.
        """
        met = []
        for key, text in unchanging:
            if (digest := bytes.fromhex(key)) in self:
                payload = payload.replace(text, b"{}", 1)
            else:
                met.append(digest)
        messages = [(blake2b(text, digest_size=DIGEST_BYTES).digest(), text) for text in _messages_of(payload)]
        new = [named for named in messages if named[0] not in self]
        if len(new) < len(messages):
            payload = payload.replace(b",".join([text for _, text in messages]), b"", 1)
        else:
            new = [(digest, b"") for digest, _ in messages]  # all of them stand in the payload
        new += [named for key, part in parts if (named := (bytes.fromhex(key), part))[0] not in self]
        return Unseen(b"\n".join([payload, *(text for _, text in new if text)]), met + [digest for digest, _ in new])

    def add(self, digests: Iterable[bytes]) -> None:
        """They hold nothing."""
        self._young.update(digests)
        if len(self._young) > MOST:
            self._old, self._young = self._young, set()

    def __contains__(self, digest: bytes) -> bool:
        if digest in self._old:
            self._young.add(digest)
        return digest in self._young


def _messages_of(payload: bytes) -> list[bytes]:
    """The messages of a conversation, each as it stands in the payload."""
    if b'"messages":[{"' not in payload:  # an object's quotes are in no text, so what is cut out is no part of one
        return []
    try:
        return [bytes(message) for message in _data.decode(payload).context.messages]
    except msgspec.DecodeError:
        return []
