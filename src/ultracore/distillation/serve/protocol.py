"""How long a client may take to ask: the head of a request within seconds, and of a bounded size.

uvicorn waits for ever for a head that trickles in and for a connection that never says anything; a
few hundred of those would hold a server's sockets for nothing. What this file does not know: bodies
(`guard.read_body` bounds those), and what is asked.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ultracore.distillation.serve.wire import RequestError

__all__ = ["BoundedProtocol"]

HEAD_SECONDS = 10.0
"""From the connection, or the first byte of a later request, to the end of the head."""

READ_SECONDS = 0.25

MAX_HEAD = 64 * 1024
"""Bytes of method, path and headers; nginx takes 32 KiB."""

DRAIN_SECONDS = 1.0
"""A connection closed while data comes in is reset, and the client never reads why: take in a little first."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a deadline and a size for the head of each request."""

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on, as long as the head is not too large."""
        if self._refused:
            return
        if self._deadline is None and (self.cycle is None or not self.cycle.more_body):
            self._arm()  # the first bytes of another request
        super().data_received(data)
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(RequestError(431, "the head of the request is too large", code="head_too_large"))

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._disarm()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A reply to a request that has not come whole is the last: what comes still is not a next request."""
        if self.cycle.more_body:
            self._refused = True
            self.flow.resume_reading()
            self.loop.call_later(DRAIN_SECONDS, self.transport.abort)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """As all errors: in OpenAI's shape."""
        if not self._refused:
            self._refuse(RequestError(400, "this is not an HTTP request", code="invalid_http"))

    def _arm(self) -> None:
        self._head_bytes = 0
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        """What came while the event loop was busy elsewhere is read before a timer may close the connection."""
        self._deadline = self.loop.call_later(READ_SECONDS, self._still_nothing)

    def _still_nothing(self) -> None:
        self._deadline = None
        if self._head_bytes:
            self._refuse(RequestError(408, "the request did not arrive in time", code="request_timeout"))
        else:
            self.transport.close()

    def _refuse(self, error: RequestError) -> None:
        self._refused = True
        self._disarm()
        if not self.transport.is_closing():
            self.transport.write(_reply(error))
            self.loop.call_later(DRAIN_SECONDS, self.transport.abort)


def _reply(error: RequestError) -> bytes:
    head = f"HTTP/1.1 {error.status} Refused\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(error.body)}\r\n\r\n".encode() + error.body
