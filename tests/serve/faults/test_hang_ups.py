"""Clients that go away at any moment: the teacher's work ends, one outcome is written, no connection is lost."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from typing import Any

import httpx2
import msgspec
import pytest

from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.targets import Deadlines
from ultracore.distillation.students.base import Proposal

DECISION, OUTCOME, ATTEMPT = "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED", "UPSTREAM_ATTEMPTED"


def request(fakes: Any, text: str, *, stream: bool) -> bytes:
    body = msgspec.json.encode(fakes.chat(text, stream=stream))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"  # noqa: F541
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def hang_up(port: int, data: bytes, after: float, *, reset: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        async with asyncio.timeout(after):
            await reader.read(-1)
    except TimeoutError:
        pass
    if reset:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    writer.close()


async def scene(stage: Any, bench: Any) -> None:
    if stage.streams:
        await stage.begin_stream()
        for frame in bench.scenes.frames[:2]:
            await stage.chunk(frame)
            await asyncio.sleep(0.02)
        await bench.scenes.silent(stage)
    else:
        await bench.scenes.silent(stage)


def storm(bench: Any, fakes: Any, teachers: Any, count: int) -> None:
    def unsure(state: Any) -> Any:
        sure = "sure" in state.messages[-1]["content"]
        return Proposal(fakes.RuleStudent.weather(state).calls, 0.99 if sure else 0.5)

    bench.world.student.rule = unsure
    teacher = teachers.enter_context(bench.teacher(lambda stage: scene(stage, bench)))
    upstream = Upstream(teacher.url, deadlines=Deadlines(first_byte=30, idle=30))
    rng = random.Random(5)

    async def go(port: int) -> None:
        limit = asyncio.Semaphore(50)

        async def one(number: int) -> None:
            async with limit:
                text = f"{'sure' if number % 4 == 0 else 'not'} {number}"
                data = request(fakes, text, stream=number % 2 == 0)
                await hang_up(port, data, rng.uniform(0.0, 0.25), reset=number % 3 == 0)

        await asyncio.gather(*(one(number) for number in range(count)))

    with fakes.Running(bench.world.app(upstream)) as url:
        asyncio.run(go(int(url.rsplit(":", 1)[1].split("/")[0])))
        last = time.monotonic()
        assert teacher.wait(lambda: teacher.active == 0, within=1.0), "the teacher went on working"
        assert upstream.lent == 0
        assert time.monotonic() - last < 1.0
        outcomes = bench.world.store.of(OUTCOME, at_least=1, within=1)
        time.sleep(0.2)
        outcomes = bench.world.store.of(OUTCOME, at_least=1)
        assert len({o.decision_id for o in outcomes}) == len(outcomes) > count // 2
        students = [d for d in bench.world.store.of(DECISION, at_least=0) if d.source == "student"]
        attempts = bench.world.store.of(ATTEMPT)
        by_student = {d.metadata.event_id for d in students}
        asked = [a.decision_id for a in attempts]
        assert len(asked) == len(set(asked))
        assert by_student | set(asked) == {o.decision_id for o in outcomes}
        assert {o.status for o in outcomes} <= {"ok", "cancelled"}
        teacher.scenes = [bench.scenes.ok]
        assert httpx2.post(f"{url}/chat/completions", json=fakes.chat("not now"), timeout=20).status_code == 200


def test_a_hundred_hang_ups(bench: Any, fakes: Any, teachers: Any) -> None:
    storm(bench, fakes, teachers, 100)


@pytest.mark.slow
def test_a_thousand_hang_ups(bench: Any, fakes: Any, teachers: Any) -> None:
    storm(bench, fakes, teachers, 1000)


def test_a_request_cancelled_twice_gives_its_connection_back_and_is_written_once(
    bench: Any, fakes: Any, teachers: Any
) -> None:
    teacher = teachers.enter_context(bench.teacher(bench.scenes.silent))

    async def twice() -> None:
        async with bench.gateway(teacher.url, deadlines=Deadlines()) as client:
            for moment in (0.0, 0.001, 0.005, 0.02, 0.1):
                asking = asyncio.create_task(bench.ask(client))
                await asyncio.sleep(moment)
                asking.cancel()
                await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                assert bench.upstream.lent == 0
            slots = bench.upstream._servers[0].pool._slots
            assert slots._free == 256

    asyncio.run(twice())
    outcomes = bench.world.store.of(OUTCOME, at_least=0)
    assert len({o.decision_id for o in outcomes}) == len(outcomes)


def test_a_slow_reader_stops_the_teacher_not_the_memory(bench: Any, fakes: Any, teachers: Any) -> None:
    written = 0

    async def flood(stage: Any) -> None:
        nonlocal written
        await stage.begin_stream()
        frame = b": " + b"x" * 65_000 + b"\n\n"
        while written < 200_000_000:
            await stage.chunk(frame)
            written += len(frame)

    teacher = teachers.enter_context(bench.teacher(flood))
    upstream = Upstream(teacher.url)

    async def read_nothing(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(request(fakes, "x", stream=True))
        await asyncio.sleep(1.0)
        before = written
        await asyncio.sleep(0.3)
        assert written == before, "nobody reads, and still the teacher is read"
        writer.transport.abort()

    with fakes.Running(bench.world.app(upstream, gate=None)) as url:
        asyncio.run(read_nothing(int(url.rsplit(":", 1)[1].split("/")[0])))
        assert written < 30_000_000
        assert teacher.wait(lambda: teacher.active == 0)
