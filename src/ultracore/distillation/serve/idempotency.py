"""A retry with the same `Idempotency-Key` gets the answer of the first try, and makes no second decision.

Answers are kept for a while in this process, bounded in number and bytes. A try that failed, or broke
off, is forgotten: its retry is a new request. What this file does not know: what is answered.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultracore.distillation.serve.wire import RequestError

__all__ = ["IdempotencyCache", "IdempotencyKey"]

MAX_ANSWER = 4 * 1024 * 1024
MAX_TOTAL = 64 * 1024 * 1024
Headers = list[tuple[bytes, bytes]]


class Kept(NamedTuple):
    """A try: what was asked, until when it counts, and the answer once there is one."""

    asked: bytes
    until: float
    status: int = 0
    headers: Headers = []  # noqa: RUF012  a NamedTuple's default, never changed
    body: bytes = b""

    async def again(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer again, as ASGI."""
        headers = [*self.headers, (b"x-distill-replayed", b"true")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class IdempotencyKey(NamedTuple):
    """Where a try belongs: with whose key it was made, and a hash of the client's idempotency key."""

    owner: str
    key: bytes


class IdempotencyCache:
    """Remembers answers by their idempotency key.

    Args:
        seconds: How long.
        clock: Seconds, never backwards.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[IdempotencyKey, Kept] = OrderedDict()
        self._bytes = 0

    def begin(self, cache_key: IdempotencyKey, path: str, body: bytes) -> Kept | None:
        """The earlier answer, or `None`: then this is the first try, and `recording` or `forget` ends it.

        Raises:
            RequestError: 409 while the first try is under way; 422 if it asked something else.
        """
        self._expire()
        asked = hashlib.sha256(path.encode() + b"\0" + body).digest()
        kept = self._kept.get(cache_key)
        if kept is None:
            self._kept[cache_key] = Kept(asked, self._clock() + self._seconds)
            return None
        if kept.asked != asked:
            raise RequestError(422, "this idempotency key was used for another request", code="idempotency_key_reused")
        if not kept.status:
            headers = {"retry-after": "1"}
            raise RequestError(409, "the first try is still under way", code="idempotency_conflict", headers=headers)
        return kept

    def forget(self, cache_key: IdempotencyKey) -> None:
        """The try failed: its retry is a new request."""
        kept = self._kept.pop(cache_key, None)
        self._bytes -= len(kept.body) if kept else 0

    def give_up(self, cache_key: IdempotencyKey) -> None:
        """The try brought nothing to keep; what was kept before stays."""
        kept = self._kept.get(cache_key)
        if kept is not None and not kept.status:
            self.forget(cache_key)

    def keep(self, cache_key: IdempotencyKey, status: int, headers: Headers, body: bytes) -> None:
        """The try has its answer."""
        first = self._kept.get(cache_key)
        if first is None or first.status:
            return
        self._kept[cache_key] = first._replace(status=status, headers=headers, body=body)
        self._bytes += len(body)
        while self._bytes > MAX_TOTAL:
            self.forget(next(iter(self._kept)))

    def recording(self, cache_key: IdempotencyKey, answer: ASGIApp) -> ASGIApp:
        """The same answer, kept if it succeeds whole, forgotten if not."""
        return _Recording(self, cache_key, answer)

    def _expire(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self.forget(next(iter(self._kept)))


class _Recording:
    """Looks at an answer as it passes."""

    def __init__(self, cache: IdempotencyCache, cache_key: IdempotencyKey, answer: ASGIApp) -> None:
        self._cache = cache
        self._cache_key = cache_key
        self._answer = answer
        self._status, self._headers, self._body = 0, Headers(), bytearray()
        self._whole = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def passing(message: Message) -> None:
            self._look(message)
            await send(message)

        try:
            await self._answer(scope, receive, passing)
        finally:
            if self._whole and self._status < 300 and len(self._body) <= MAX_ANSWER:
                self._cache.keep(self._cache_key, self._status, self._headers, bytes(self._body))
            else:
                self._cache.give_up(self._cache_key)

    def _look(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
        elif len(self._body) <= MAX_ANSWER:
            self._body += message.get("body", b"")
            self._whole = not message.get("more_body", False)
