"""Requests that came whole, asked of the application past Starlette; its whole answers are written in one piece.

Guard, endpoint and answer are those that every other request meets: what is left out is the router, the two
messages of a body and the two of an answer, and a search through our own headers for what no header may hold. What
this file does not know: what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ultracore.distillation.serve.guard import error_response
from ultracore.distillation.serve.headers import lines_of
from ultracore.distillation.serve.recall import Heads, Recall
from ultracore.distillation.serve.wire import RequestError

__all__ = ["Front", "Whole", "front_of", "takes"]


class Front(NamedTuple):
    """Where whole requests go.

    Attributes:
        app: Guard and endpoints.
        posts: The paths that it answers to `POST`.
        recall: Answers what is known by heart.
        heads: Of requests that were asked before.
    """

    app: ASGIApp
    posts: Collection[str]
    recall: Recall
    heads: Heads


def front_of(app: Any) -> Front | None:
    """The front of a gateway; `None` where something else was put before it, which must not be passed by."""
    if not isinstance(app, Starlette) or len(app.user_middleware) != 1:
        return None
    found: Front | None = getattr(app.state, "front", None)
    return found


def takes(front: Front, cycle: RequestResponseCycle) -> bool:
    """Whether a request may take the short way."""
    scope = cycle.scope
    return scope["path"] in front.posts and scope["method"] == "POST" and not cycle.waiting_for_100_continue


class Whole:
    """The application for one whole request.

    Args:
        front: Who answers.
        cycle: The request.
        flow: Of its connection.
    """

    __slots__ = ("_cycle", "_flow", "_front")

    def __init__(self, front: Front, cycle: RequestResponseCycle, flow: FlowControl) -> None:
        self._front = front
        self._cycle = cycle
        self._flow = flow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI."""
        scope["distill.body"] = bytes(self._cycle.body)
        sender = Sender(self._cycle, self._flow)
        try:
            try:
                await self._front.app(scope, receive, sender)
            finally:
                await sender.flush()
        except Exception:
            if not self._cycle.response_started:
                failed = RequestError(500, "the gateway failed; its log says more", code="internal_error")
                await error_response(failed, scope["path"])(scope, receive, send)
            raise


class _Cork:
    """Stands for a transport while head and first bytes of an answer are written, which leave in one piece."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._written.append(data)

    def close(self) -> None:
        self.pull()
        self._transport.close()

    def pull(self) -> None:
        written, self._written = self._written, []
        if written:
            self._transport.write(b"".join(written))


class Sender:
    """`send` of ASGI, and a way to send an answer in one piece.

    The head of an answer waits for its first bytes: each write is a system call, and wakes the client.
    """

    __slots__ = ("_cycle", "_flow", "_head")

    def __init__(self, cycle: RequestResponseCycle, flow: FlowControl) -> None:
        self._cycle = cycle
        self._flow = flow
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._head is None:
            self._head = message
        elif self._head is None:
            await self._cycle.send(message)  # type: ignore[arg-type]
        else:
            await self._with_head(message)

    async def flush(self) -> None:
        """Send a head that no bytes followed."""
        head, self._head = self._head, None
        if head is not None:
            await self._cycle.send(head)  # type: ignore[arg-type]

    async def _with_head(self, message: Message) -> None:
        transport = self._cycle.transport
        self._cycle.transport = cork = _Cork(transport)  # type: ignore[assignment]
        try:
            await self.flush()
            await self._cycle.send(message)  # type: ignore[arg-type]
        finally:
            self._cycle.transport = transport
            cork.pull()

    def whole(self, lines: bytes, body: bytes) -> bool | None:
        """Send status 200, header lines of our own (`content-length` among them) and a body.

        Returns:
            Whether the client was still there; `None` where it must be sent piece by piece.
        """
        cycle = self._cycle
        if cycle.disconnected:
            return False
        if not cycle.keep_alive or self._flow.write_paused:
            return None
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(b"HTTP/1.1 200 OK\r\n%s%s\r\n%s" % (lines_of(cycle.default_headers), lines, body))
        cycle.message_event.set()
        cycle.on_response()
        return True
