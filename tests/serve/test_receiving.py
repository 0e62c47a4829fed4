"""A message that is there is taken at once, one that is not is waited for, and none is lost in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ultracore.distillation.serve.direct import Direct
from ultracore.distillation.serve.headers import QuickHeaders
from ultracore.distillation.serve.receiving import Waiting, is_gone, take
from ultracore.distillation.serve.wire import RequestError

GONE, PART = {"type": "http.disconnect"}, {"type": "http.request", "body": b"x", "more_body": False}


class Line:
    """A client's line: what it says can be there already, or come later."""

    def __init__(self, *messages: Any) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        for message in messages:
            self.queue.put_nowait(message)

    async def receive(self) -> Any:
        return await self.queue.get()


def test_what_is_there_is_taken_without_waiting() -> None:
    async def talk() -> Any:
        return take(Line(PART).receive)

    assert asyncio.run(talk()) == PART


def test_what_is_not_there_is_waited_for_and_arrives_once() -> None:
    async def talk() -> list[Any]:
        line = Line()
        first = take(line.receive)
        assert isinstance(first, Waiting)
        asyncio.get_running_loop().call_later(0.01, line.queue.put_nowait, PART)
        line_after = await first.arrived()
        line.queue.put_nowait(GONE)
        return [line_after, await line.receive()]

    assert asyncio.run(talk()) == [PART, GONE]


def test_a_wait_ends_with_its_time() -> None:
    async def talk() -> Any:
        line = Line()
        first = take(line.receive)
        assert isinstance(first, Waiting)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await first.arrived()
        line.queue.put_nowait(PART)  # the wait that ended has not swallowed it
        return await line.receive()

    assert asyncio.run(talk()) == PART


@pytest.mark.parametrize(("said", "gone"), [((), False), ((PART,), False), ((GONE,), True), ((PART, GONE), True)])
def test_whether_a_client_is_gone_is_known_at_once(said: tuple[Any, ...], gone: bool) -> None:
    async def talk() -> bool:
        return is_gone(Line(*said).receive)

    assert asyncio.run(talk()) is gone


def test_only_the_post_goes_straight_and_its_error_becomes_a_reply() -> None:
    seen: list[str] = []

    def answering(name: str) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(name)

        return app

    async def endpoint(request: Any) -> Any:
        if request.scope["query_string"]:
            raise RequestError(400, "no")
        return answering("endpoint")

    async def on_error(request: Any, error: Exception) -> Any:
        return answering(f"error {error}")

    direct = Direct(answering("router"), {"/hot": endpoint}, on_error)

    async def ask() -> None:
        for method, path, query in [
            ("POST", "/hot", b""), ("GET", "/hot", b""), ("POST", "/cold", b""), ("POST", "/hot", b"x"),
        ]:  # fmt: skip
            scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": []}
            await direct(scope, Line().receive, answering("never"))
        await direct({"type": "lifespan"}, Line().receive, answering("never"))

    asyncio.run(ask())
    assert seen == ["endpoint", "router", "router", "error no", "router"]


def test_of_a_header_that_came_twice_the_first_counts() -> None:
    headers = QuickHeaders({"headers": [(b"host", b"a"), (b"x", b"\xe9"), (b"host", b"b")]})
    assert (headers.get("host"), headers.get("x"), headers.get("none", "d")) == ("a", "\xe9", "d")
    assert [value for name, value in headers.raw if name == b"host"] == [b"a", b"b"]
