"""The teacher's answer, passed on byte for byte, and written down exactly once however it ends.

A client that hangs up ends the teacher's work. An answer that breaks off is never made to look whole:
a stream gets an error event where one can be placed, else the connection is closed. What this file
does not know: why the teacher answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import httpx2
from starlette.types import Receive, Scope, Send

from ultracore.distillation.serve.dialect import CHAT
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.replies import Reader
from ultracore.distillation.serve.upstream import Upstream, UpstreamBroken, chunks, relayed_headers
from ultracore.distillation.serve.wire import RequestError

__all__ = ["Call", "Relay", "hung_up"]

DEADLINE_SECONDS = 600.0
"""For a whole answer; the OpenAI client's own default."""


class Call(NamedTuple):
    """What goes to the teacher: method, path below the base URL, the client's headers, body and query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    query: str = ""


class Relay:
    """A response that comes from the teacher.

    Args:
        upstream: The teacher's server.
        call: What to ask.
        journal: Where the outcome is written.
        exchange: The chat request that this answers; `None` for paths that hold no decision.
    """

    def __init__(self, upstream: Upstream, call: Call, journal: Journal, exchange: Exchange | None = None) -> None:
        self._upstream = upstream
        self._call = call
        self._journal = journal
        self._exchange = exchange
        self._reader: Reader | None = None
        self._started = False
        self._status, self._error = "error", "the gateway failed"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI."""
        answering = asyncio.create_task(self._answer(send))
        hanging_up = asyncio.create_task(hung_up(receive))
        try:
            await asyncio.wait({answering, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            try:
                await self._stop(answering, hanging_up)
            finally:
                self._record()
        if not answering.cancelled():
            answering.result()

    async def _stop(self, answering: asyncio.Task[None], hanging_up: asyncio.Task[None]) -> None:
        if not answering.done():
            # clients close as soon as they have seen the last event, without waiting for the connection's end
            whole = self._reader is not None and self._reader.reply.finished
            self._end("ok" if whole else "cancelled", "" if whole else "the client hung up")
            answering.cancel()
        hanging_up.cancel()
        await asyncio.gather(answering, hanging_up, return_exceptions=True)

    async def _answer(self, send: Send) -> None:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), self._upstream.send(*self._call) as response:
                await self._pass_on(response, send)
        except TimeoutError:
            await self._fail(RequestError(504, "the teacher did not answer in time", code="upstream_timeout"), send)
        except UpstreamBroken as broken:
            await self._fail(RequestError(502, f"the teacher's reply broke off ({broken})", code="truncated"), send)
        except RequestError as error:
            await self._fail(error, send)

    async def _pass_on(self, response: httpx2.Response, send: Send) -> None:
        dialect = CHAT if self._exchange is None else self._exchange.dialect
        self._reader = reader = dialect.reader(stream=_is_stream(response))
        headers = relayed_headers(response)
        if reader.stream:  # its length is no longer known: an error event may have to follow
            headers = [(name, value) for name, value in headers if name != b"content-length"]
        await self._start(response.status_code, headers, send)
        try:
            async for chunk in chunks(response):
                if self._exchange is not None:
                    reader.feed(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except UpstreamBroken:
            if not (reader.stream and reader.reply.finished):  # all that was lost is the end mark
                raise
        if response.status_code >= 400:
            self._end("error", f"the teacher answered with status {response.status_code}")
        elif self._exchange is not None and reader.stream and not reader.reply.finished:
            raise UpstreamBroken(reader.reply.problem)
        else:
            self._end("ok", reader.reply.problem)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        own = {} if self._exchange is None else self._exchange.headers
        headers = headers + [(name.encode(), value.encode("latin-1")) for name, value in own.items()]
        self._started = True
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _fail(self, error: RequestError, send: Send) -> None:
        """Before the first byte: an error reply. After it: an error event, or a connection that breaks off."""
        self._end("truncated" if self._started else "error", error.message)
        if not self._started:
            headers = {"content-type": "application/json", **error.headers}
            await self._start(error.status, [(k.encode(), v.encode()) for k, v in headers.items()], send)
            await send({"type": "http.response.body", "body": error.body, "more_body": False})
        elif self._reader is not None and self._reader.stream and self._reader.at_line_end:
            event = b"\ndata: " + error.body + b"\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": False})
        # else: the server closes a connection whose response was not completed, and the client sees it broken

    def _end(self, status: str, error: str) -> None:
        self._status, self._error = status, error

    def _record(self) -> None:
        if self._exchange is None:
            return
        reply = None if self._reader is None else self._reader.reply
        outcome = self._exchange.outcome(self._status, self._error or None, None if reply is None else reply.usage)
        if reply is not None and reply.calls is not None and self._status == "ok":
            self._journal.later(self._exchange.teacher_decision(reply), outcome)
        else:
            self._journal.later(outcome)


async def hung_up(receive: Receive) -> None:
    """Return once the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _is_stream(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/event-stream")
