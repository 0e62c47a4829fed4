"""What only time shows: storms, a teacher that never answers, overload, and ten minutes of mixed work.

Each has a short form among the everyday tests where seconds suffice to see it fail.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import resource
import socket
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ultracore.distillation.events.opening import open_store
from ultracore.distillation.serve.decider import Decider
from ultracore.distillation.serve.keys import issue
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.targets import Deadlines, Target
from ultracore.distillation.students.base import Proposal

OUTCOME, ATTEMPT = "DECISION_OUTCOME_RECORDED", "UPSTREAM_ATTEMPTED"

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


def sure_if_asked(fakes: Any) -> Callable[[Any], Proposal]:
    """The student answers what says "sure", the rest is the teacher's."""

    def rule(state: Any) -> Proposal:
        sure = "sure" in str(state.messages[-1]["content"])
        return Proposal(fakes.RuleStudent.weather(state).calls, 0.99 if sure else 0.5)

    return rule


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def paced(rate: float, seconds: float, one: Callable[[int], Any]) -> list[Any]:
    """Start one request after the other at a fixed rate; their results in order."""
    began, tasks = time.monotonic(), []
    while time.monotonic() - began < seconds:
        while len(tasks) < rate * (time.monotonic() - began):
            tasks.append(asyncio.create_task(one(len(tasks))))
        await asyncio.sleep(0.005)
    return await asyncio.gather(*tasks)


class Asked:
    """What a request came to."""

    def __init__(self, local: bool, status: int, seconds: float) -> None:
        self.local, self.status, self.seconds = local, status, seconds


async def connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    return await asyncio.open_connection(host, int(port))


def post(body: bytes, key: str = "", headers: str = "") -> bytes:
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head += f"authorization: Bearer {key}\r\n" if key else ""
    return f"{head}{headers}content-length: {len(body)}\r\n\r\n".encode() + body


async def call(url: str, body: bytes, patience: float = 60.0, key: str = "") -> int:
    """One request on a socket of its own; its status, 0 where patience ended first. Lighter than an HTTP client."""
    reader, writer = await connected(url)
    writer.write(post(body, key, "connection: close\r\n"))
    try:
        async with asyncio.timeout(patience):
            return int((await reader.read(-1)).split(b" ", 2)[1])
    except TimeoutError:
        return 0
    finally:
        writer.transport.abort()


async def ask(url: str, fakes: Any, local: bool) -> Asked:
    began = time.monotonic()
    status = await call(url, json.dumps(fakes.chat("sure Rome" if local else "not Rome")).encode())
    return Asked(local, status, time.monotonic() - began)


def storm(bench: Any, fakes: Any, teachers: Any, status: int | str, rate: float, seconds: float) -> None:
    bench.world.student.rule = sure_if_asked(fakes)
    scene = bench.scenes.status(status) if isinstance(status, int) else bench.scenes.reset
    teacher = teachers.enter_context(bench.teacher(scene))
    upstream = Upstream(nobody() if status == "refused" else teacher.url)
    before: list[Any] = []

    async def go(url: str) -> list[Asked]:
        await paced(rate, 3.0, lambda n: ask(url, fakes, n % 2 == 0))  # the breaker opens
        before.extend(bench.events(ATTEMPT))
        teacher.requests.clear()
        return await paced(rate, seconds, lambda n: ask(url, fakes, n % 2 == 0))

    # what is tested is that the storm does not reach those who need no teacher, however slow the machine is
    patient = Decider(timeout_seconds=10.0, max_waiting=10_000)
    with fakes.Running(bench.world.app(upstream, decider=patient)) as url:
        seen = asyncio.run(go(url))
    local, others = [a for a in seen if a.local], [a for a in seen if not a.local]
    assert sum(a.status == 200 for a in local) >= 0.999 * len(local)
    assert all(a.status in (429, 502, 503, 500) for a in others)
    failed = [
        o.execution_time_ms for o in bench.events(OUTCOME) if o.status == "error"
    ]  # without the client's own delay
    assert len(failed) >= len(others)
    assert statistics.quantiles(failed, n=100)[98] < 1000
    assert len(teacher.requests) <= 1.1 * len(others)
    assert len(bench.events(ATTEMPT)) - len(before) <= 1.1 * len(others)


def nobody() -> str:
    """An address at which connections are refused."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


@pytest.mark.parametrize("status", [429, 500, "refused"])
def test_a_short_storm(bench: Any, fakes: Any, teachers: Any, status: int | str) -> None:
    storm(bench, fakes, teachers, status, rate=30, seconds=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, "reset", "refused"])
def test_a_minute_of_storm(bench: Any, fakes: Any, teachers: Any, status: int | str) -> None:
    storm(bench, fakes, teachers, status, rate=100, seconds=57)


def never_answered(bench: Any, fakes: Any, teachers: Any, calls: int) -> None:
    bench.world.student.rule = sure_if_asked(fakes)
    teacher = teachers.enter_context(bench.teacher(bench.scenes.silent))
    upstream = Upstream(teacher.url, deadlines=Deadlines(first_byte=4.0, slot=4.0, total=5.0))

    async def go(url: str) -> tuple[list[Asked], list[float], list[float]]:
        idle = [(await ask(url, fakes, True)).seconds for _ in range(50)]
        began = rss()
        waiting = [asyncio.create_task(ask(url, fakes, False)) for _ in range(calls)]
        await asyncio.sleep(1.5)
        busy = [(await ask(url, fakes, True)).seconds for _ in range(50)]
        assert not all(task.done() for task in waiting)
        assert rss() - began < 150 * 2**20
        return [await task for task in waiting], idle, busy

    with fakes.Running(bench.world.app(upstream)) as url:
        asked, idle, busy = asyncio.run(go(url))
        assert teacher.wait(lambda: teacher.active == 0)
        assert upstream.lent == 0
    assert {a.status for a in asked} <= {503, 504}
    relayed = [o for o in bench.world.store.of(OUTCOME, at_least=calls) if o.status == "error"]
    assert len(relayed) >= calls
    assert max(o.execution_time_ms for o in relayed) <= 1000 * (5.0 + 1.0)  # not the client's own delay in one process
    assert statistics.median(busy) <= 2 * statistics.median(idle) + 0.05


@needs_proc
def test_fifty_calls_to_a_teacher_that_never_answers(bench: Any, fakes: Any, teachers: Any) -> None:
    never_answered(bench, fakes, teachers, 50)


@needs_proc
@pytest.mark.slow
def test_five_hundred_calls_to_a_teacher_that_never_answers(bench: Any, fakes: Any, teachers: Any) -> None:
    never_answered(bench, fakes, teachers, 500)


@pytest.mark.slow
def test_overload_is_refused_quickly_and_what_fits_is_answered(bench: Any, fakes: Any, teachers: Any) -> None:
    teacher = teachers.enter_context(bench.teacher(bench.scenes.after(0.1)))
    upstream = Upstream([Target(url=teacher.url, connections=1)], deadlines=Deadlines(slot=0.5))  # 10 a second at most

    async def go(url: str) -> list[Asked]:
        return await paced(50, 120, lambda n: ask(url, fakes, False))

    with fakes.Running(bench.world.app(upstream, gate=None)) as url:
        seen = asyncio.run(go(url))
    assert {a.status for a in seen} == {200, 503}
    assert sum(a.status == 200 for a in seen) / 120 >= 0.8 * 10 * 0.9  # a tenth for what the gateway takes between two
    assert max(a.seconds for a in seen) < 3.0


class Waits(NamedTuple):
    """Seconds that a tenant waited for its answers."""

    median: float
    p99: float


def waits(seen: list[Asked]) -> Waits:
    seconds = [asked.seconds for asked in seen]
    return Waits(statistics.median(seconds), statistics.quantiles(seconds, n=100, method="inclusive")[98])


class Flooded(NamedTuple):
    """How a calm tenant waited alone and beside a flood, and the statuses of what the flood asked."""

    alone: Waits
    beside: Waits
    flood: list[int]


def flooded(bench: Any, fakes: Any, teachers: Any, serving: Any, folder: Path, seconds: float, limit: int) -> Flooded:
    """One tenant asks without a pause on 64 connections, another ten times a second; the teacher has eight lines.

    The gateway is a process of its own: in this one are the clients, the flooding ones too.

    Args:
        seconds: Of each part.
        limit: Requests that the key of the flood may have under way.
    """
    teacher = teachers.enter_context(bench.teacher(bench.scenes.after(0.05)))
    upstreams = folder / "upstreams.toml"
    upstreams.write_text(f'[[target]]\nurl = "{teacher.url}"\nconnections = 8\n', encoding="utf-8")
    flood, calm = (issue(name, tenant=name, concurrent=most) for name, most in (("flood", limit), ("calm", None)))
    store = open_store(folder / "home")
    store.append([flood.event, calm.event])
    store.close()
    gateway = serving(home=folder / "home", DISTILL_UPSTREAMS=str(upstreams)).ready()
    body = json.dumps(fakes.chat("not Rome")).encode()

    async def one(secret: str) -> Asked:
        began = time.monotonic()
        return Asked(False, await call(gateway.url, body, key=secret), time.monotonic() - began)

    async def stubborn(until: float) -> list[int]:
        seen, request = [], post(body, flood.secret)
        reader, writer = await connected(gateway.url)
        while time.monotonic() < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            seen.append(int(head.split(b" ", 2)[1]))
            await asyncio.sleep(0 if seen[-1] == 200 else 0.5)
        writer.close()
        return seen

    async def go() -> Flooded:
        await paced(10, 1.0, lambda n: one(calm.secret))
        idle = await paced(10, seconds, lambda n: one(calm.secret))
        until = time.monotonic() + seconds
        flooding = [asyncio.create_task(stubborn(until)) for _ in range(64)]
        busy = await paced(10, seconds, lambda n: one(calm.secret))
        assert all(asked.status == 200 for asked in idle + busy)
        return Flooded(waits(idle), waits(busy), [status for task in flooding for status in await task])

    found = asyncio.run(go())
    answered = found.flood.count(200)
    said = [
        f"{name} {1000 * a:.0f} -> {1000 * b:.0f} ms"
        for name, a, b in zip(Waits._fields, found.alone, found.beside, strict=True)
    ]
    print(f"{limit} at once: calm {', '.join(said)}; flood: {answered} of {len(found.flood)} answered")
    assert answered  # nor is it shut out
    return found


def test_a_tenant_that_floods_waits_behind_itself(
    bench: Any, fakes: Any, teachers: Any, serving: Any, tmp_path: Path
) -> None:
    found = flooded(bench, fakes, teachers, serving, tmp_path, seconds=3, limit=64)
    assert set(found.flood) == {200}
    assert found.beside.median <= 3 * found.alone.median  # 64 requests before eight lines: ten times as long, in order


@pytest.mark.slow
@pytest.mark.parametrize("limit", [4, 64])
def test_a_tenant_that_floods_leaves_another_its_answers(
    bench: Any, fakes: Any, teachers: Any, serving: Any, tmp_path: Path, limit: int
) -> None:
    seconds = 30.0
    found = flooded(bench, fakes, teachers, serving, tmp_path, seconds, limit)
    assert found.beside.p99 <= 2 * found.alone.p99
    if limit == 4:
        assert set(found.flood) == {200, 429}
        assert found.flood.count(200) <= limit * seconds / 0.05 + limit  # what the key allows, and no more


class Gauges:
    """What must stay flat: memory, threads, tasks, descriptors."""

    def __init__(self) -> None:
        gc.collect()
        self.rss = rss()
        self.threads = threading.active_count()
        self.fds = len(list(Path("/proc/self/fd").iterdir()))


def soak(bench: Any, fakes: Any, teachers: Any, folder: Path, seconds: float, rate: float) -> None:
    """A mix of local answers, relayed ones, streams, errors and hang-ups, on a real log."""
    bench.world.student.rule = sure_if_asked(fakes)
    scenes, rng = bench.scenes, random.Random(3)
    plays = [scenes.ok, scenes.ok, scenes.ok, scenes.status(400), scenes.broken_after(scenes.frames[:2], "fin")]

    async def mixed(stage: Any) -> None:
        await rng.choice(plays)(stage)

    teacher = teachers.enter_context(bench.teacher(mixed))
    store = open_store(folder)
    upstream = Upstream(teacher.url)

    async def one(url: str, number: int) -> None:
        text = "sure Rome" if number % 2 else "not Rome"
        body = json.dumps(fakes.chat(text, stream=number % 3 == 0)).encode()
        await call(url, body, patience=0.01 if number % 10 == 0 else 60.0)

    async def go(url: str) -> tuple[list[Gauges], int]:
        warm = await paced(rate, seconds / 5, lambda n: one(url, n))
        teacher.requests.clear()
        teacher.heads.clear()
        samples, count = [Gauges()], len(warm)
        for _ in range(4):
            count += len(await paced(rate, seconds / 5, lambda n: one(url, n)))
            teacher.requests.clear()  # what the test itself keeps is no leak of the gateway
            teacher.heads.clear()
            samples.append(Gauges())
        return samples, count

    with fakes.Running(bench.world.app(upstream, store=store)) as url:
        samples, count = asyncio.run(go(url))
        assert upstream.lent == 0
        assert teacher.wait(lambda: True)
    outcomes = [event.decision_id for event in store.read(types=[OUTCOME])]
    store.close()
    assert len(outcomes) == len(set(outcomes))
    assert 0.8 * count <= len(outcomes) <= count
    first, last = samples[0], samples[-1]
    hours = 0.8 * seconds / 3600
    growth = (last.rss - first.rss) / 2**20
    assert growth <= 5 + 60 * hours, f"{growth:.1f} MB in {hours * 60:.0f} minutes"
    assert abs(last.threads - first.threads) <= 4
    assert last.fds - first.fds <= 40
    wal = sum(file.stat().st_size for file in folder.rglob("*-wal"))
    assert wal <= 64 * 2**20


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_minutes_of_mixed_work(bench: Any, fakes: Any, teachers: Any, tmp_path: Path) -> None:
    soak(bench, fakes, teachers, tmp_path, seconds=600, rate=50)


@needs_proc
def test_seconds_of_mixed_work(bench: Any, fakes: Any, teachers: Any, tmp_path: Path) -> None:
    soak(bench, fakes, teachers, tmp_path, seconds=5, rate=20)
