"""An answer that is sent piece by piece: its head waits for its first bytes, and for nothing else."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ultracore.distillation.serve.whole import Sender

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}


class Transport:
    """Remembers what is done with it."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("closed")


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sent(*messages: dict[str, Any], keep_alive: bool = True) -> list[bytes | str]:
    transport: Any = Transport()

    async def go() -> None:
        flow, log = FlowControl(transport), logging.getLogger("uvicorn.error")
        scope: Any = {"type": "http", "method": "POST", "path": "/"}
        said = asyncio.Event()
        cycle = RequestResponseCycle(
            scope, transport, flow, log, log, False, [], said, False, keep_alive, lambda: None
        )  # fmt: skip
        send = Sender(cycle, flow)
        for message in messages:
            await send(message)
        await send.flush()
        assert cycle.transport is transport

    asyncio.run(go())
    return transport.done


def test_a_head_leaves_with_the_first_bytes_and_later_ones_at_once() -> None:
    first, *later = sent(START, body(b"ab", more=True), body(b"c", more=True), body(b"d"))
    assert isinstance(first, bytes)
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\nab")
    assert later == [b"c", b"d"]


def test_a_head_that_nothing_follows_leaves_at_the_end() -> None:
    (head,) = sent(START)
    assert isinstance(head, bytes)
    assert head.endswith(b"\r\n\r\n")


def test_an_answer_leaves_before_its_connection_is_closed() -> None:
    written, *rest = sent(START, body(b"abcd"), keep_alive=False)
    assert isinstance(written, bytes)
    assert written.endswith(b"abcd")
    assert rest == ["closed"]
