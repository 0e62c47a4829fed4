"""Clients that send too slowly or too much: bounded in time and memory, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ultracore.distillation.serve import guard, protocol
from ultracore.distillation.serve.upstream import Upstream

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1].split("/")[0])


async def trickle(port: int, kind: str) -> float:
    """Seconds until the server closes a connection on which a byte comes now and then, or none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    if kind == "body":
        writer.write(HEAD + b"content-length: 100000\r\n\r\n{")
    closed = asyncio.create_task(reader.read(-1))
    while not closed.done():
        if kind != "silent":
            writer.write(b"x" if kind == "body" else b"G")
        await asyncio.wait({closed}, timeout=0.1)
    took = time.monotonic() - began
    closed.exception()
    writer.transport.abort()
    return took


async def healthy(client: httpx2.AsyncClient, fakes: Any, until: asyncio.Event) -> list[float]:
    took = []
    while not until.is_set():
        began = time.monotonic()
        assert (await client.post("/chat/completions", json=fakes.chat())).status_code == 200
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.02)
    return took


def loris(bench: Any, fakes: Any, count: int, longest: float) -> None:
    async def go(url: str) -> tuple[list[float], list[float]]:
        done = asyncio.Event()
        async with httpx2.AsyncClient(base_url=url, timeout=20) as client:
            others = asyncio.create_task(healthy(client, fakes, done))
            kinds = ["head", "body", "silent"] * (count // 3)
            took = await asyncio.gather(*(trickle(port_of(url), kind) for kind in kinds))
            done.set()
            return took, await others

    with fakes.Running(bench.world.app(None)) as url:
        took, others = asyncio.run(go(url))
    assert max(took) <= longest
    assert min(took) > 0.5
    assert len(others) > 10


def test_connections_that_trickle_are_closed(bench: Any, fakes: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.8)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.8)
    loris(bench, fakes, 60, longest=3.0)


@pytest.mark.slow
def test_three_hundred_connections_of_each_kind_are_closed_within_fifteen_seconds(bench: Any, fakes: Any) -> None:
    loris(bench, fakes, 900, longest=15.0)


def test_a_later_request_on_a_connection_has_its_deadline_too(bench: Any, fakes: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)

    async def go(port: int) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await reader.readuntil(b"}")
        await asyncio.sleep(0.8)  # idle is no crime
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await reader.readuntil(b"}")
        writer.write(b"GET /heal")
        began = time.monotonic()
        rest = await reader.read(-1)
        assert b" 408 " in rest
        writer.transport.abort()
        return time.monotonic() - began

    with fakes.Running(bench.world.app(None)) as url:
        assert 0.4 < asyncio.run(go(port_of(url))) < 4.0


def rss() -> int:
    """Bytes that this process, which the gateway runs in, has resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def pour(port: int, head: bytes, pieces: Any) -> bytes:
    """Send until the server has had enough; returns what it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(listen(reader))
    writer.write(head)
    try:
        async for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if answer.done():
                break
    except ConnectionError:
        pass
    try:
        return await asyncio.wait_for(answer, 20)
    finally:
        writer.transport.abort()


async def listen(reader: asyncio.StreamReader) -> bytes:
    """What is said until the connection ends, however it ends."""
    heard = b""
    try:
        while data := await reader.read(65536):
            heard += data
    except ConnectionError:
        pass
    return heard


async def chunks(total: int) -> AsyncIterator[bytes]:
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    for _ in range(total // 65536):
        yield piece


async def headers(total: int) -> AsyncIterator[bytes]:
    for number in range(total // 1000):
        yield b"x-%d: %s\r\n" % (number, b"v" * 980)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("what", "status"), [("1 GB, chunked", b" 413 "), ("10 MB of headers", b" 431 "), ("a 1 MB path", b" 431 ")]
)
def test_what_is_too_large_is_refused_without_being_kept(bench: Any, fakes: Any, what: str, status: bytes) -> None:
    async def go(port: int) -> bytes:
        if what == "1 GB, chunked":
            return await pour(port, HEAD + b"transfer-encoding: chunked\r\n\r\n", chunks(2**30))
        if what == "10 MB of headers":
            return await pour(port, HEAD, headers(10**7))
        return await pour(port, b"GET /v1/" + b"x" * 1_000_000, headers(0))

    with fakes.Running(bench.world.app(None)) as url:
        httpx2.post(f"{url}/chat/completions", json=fakes.chat())
        before = rss()
        answer = asyncio.run(go(port_of(url)))
        assert status in answer
        assert set(json.loads(answer.split(b"\r\n\r\n", 1)[1])) == {"error"}
        assert rss() - before < 30 * 2**20
        assert httpx2.post(f"{url}/chat/completions", json=fakes.chat()).status_code == 200


def test_a_gzip_bomb_is_not_opened(bench: Any, fakes: Any) -> None:
    bomb = gzip.compress(b" " * 200_000_000, 9)
    with fakes.Running(bench.world.app(None)) as url:
        before = rss()
        reply = httpx2.post(
            f"{url}/chat/completions",
            content=bomb,
            headers={"content-encoding": "gzip", "content-type": "application/json"},
        )
        assert (reply.status_code, set(reply.json())) == (415, {"error"})
        assert rss() - before < 30 * 2**20


def test_a_large_but_honest_request_is_answered(bench: Any, fakes: Any, teachers: Any) -> None:
    teacher = teachers.enter_context(bench.teacher())
    many = [
        {
            "type": "function",
            "function": {
                "name": f"tool_{n}",
                "description": "d" * 7500,
                "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
            },
        }
        for n in range(126)
    ]
    body = json.dumps(fakes.chat(tools=[*fakes.TOOLS, *many])).encode()
    assert len(body) > 900_000
    with fakes.Running(bench.world.app(Upstream(teacher.url))) as url:
        reply = httpx2.post(
            f"{url}/chat/completions", content=body, headers={"content-type": "application/json"}, timeout=20
        )
    assert (reply.status_code, reply.content) == (200, fakes.ROME)
    assert teacher.requests == [body]


def test_what_is_no_http_gets_an_error_in_openais_shape(bench: Any, fakes: Any) -> None:
    async def go(port: int) -> bytes:
        return await pour(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", headers(0))

    with fakes.Running(bench.world.app(None)) as url:
        answer = asyncio.run(go(port_of(url)))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "invalid_http"
