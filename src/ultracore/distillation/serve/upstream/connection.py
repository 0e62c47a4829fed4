"""One HTTP/1.1 connection to a teacher: a request at a time, its reply as it comes.

Its state changes in the event loop's callbacks and in synchronous methods only, so a request that is
cancelled, even twice, leaves a connection that is either clean or closed. A slow reader stops the
teacher, not the memory. What this file does not know: retries, deadlines and what is in a reply.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

__all__ = ["Connection", "ConnectionBroken"]

HIGH_WATER = 256 * 1024
"""Bytes of a reply that wait for the client before the teacher is made to wait."""

MAX_HEAD = 64 * 1024
"""Bytes of a reply's headers; nginx sends at most 8 KiB a line."""


class ConnectionBroken(Exception):  # noqa: N818  what happened, for `upstream` to tell in its own words
    """The connection ended, or what came is not HTTP.

    Attributes:
        untouched: Whether not one byte of a reply had come on a connection used before: the server
            had closed it while it was idle, and did nothing.
    """

    def __init__(self, problem: str, *, untouched: bool = False) -> None:
        super().__init__(problem)
        self.untouched = untouched


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 as a client.

    Attributes:
        status: Of the reply under way.
        headers: Of the reply under way, names in lower case.
        complete: Whether the reply has come whole.
        until_close: Whether only the end of the connection tells the end of the reply.
        idle_since: Loop time since when it waits in a pool.
    """

    def __init__(self) -> None:
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._used = False
        self._broken: str | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self._head_size = 0
        self._head = self._touched = self._paused = False
        self._keep = False
        self.until_close = True
        self._chunks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._asked = False

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent on it."""
        transport = self._transport
        clean = self._broken is None and (self.complete or not self._asked) and not self._chunks
        return clean and transport is not None and not transport.is_closing() and (self._keep or not self._used)

    async def send(self, request: bytes) -> None:
        """Send a whole request, and wait for the head of its reply.

        Raises:
            ConnectionBroken: None came.
        """
        self._reset()
        self._asked = True
        reused, self._used = self._used, True
        if self._transport is None or self._transport.is_closing():
            raise ConnectionBroken("closed", untouched=reused)
        self._transport.write(request)
        while not self._head:
            if self._broken is not None:
                raise ConnectionBroken(self._broken, untouched=reused and not self._touched)
            await self._news()

    @property
    def waiting(self) -> bool:
        """Whether `chunk` would have to wait."""
        return not self._chunks and not self.complete and self._broken is None

    @property
    def all_read(self) -> bool:
        """Whether the reply has come whole and `chunk` has handed all of it out."""
        return self.complete and not self._chunks

    async def chunk(self) -> bytes:
        """The next bytes of the body; none at its end.

        Raises:
            ConnectionBroken: The reply ended before it was whole.
        """
        while self.waiting:
            await self._news()
        if not self._chunks:
            if self.complete:
                return b""
            raise ConnectionBroken(self._broken or "closed")
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting_bytes = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def close(self) -> None:
        """Break it off at once."""
        self._break("closed")
        if self._transport is not None:
            self._transport.abort()

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember how to write."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Parse; bytes that nobody asked for end the connection: they would be the next client's answer."""
        if not self._asked or self.complete:
            self.close()
            return
        self._touched = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
        self._wake()

    def eof_received(self) -> None:
        """Let the loop close the connection; `connection_lost` follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        """A reply without a length ends here; any other is broken."""
        if self._head and self.until_close and exc is None and self._broken is None:
            self.complete = True
            self._keep = False
        self._break("closed")

    # what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect; trailers are left out."""
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD:
            self.close()
        elif not self._head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole; a 1xx one is not the answer."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = []
            return
        self.status = status
        self._keep = self._parser.should_keep_alive()
        bodiless = status in (204, 304)
        self.until_close = not bodiless and not any(
            name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower())
            for name, value in self.headers
        )
        self._head = True

    def on_body(self, body: bytes) -> None:
        """Keep for the reader, and stop the teacher where the reader is slow."""
        if self.complete:
            return
        self._chunks.append(body)
        self._waiting_bytes += len(body)
        if self._waiting_bytes > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_begin(self) -> None:
        """A second reply to one request ends the connection."""
        if self.complete:
            self.close()

    def on_message_complete(self) -> None:
        """The reply is whole."""
        if self._head:
            self.complete = True

    def _break(self, problem: str) -> None:
        self._broken = self._broken or problem
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
