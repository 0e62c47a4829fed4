"""A teacher on a bare socket that misbehaves by script, and a gateway in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ultracore.distillation.events.opening import open_store
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.targets import Deadlines

Scene = Callable[["Stage"], Awaitable[None]]


class Stage:
    """One request as the script sees it, with what it may do to the client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
        self.reader, self.writer, self.head, self.body = reader, writer, head, body

    @property
    def streams(self) -> bool:
        return bool(json.loads(self.body).get("stream"))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def json(self, body: bytes, status: int = 200, headers: str = "") -> None:
        kind = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        await self.send(kind.encode() + body)

    async def error(self, status: int, code: str = "x", headers: str = "") -> None:
        error = {"message": f"as the teacher said: {code}", "type": "t", "param": None, "code": code}
        await self.json(json.dumps({"error": error}).encode(), status, headers)

    async def begin_stream(self, *, chunked: bool = True) -> None:
        framing = "transfer-encoding: chunked" if chunked else "connection: close"
        await self.send(f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n\r\n".encode())

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def stream(self, frames: Sequence[bytes]) -> None:
        await self.begin_stream()
        for frame in frames:
            await self.chunk(frame)
        await self.chunk(b"")

    def cut(self) -> None:
        """The connection ends without a word (FIN)."""
        self.writer.close()

    def reset(self) -> None:
        """The connection is reset (RST)."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_dropped(self) -> None:
        """Say nothing until the client goes away."""
        while await self.reader.read(65536):
            pass


class FaultyTeacher:
    """Plays one scene for each request, the last one for ever; runs on a loop and thread of its own."""

    def __init__(self, *scenes: Scene) -> None:
        self.scenes = list(scenes)
        self.requests: list[bytes] = []
        self.heads: list[bytes] = []
        self.connections = self.active = self.dropped = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FaultyTeacher:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[Any] = set()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=1 << 20, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.active += 1
        self._tasks.add(asyncio.current_task())
        try:
            while True:
                await self._one(reader, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.active -= 1
            self._tasks.discard(asyncio.current_task())
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
        body = await reader.readexactly(length)
        place = min(len(self.requests), len(self.scenes) - 1)
        self.requests.append(body)
        self.heads.append(head)
        try:
            await self.scenes[place](Stage(reader, writer, head, body))
        except ConnectionError:
            self.dropped += 1
            raise

    def wait(self, what: Callable[[], bool], within: float = 2.0) -> bool:
        until = time.monotonic() + within
        while time.monotonic() < until:
            if what():
                return True
            time.sleep(0.01)
        return False


class Scenes:
    """What a teacher may do with one request."""

    def __init__(self, fakes: Any) -> None:
        self.fakes = fakes
        self.frames = list(fakes.STREAM)

    async def ok(self, stage: Stage) -> None:
        if stage.streams:
            await stage.stream(self.frames)
        else:
            await stage.json(self.fakes.ROME)

    def status(self, status: int, code: str = "x", headers: str = "") -> Scene:
        async def play(stage: Stage) -> None:
            await stage.error(status, code, headers)

        return play

    def after(self, seconds: float) -> Scene:
        async def play(stage: Stage) -> None:
            await asyncio.sleep(seconds)
            await self.ok(stage)

        return play

    async def silent(self, stage: Stage) -> None:
        await stage.until_dropped()
        raise ConnectionResetError

    async def reset(self, stage: Stage) -> None:
        stage.reset()

    async def cut(self, stage: Stage) -> None:
        stage.cut()

    def broken_after(self, frames: Sequence[bytes], how: str) -> Scene:
        """A stream that stops: `fin`, `rst`, `stall`, or `end` (politely, but too early)."""

        async def play(stage: Stage) -> None:
            await stage.begin_stream()
            for frame in frames:
                await stage.chunk(frame)
            if how == "end":
                await stage.chunk(b"")
            elif how == "stall":
                await self.silent(stage)
            else:
                await asyncio.sleep(0.01)  # an RST overtakes what was not yet delivered
                (stage.cut if how == "fin" else stage.reset)()

        return play


class Bench:
    """A gateway in this event loop, before faulty teachers."""

    def __init__(self, fakes: Any) -> None:
        self.fakes = fakes
        self.world = fakes.World()
        self.scenes = Scenes(fakes)

    def teacher(self, *scenes: Scene) -> FaultyTeacher:
        return FaultyTeacher(*(scenes or (self.scenes.ok,)))

    @asynccontextmanager
    async def gateway(self, *urls: str, local: bool = False, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
        from ultracore.distillation.serve.upstream.targets import Target

        quick = Deadlines(connect=1.0, slot=0.5, first_byte=0.4, idle=0.4, total=3.0)
        targets = [Target(url=url, name=f"t{place}") for place, url in enumerate(urls)]
        self.upstream = Upstream(targets, seed=0, **({"deadlines": quick} | options))
        gate = {} if local else {"gate": None}
        async with self.world.client(self.upstream, **gate) as client:
            yield client

    async def ask(self, client: httpx2.AsyncClient, **changes: Any) -> httpx2.Response:
        reply = await client.post("/v1/chat/completions", json=self.fakes.chat(**changes))
        for _ in range(3):  # what follows an answer is written in the second turn of the event loop after it
            await asyncio.sleep(0)
        return reply

    def events(self, kind: str, at_least: int = 1) -> list[Any]:
        return self.world.store.of(kind, at_least=at_least)


@pytest.fixture
def bench(fakes: Any) -> Bench:
    return Bench(fakes)


@pytest.fixture
def teachers() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


class Serving:
    """`distill serve` in processes of its own."""

    PROGRAM = (sys.executable, "-c", "from ultracore.distillation.cli import main; main()")

    def __init__(self, home: Path, upstream: str | None = None, *, workers: int = 1, **env: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.home = home
        command = [*self.PROGRAM, "serve", "--port", str(self.port)]
        if upstream is not None:
            command += ["--upstream", upstream]
        if workers > 1:
            command += ["--workers", str(workers)]
        env = {**os.environ, "DISTILL_HOME": str(home), "OPENAI_API_KEY": "sk-test", **env}
        self.process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, start_new_session=True)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def ready(self, within: float = 30.0) -> Serving:
        until = time.monotonic() + within
        while time.monotonic() < until:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(self.url.replace("/v1", "/healthz"), timeout=20).status_code == 200:
                    return self
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.05)
        raise AssertionError("the gateway did not start")

    @property
    def children(self) -> list[int]:
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def stop(self, within: float = 30.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process.stderr.close()

    def events(self, *types: str) -> list[Any]:
        store = open_store(self.home)
        try:
            return list(store.read(types=types))
        finally:
            store.close()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Any]:
    started: list[Serving] = []

    def start(upstream: str | None = None, *, home: Path | None = None, **options: Any) -> Serving:
        started.append(Serving(home or tmp_path / f"home{len(started)}", upstream, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()
