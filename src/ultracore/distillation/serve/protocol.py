"""How long a client may take to ask, and the short way for requests that came whole.

The head of a request comes within seconds and is of a bounded size: uvicorn waits for ever for a head that trickles
in and for a connection that never says anything; a few hundred of those would hold a server's sockets for nothing.
Where head and body came in one piece and the endpoint is one of those asked most, the same application is called past
the router, and an answer that is whole is written in one piece (`whole.py`). What this file does not know: bodies that
take their time (`guard.read_body` bounds those), and what is asked.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ultracore.distillation.serve.whole import Front, Whole, front_of, takes
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
    _head_came = False
    _refused = False
    _reading = False
    _held: RequestResponseCycle | None = None
    _front: Front | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        self._front = front_of(self.app)
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
        waiting = self._deadline is not None
        begins = not waiting and (self.cycle is None or not self.cycle.more_body)
        self._head_came, self._reading = False, True
        super().data_received(data)
        self._reading = False
        if self._held is not None:
            self._let_go()
        if (waiting or begins) and not self._head_came and not self._refused:
            self._part_of_a_head(len(data), first=begins)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_came = True
        self._disarm()
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Have a request answered; one that may take the short way is held until it is known to be whole."""
        front = self._front
        if front is None or not takes(front, cycle):
            super()._start_asgi_task(cycle, app)
        elif not cycle.more_body:
            self._start_whole(cycle, front)
        elif self._reading:
            self._held = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        if self._held is not None:
            self._let_go()

    def _let_go(self) -> None:
        """All of this piece was read: the held request came whole with it, or its body is waited for."""
        cycle, self._held = self._held, None
        if cycle is None or self._refused:
            return
        front = None if cycle.more_body else self._front
        if front is None:
            super()._start_asgi_task(cycle, self.app)
        else:
            self._start_whole(cycle, front)

    def _start_whole(self, cycle: RequestResponseCycle, front: Front) -> None:
        application: Any = Whole(front, cycle, self.flow)
        super()._start_asgi_task(cycle, application)

    def on_response_complete(self) -> None:
        """A reply to a request that has not come whole is the last: what comes still is not a next request."""
        if self.cycle.more_body and not self.pipeline:  # else it was one before it that was answered
            self._refused = True
            self.flow.resume_reading()
            self.loop.call_later(DRAIN_SECONDS, self.transport.abort)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """As all errors: in OpenAI's shape."""
        if not self._refused:
            self._refuse(RequestError(400, "this is not an HTTP request", code="invalid_http"))

    def _part_of_a_head(self, size: int, *, first: bool) -> None:
        if first:
            self._arm()
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD:
            self._refuse(RequestError(431, "the head of the request is too large", code="head_too_large"))

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
