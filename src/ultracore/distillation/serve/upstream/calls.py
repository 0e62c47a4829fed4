"""What is asked of a teacher, what comes back, and what each attempt came to.

What this file does not know: servers, deadlines and retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import msgspec

from ultracore.distillation.serve.upstream.connection import Connection, ConnectionBroken
from ultracore.distillation.serve.wire import RequestError

__all__ = ["Attempt", "AttemptError", "Call", "TeacherReply", "UpstreamBroken"]

REPEATABLE = frozenset({"chat/completions", "embeddings", "messages", "responses"})
"""Paths that change nothing on the server: asking twice costs, and does no other harm."""

NOT_RELAYED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"date",
        b"server",
    }
)
"""Response headers that belong to the connection with the teacher, not to its answer."""


class UpstreamBroken(Exception):  # noqa: N818  not an error of ours: the reply broke off
    """The teacher's reply broke off after its first byte."""


class AttemptError(RequestError):
    """An attempt brought no reply.

    Attributes:
        elsewhere: Whether another server may be asked.
        again: Whether the same server may be asked.
    """

    def __init__(self, status: int, message: str, code: str, *, again: bool = False, elsewhere: bool = True) -> None:
        super().__init__(status, message, code=code, headers={"retry-after": "1"} if status == 503 else None)
        self.again = again
        self.elsewhere = elsewhere


class Call(NamedTuple):
    """What goes to the teacher.

    Attributes:
        method: Of HTTP.
        path: Below the base URL.
        headers: The client's.
        body: As it came.
        query: As it came.
        model: The model asked for; "" where the path names none.
        tenant: Who asks.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    query: str = ""
    model: str = ""
    tenant: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether it may be asked again although the server may have begun to answer."""
        return self.method == "GET" or self.path in REPEATABLE


class Attempt(msgspec.Struct, kw_only=True):
    """One request to one server.

    Attributes:
        upstream: Name of the server.
        number: From 1, within one chain of attempts.
        status: How it ended: `ok`, `error`, `timeout`, `cancelled` or `truncated`.
        http_status: Of the reply; `None` if none began.
        error: Why there is no whole reply, in our own words.
        sent: Whether the request left for the server, which may then have cost something.
        started: `time.perf_counter()`.
        duration_ms: Until its end.
    """

    upstream: str
    number: int
    status: str = "cancelled"
    http_status: int | None = None
    error: str | None = None
    sent: bool = False
    started: float
    duration_ms: float = 0.0


class TeacherReply(NamedTuple):
    """A reply whose first bytes are there.

    Attributes:
        status: HTTP status.
        headers: Those for the client, names in lower case.
        first: The first bytes of the body; none if it is empty.
        connection: Where the rest comes from.
        idle_seconds: Longest wait for the next piece.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    first: bytes
    connection: Connection
    idle_seconds: float

    @property
    def all_here(self) -> bool:
        """Whether the bytes handed out so far are the whole body."""
        return self.connection.all_read

    @property
    def has_length(self) -> bool:
        """Whether its end is told by HTTP, not by the end of the connection."""
        return not self.connection.until_close

    def header(self, name: bytes) -> bytes:
        """The first value of a header; empty where there is none."""
        return next((value for key, value in self.headers if key == name), b"")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as they come.

        Raises:
            UpstreamBroken: They ended too early, or nothing came for too long.
        """
        chunk = self.first
        while chunk:
            yield chunk
            try:
                chunk = await self._next()
            except ConnectionBroken:
                raise UpstreamBroken("the connection ended") from None
            except TimeoutError:
                raise UpstreamBroken("nothing came for too long") from None

    async def _next(self) -> bytes:
        if not self.connection.waiting:  # a deadline costs more than a piece that is here already
            return await self.connection.chunk()
        async with asyncio.timeout(self.idle_seconds):
            return await self.connection.chunk()


def reply_on(connection: Connection, first: bytes, idle_seconds: float) -> TeacherReply:
    """The reply under way on a connection, with those of its headers that are the client's."""
    headers = [(k, v) for k, v in connection.headers if k not in NOT_RELAYED and not k.startswith(b"x-distill-")]
    return TeacherReply(connection.status, headers, first, connection, idle_seconds)
