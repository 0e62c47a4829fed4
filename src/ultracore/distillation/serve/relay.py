"""The teacher's answer, passed on byte for byte, and written down exactly once however it ends.

A client that hangs up ends the teacher's work. An answer that breaks off is never made to look whole:
a stream gets an error event where one can be placed, else the connection is closed. What this file
does not know: why the teacher answers.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from ultracore.distillation.serve.dialect import CHAT
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.receiving import hung_up
from ultracore.distillation.serve.replies import Reader, Reply
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.attempts import asked, total
from ultracore.distillation.serve.upstream.calls import Attempt, Call, TeacherReply, UpstreamBroken
from ultracore.distillation.serve.wire import RequestError

__all__ = ["Call", "Relay"]

LAST_WORD_SECONDS = 2.0
"""For an error to reach a client that may not be reading."""


class Relay:
    """A response that comes from the teacher.

    Args:
        upstream: The teacher's servers.
        call: What to ask.
        journal: Where attempts and outcome are written.
        exchange: The chat request that this answers; `None` for paths that hold no decision.
    """

    def __init__(self, upstream: Upstream, call: Call, journal: Journal, exchange: Exchange | None = None) -> None:
        self._upstream = upstream
        self._call = call
        self._journal = journal
        self._exchange = exchange
        self._attempts: list[Attempt] = []
        self._reader: Reader | None = None
        self._unsent = b""
        self._started = self._gone = self._ended = False
        self._status, self._error = "error", "the gateway failed"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI."""
        watching: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self._upstream.deadlines.total) as deadline:
                watching = asyncio.create_task(self._watch(receive, deadline))
                await self._answer(send)
        except TimeoutError:
            await self._out_of_time(send)
        except asyncio.CancelledError:
            await self._last_word(RequestError(503, "the gateway is being stopped", code="shutting_down"), send)
            raise
        finally:
            if watching is not None:
                watching.cancel()
            self._record()

    async def _watch(self, receive: Receive, deadline: asyncio.Timeout) -> None:
        """A client that is gone is a deadline that is now."""
        await hung_up(receive)
        self._gone = True
        deadline.reschedule(asyncio.get_running_loop().time())

    async def _out_of_time(self, send: Send) -> None:
        if not self._gone:
            await self._last_word(
                RequestError(504, "the teacher did not answer in time", code="upstream_timeout"), send
            )
        elif not self._ended:
            # clients close as soon as they have seen the last event, without waiting for the connection's end
            whole = self._reader is not None and self._reader.reply.finished
            self._end("ok" if whole else "cancelled", "" if whole else "the client hung up")

    async def _last_word(self, error: RequestError, send: Send) -> None:
        if not self._ended:
            self._end("truncated" if self._started else "error", error.message)
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await self._fail(error, send)

    async def _answer(self, send: Send) -> None:
        try:
            async with self._upstream.ask(self._call, self._attempts) as reply:
                await self._pass_on(reply, send)
        except UpstreamBroken as broken:
            await self._fail(RequestError(502, f"the teacher's reply broke off ({broken})", code="truncated"), send)
        except RequestError as error:
            await self._fail(error, send)

    async def _pass_on(self, reply: TeacherReply, send: Send) -> None:
        dialect = CHAT if self._exchange is None else self._exchange.dialect
        self._reader = reader = dialect.reader(stream=reply.header(b"content-type").startswith(b"text/event-stream"))
        readable = self._exchange is not None and reply.header(b"content-encoding") in (b"", b"identity")
        headers = reply.headers
        if reader.stream:  # its length is no longer known: an error event may have to follow
            headers = [(name, value) for name, value in headers if name != b"content-length"]
        await self._start(reply.status, headers, send)
        try:
            async for chunk in reply.chunks():
                if readable:
                    reader.feed(chunk)
                if reply.all_here:  # goes out together with the end, or with the error that follows it
                    self._unsent = chunk
                else:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except UpstreamBroken:
            if not (reader.stream and reader.reply.finished):  # all that was lost is the end mark
                raise
        self._conclude(reply, reader.reply if readable else None)
        last, self._unsent = self._unsent, b""
        await send({"type": "http.response.body", "body": last, "more_body": False})

    def _conclude(self, reply: TeacherReply, said: Reply | None) -> None:
        if reply.status >= 400:
            self._end("error", f"the teacher answered with status {reply.status}")
        elif said is None:
            self._end("ok", "")
        elif not said.finished and (self._streams or not reply.has_length):
            raise UpstreamBroken(said.problem)
        else:
            self._end("error" if said.malformed else "ok", said.problem)

    @property
    def _streams(self) -> bool:
        return self._reader is not None and self._reader.stream

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
            await send({"type": "http.response.body", "body": error.body_at(self._call.path), "more_body": False})
        elif self._reader is not None and self._streams and self._reader.at_line_end:
            event = self._unsent + b"\n" + error.event_at(self._call.path)
            await send({"type": "http.response.body", "body": event, "more_body": False})
        # else: the server closes a connection whose response was not completed, and the client sees it broken

    def _end(self, status: str, error: str) -> None:
        self._status, self._error, self._ended = status, error, True

    def _record(self) -> None:
        if self._exchange is None:
            return
        reply = None if self._reader is None else self._reader.reply
        usage = None if reply is None else reply.usage
        events = asked(self._exchange, "answer", self._attempts, usage, self._upstream.prices)
        outcome = self._exchange.outcome(self._status, self._error or None, total(events))
        if reply is not None and reply.calls is not None and self._status == "ok":
            self._journal.later(self._exchange.teacher_decision(reply), *events, outcome)
        else:
            self._journal.later(*events, outcome)
