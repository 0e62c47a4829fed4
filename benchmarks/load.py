"""A load generator: whole requests over kept connections, as fast as they are answered or at a fixed rate.

At a fixed rate a request is timed from the moment at which it was due, not from that at which a connection
became free, so that a stall counts for everybody who waited through it. What this file does not
know: what is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import httptools
import uvloop

__all__ = ["KEY", "Answer", "Load", "post", "run_load"]


KEY = "sk-benchmark-9f2c4e7a1b6d8035"
"""LiteLLM's proxy does not start without a key that looks like one; the gateway on loopback needs none."""


class Answer(NamedTuple):
    """What came back: which request it answers, its status, who answered, the body, and the milliseconds.

    Attributes:
        milliseconds: Since it was due.
        once_sent: Milliseconds since it was sent.
    """

    request: int
    status: int
    source: bytes
    body: bytes
    milliseconds: float
    once_sent: float


class Load(NamedTuple):
    """What a run gave: the answers, and how long it took in all."""

    answers: list[Answer]
    seconds: float


def post(body: bytes, path: str = "/v1/chat/completions") -> bytes:
    """A request as bytes."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nauthorization: Bearer {KEY}\r\n"
    )
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def run_load(
    port: int, requests: Sequence[bytes], order: Sequence[int], *, connections: int, rate: float | None = None
) -> Load:
    """Send `requests[i]` for each i of `order`.

    Args:
        port: On this machine.
        requests: Whole HTTP requests.
        order: Which of them, one after the other.
        connections: Kept open; each has one request under way at most.
        rate: Requests a second; as fast as they are answered by default.
    """
    return uvloop.run(_Run(port, requests, order, connections, rate).all())


class _Run:
    def __init__(
        self, port: int, requests: Sequence[bytes], order: Sequence[int], connections: int, rate: float | None
    ) -> None:
        self._port, self._requests, self._order, self._rate = port, requests, order, rate
        self._connections = connections
        self._free: deque[_Connection] = deque()
        self._due: deque[tuple[int, float]] = deque()
        self._answers: list[Answer] = []

    async def all(self) -> Load:
        loop = asyncio.get_running_loop()
        self._finished = loop.create_future()
        for _ in range(self._connections):
            _, connection = await loop.create_connection(lambda: _Connection(self._answered), "127.0.0.1", self._port)
            self._free.append(connection)
        began = time.perf_counter()
        if self._rate is None:
            self._due.extend((request, 0.0) for request in self._order)
            self._feed()
        else:
            await self._paced(self._rate)
        await self._finished
        took = time.perf_counter() - began
        for connection in self._free:
            connection.close()
        return Load(self._answers, took)

    async def _paced(self, rate: float) -> None:
        began, sent = time.perf_counter(), 0
        while sent < len(self._order):
            now = time.perf_counter()
            while sent < len(self._order) and began + sent / rate <= now:
                self._due.append((self._order[sent], began + sent / rate))
                sent += 1
            self._feed()
            await asyncio.sleep(0.001)

    def _feed(self) -> None:
        while self._due and (connection := self._newest()) is not None:
            request, due = self._due.popleft()
            connection.ask(self._requests[request], request, due or time.perf_counter())

    def _newest(self) -> _Connection | None:
        """The one used last: the server closes those that have been idle for seconds."""
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed:
                return connection
        return None

    def _answered(self, connection: _Connection, answer: Answer) -> None:
        self._answers.append(answer)
        self._free.append(connection)
        self._feed()
        if len(self._answers) == len(self._order):
            self._finished.set_result(None)


class _Connection(asyncio.Protocol):
    def __init__(self, answered: Callable[[_Connection, Answer], None]) -> None:
        self._answered = answered
        self._request, self._due, self._sent = -1, 0.0, 0.0
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self, data: bytes, request: int, due: float) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._request, self._due, self._body, self._source = request, due, bytearray(), b""
        self._sent = time.perf_counter()
        self._transport.write(data)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self._request >= 0:
            raise RuntimeError(f"the server closed the connection during request {self._request}: {exc}")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-distill-source":
            self._source = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        since_due, since_sent = (1000.0 * (time.perf_counter() - began) for began in (self._due, self._sent))
        status = self._parser.get_status_code()
        answer = Answer(self._request, status, self._source, bytes(self._body), since_due, since_sent)
        self._request = -1
        self._answered(self, answer)

    def close(self) -> None:
        self._transport.close()
