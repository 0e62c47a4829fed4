"""A stream that breaks off anywhere, in any way, never looks whole to a client on a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.targets import Deadlines

OUTCOME = "DECISION_OUTCOME_RECORDED"
PIECES = 60


def long_stream(fakes: Any) -> list[bytes]:
    arguments = json.dumps({"city": "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch"})
    size = -(-len(arguments) // (PIECES - 2))
    pieces = [arguments[i : i + size] for i in range(0, len(arguments), size)]
    deltas = [fakes.call_delta(piece, first=i == 0) for i, piece in enumerate(pieces)]
    padding = [{"content": None}] * (PIECES - 3 - len(deltas))
    return fakes.frames({"role": "assistant", "content": None}, *padding, *deltas)


class Cutter:
    """Cuts each stream where and how the request's own text says: "cut 17 fin"."""

    def __init__(self, bench: Any, frames: list[bytes]) -> None:
        self.bench, self.frames, self.whole = bench, frames, b"".join(frames)

    async def __call__(self, stage: Any) -> None:
        _, unit, place, how = json.loads(stage.body)["messages"][-1]["content"].split()
        pieces = self.frames[: int(place)] if unit == "chunk" else [self.whole[: int(place)]]
        if how == "close":  # no framing at all: the end of the connection is the only end
            await stage.begin_stream(chunked=False)
            await stage.send(b"".join(pieces))
            stage.cut()
        else:
            await self.bench.scenes.broken_after(pieces, how)(stage)


def complete(content: bytes) -> bool:
    return b'"finish_reason": "tool_calls"' in content and b'"error"' not in content


async def ask(client: httpx2.AsyncClient, fakes: Any, text: str, gate: asyncio.Semaphore) -> tuple[str, bool, bytes]:
    async with gate:
        content = b""
        try:
            async with client.stream("POST", "/chat/completions", json=fakes.chat(text, stream=True)) as reply:
                async for piece in reply.aiter_raw():
                    content += piece
        except httpx2.HTTPError:
            return text, False, content
        return text, complete(content) and reply.status_code == 200, content


def run_cuts(bench: Any, fakes: Any, teachers: Any, cuts: list[str]) -> None:
    frames = long_stream(fakes)
    teacher = teachers.enter_context(bench.teacher(Cutter(bench, frames)))
    upstream = Upstream(teacher.url, deadlines=Deadlines(first_byte=5, idle=5))
    upstream._servers[0].breaker._threshold = 10**9  # it would rightly leave this teacher alone
    app = bench.world.app(upstream, gate=None)

    async def all_of_them(url: str) -> list[tuple[str, bool, bytes]]:
        limit = asyncio.Semaphore(16)
        async with httpx2.AsyncClient(base_url=url, timeout=20) as client:
            return await asyncio.gather(*(ask(client, fakes, cut, limit) for cut in cuts))

    with fakes.Running(app) as url:
        results = asyncio.run(all_of_them(url))
        whole = b"".join(frames)
        finish = whole.index(b'"finish_reason": "tool_calls"')
        for text, looks_whole, content in results:
            _, unit, place, how = text.split()
            sent = len(b"".join(frames[: int(place)])) if unit == "chunk" else int(place)
            assert not looks_whole or complete(whole[:sent]), text
            assert looks_whole or how == "rst" or sent < finish + 100, text  # what was finished arrives
            if not looks_whole and content and content.endswith(b"\n\n") and how != "rst":
                assert b'"error"' in content, text
        outcomes = bench.world.store.of(OUTCOME, at_least=len(cuts), within=10)
        assert len(outcomes) == len(cuts) == len({o.decision_id for o in outcomes})
        assert sum(o.status == "ok" for o in outcomes) == sum(whole for _, whole, _ in results)
        assert httpx2.get(url.replace("/v1", "/healthz")).status_code == 200


def test_cut_at_each_of_sixty_chunks(bench: Any, fakes: Any, teachers: Any) -> None:
    frames = long_stream(fakes)
    assert len(frames) == PIECES
    run_cuts(bench, fakes, teachers, [f"cut chunk {n} {how}" for n in range(1, PIECES + 1) for how in ("fin", "end")])


def offsets(fakes: Any, count: int, how: str) -> list[str]:
    size = len(b"".join(long_stream(fakes)))
    return [f"cut byte {1 + n * (size - 1) // (count - 1)} {how}" for n in range(count)]


@pytest.mark.parametrize("how", ["fin", "close"])
def test_cut_within_frames(bench: Any, fakes: Any, teachers: Any, how: str) -> None:
    run_cuts(bench, fakes, teachers, offsets(fakes, 100, how))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fin", "end", "rst", "close"])
def test_cut_at_two_hundred_bytes(bench: Any, fakes: Any, teachers: Any, how: str) -> None:
    chunks = [f"cut chunk {n} {how}" for n in range(1, PIECES + 1)]
    run_cuts(bench, fakes, teachers, [*offsets(fakes, 200, how), *chunks])
