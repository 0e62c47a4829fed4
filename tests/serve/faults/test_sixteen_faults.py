"""The sixteen ways in which FailoverBench lets a teacher misbehave, and what a client must see of each.

Each test is one fault: at most three attempts, none after the first byte, exactly one outcome.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest

from ultracore.distillation.serve.upstream.prices import Price, Prices

DECISION, OUTCOME, ATTEMPT = "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED", "UPSTREAM_ATTEMPTED"


class Seen:
    """What came of one request."""

    def __init__(self, bench: Any, reply: httpx2.Response | None, seconds: float) -> None:
        self.reply, self.seconds = reply, seconds
        (self.outcome,) = bench.events(OUTCOME)
        self.attempts = bench.events(ATTEMPT, at_least=0)
        self.decisions = bench.events(DECISION, at_least=0)
        assert len(self.attempts) <= 3
        assert {a.decision_id for a in self.attempts} <= {self.outcome.decision_id}
        assert bench.upstream.lent == 0

    @property
    def answered(self) -> bool:
        whole = self.reply is not None and self.reply.status_code == 200 and b'"error"' not in self.reply.content
        assert (self.outcome.status == "ok") == whole
        return whole

    @property
    def numbers(self) -> list[tuple[int, str, int | None]]:
        return [(a.attempt, a.status, a.http_status) for a in self.attempts]


def play(bench: Any, teachers: Any, *scenes: Any, second: Any = None, **changes: Any) -> Seen:
    """One request to a gateway whose teacher plays these scenes."""
    urls = [teachers.enter_context(bench.teacher(*scenes)).url]
    if second is not None:
        urls.append(teachers.enter_context(bench.teacher(second)).url)

    async def ask() -> Seen:
        async with bench.gateway(*urls) as client:
            began = time.monotonic()
            try:
                reply = await bench.ask(client, **changes)
            except httpx2.HTTPError:
                reply = None
            await asyncio.sleep(0)  # an answer that never came has its outcome now, too
            return Seen(bench, reply, time.monotonic() - began)

    return asyncio.run(ask())


def test_1_too_many_requests_with_retry_after(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.status(429, headers="retry-after: 1\r\n"), bench.scenes.ok)
    assert seen.answered
    assert seen.seconds >= 1.0
    assert seen.numbers == [(1, "error", 429), (2, "ok", 200)]


def test_1_a_teacher_that_asks_for_more_time_than_we_wait_is_passed_on(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.status(429, headers="retry-after: 60\r\n"))
    assert (seen.reply.status_code, seen.reply.headers["retry-after"]) == (429, "60")
    assert seen.seconds < 0.9
    assert seen.numbers == [(1, "error", 429)]


def test_2_too_many_requests_without_retry_after(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.status(429), bench.scenes.ok)
    assert seen.answered
    assert 0.12 <= seen.seconds < 1.0


def test_3_an_error_500_once(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.status(500), bench.scenes.ok)
    assert seen.answered
    assert len(seen.attempts) == 2


def test_4_unavailable(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.status(503))
    assert (seen.reply.status_code, seen.reply.json()["error"]["message"]) == (503, "as the teacher said: x")
    assert [status for _, _, status in seen.numbers] == [503, 503, 503]


def test_4_unavailable_here_but_not_there(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.status(503), second=bench.scenes.ok)
    assert seen.answered
    assert [a.upstream for a in seen.attempts] == ["t0", "t1"]
    assert seen.seconds < 0.12  # nobody waits for a server that was not asked yet


def test_5_a_reset_connection(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.reset, bench.scenes.ok)
    assert seen.answered
    assert seen.numbers == [(1, "error", None), (2, "ok", 200)]


def test_6_silence_is_tried_once(bench: Any, teachers: Any) -> None:
    teacher = teachers.enter_context(bench.teacher(bench.scenes.silent))

    async def ask() -> Seen:
        async with bench.gateway(teacher.url) as client:
            began = time.monotonic()
            return Seen(bench, await bench.ask(client), time.monotonic() - began)

    seen = asyncio.run(ask())
    assert (seen.reply.status_code, seen.reply.json()["error"]["code"]) == (504, "upstream_timeout")
    assert seen.numbers == [(1, "timeout", None)]
    assert seen.seconds < 1.0
    assert teacher.wait(lambda: teacher.dropped == 1)


def test_6_silence_here_leaves_time_to_ask_there(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.silent, second=bench.scenes.ok)
    assert seen.answered
    assert seen.numbers == [(1, "timeout", None), (2, "ok", 200)]


def test_6_who_was_silent_is_not_asked_again_when_others_fail(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.silent, second=bench.scenes.status(503))
    assert [a.upstream for a in seen.attempts] == ["t0", "t1", "t1"]
    assert seen.reply.status_code == 503


@pytest.mark.parametrize("stream", [True, False])
def test_7_a_slow_first_token_is_waited_for(bench: Any, teachers: Any, stream: bool) -> None:
    seen = play(bench, teachers, bench.scenes.after(0.25), stream=stream)
    assert seen.answered
    assert len(seen.attempts) == 1


@pytest.mark.parametrize("how", ["fin", "rst", "end"])
@pytest.mark.parametrize("kept", [1, 3])
def test_8_a_cut_stream(bench: Any, teachers: Any, how: str, kept: int) -> None:
    seen = play(bench, teachers, bench.scenes.broken_after(bench.scenes.frames[:kept], how), stream=True)
    assert not seen.answered
    assert seen.reply is not None
    events = seen.reply.content.split(b"\n\n")
    assert json.loads(events[-2].strip()[6:])["error"]["code"] == "truncated"
    assert seen.reply.content.startswith(b"".join(bench.scenes.frames[:kept]))
    assert (seen.outcome.status, seen.numbers, seen.decisions) == ("truncated", [(1, "truncated", 200)], [])


def test_8_a_stream_cut_before_its_first_byte_is_asked_again(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.broken_after([], "fin"), bench.scenes.ok, stream=True)
    assert seen.answered
    assert seen.numbers == [(1, "error", None), (2, "ok", 200)]


def test_9_a_stalled_stream(bench: Any, teachers: Any) -> None:
    seen = play(bench, teachers, bench.scenes.broken_after(bench.scenes.frames[:2], "stall"), stream=True)
    assert not seen.answered
    assert b"nothing came for too long" in seen.reply.content
    assert (seen.outcome.status, seen.seconds < 1.5) == ("truncated", True)


def test_10_a_bad_chunk_is_no_decision(bench: Any, teachers: Any) -> None:
    frames = bench.scenes.frames
    bad = [*frames[:2], b"data: {broken\n\n", *frames[2:]]
    seen = play(bench, teachers, bench.scenes.broken_after(bad, "end"), stream=True)
    assert seen.reply.content == b"".join(bad)  # what the teacher said is not ours to mend
    assert (seen.outcome.status, seen.decisions) == ("error", [])


def test_10_what_is_not_http_is_a_broken_connection(bench: Any, teachers: Any) -> None:
    async def nonsense(stage: Any) -> None:
        await stage.send(b"\x16\x03\x01 not HTTP at all\r\n\r\n")

    seen = play(bench, teachers, nonsense)
    assert (seen.reply.status_code, seen.reply.json()["error"]["code"]) == (502, "upstream_broken")


@pytest.mark.parametrize("how", ["end", "fin"])
def test_11_without_done_a_finished_answer_is_whole(bench: Any, teachers: Any, how: str) -> None:
    seen = play(bench, teachers, bench.scenes.broken_after(bench.scenes.frames[:-1], how), stream=True)
    assert seen.answered
    assert len(seen.decisions) == 1


@pytest.mark.parametrize(
    ("status", "code"), [(400, "context_length_exceeded"), (400, "content_filter"), (400, "prefill_rejected")]
)
def test_12_13_14_what_the_request_is_to_blame_for_passes_and_is_not_tried_again(
    bench: Any, teachers: Any, status: int, code: str
) -> None:
    seen = play(bench, teachers, bench.scenes.status(status, code), second=bench.scenes.ok)
    assert (seen.reply.status_code, seen.reply.json()["error"]["code"]) == (status, code)
    assert seen.numbers == [(1, "error", 400)]
    assert bench.upstream.left_alone == []


def test_13_a_filtered_answer_is_no_decision(bench: Any, teachers: Any, fakes: Any) -> None:
    frames = fakes.frames({"role": "assistant", "content": "Well"}, finish="content_filter")
    seen = play(bench, teachers, bench.scenes.broken_after(frames, "end"), stream=True)
    assert seen.reply.content == b"".join(frames)
    assert seen.decisions == []


def test_15_a_flapping_teacher_answers_everybody(bench: Any, teachers: Any) -> None:
    flapping = [bench.scenes.status(503) if n % 2 else bench.scenes.ok for n in range(28)]
    teacher = teachers.enter_context(bench.teacher(*flapping))

    async def ask() -> list[int]:
        async with bench.gateway(teacher.url) as client:
            return [(await bench.ask(client)).status_code for _ in range(14)]

    assert asyncio.run(ask()) == [200] * 14  # more than the budget of retries holds


def test_16_every_token_is_counted_once(bench: Any, teachers: Any) -> None:
    flaky = [bench.scenes.ok, bench.scenes.status(500), bench.scenes.ok, bench.scenes.reset, bench.scenes.ok]
    teacher = teachers.enter_context(bench.teacher(*flaky))
    prices = Prices({"teacher-*": Price(input=2.0, output=8.0)})

    async def ask() -> None:
        async with bench.gateway(teacher.url, prices=prices) as client:
            for _ in range(3):
                assert (await bench.ask(client)).status_code == 200

    asyncio.run(ask())
    outcomes, attempts = bench.events(OUTCOME, 3), bench.events(ATTEMPT, 5)
    assert [o.cost_usd for o in outcomes[:2]] == [pytest.approx(60e-6)] * 2
    assert outcomes[2].cost_usd is None  # the request that was reset may have cost something: nobody knows
    assert [a.usage["total_tokens"] for a in attempts if a.usage] == [15, 15, 15]
    assert [a.cost_usd for a in attempts] == [pytest.approx(c) if c else c for c in (60e-6, 0.0, 60e-6, None, 60e-6)]
    assert len({o.decision_id for o in outcomes}) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_storm_is_not_multiplied_and_ends_within_seconds_of_recovery(bench: Any, teachers: Any, status: int) -> None:
    teacher = teachers.enter_context(bench.teacher(bench.scenes.status(status)))

    async def ask() -> int:
        async with bench.gateway(teacher.url) as client:
            for _ in range(4):
                await asyncio.gather(*(bench.ask(client) for _ in range(50)))
            count = len(teacher.requests)
            teacher.scenes = [bench.scenes.ok]
            recovered = await bench.ask(client)
            if status == 503:
                assert recovered.json()["error"]["code"] == "upstream_open"
                assert 1 <= int(recovered.headers["retry-after"]) <= 5
                bench.upstream._servers[0].breaker._clock = lambda: time.monotonic() + 6.0
                recovered = await bench.ask(client)
            assert recovered.status_code == 200
            return count

    assert asyncio.run(ask()) <= 1.1 * 200


def test_an_unreachable_teacher_is_told_apart_and_left_alone(bench: Any) -> None:
    async def ask() -> list[Any]:
        async with bench.gateway("http://127.0.0.1:9/v1") as client:
            return [await bench.ask(client) for _ in range(3)]

    replies = asyncio.run(ask())
    codes = [reply.json()["error"]["code"] for reply in replies]
    assert codes == ["upstream_unreachable", "upstream_unreachable", "upstream_open"]
    attempts = bench.events(ATTEMPT, 5)
    assert {(a.status, a.http_status, a.cost_usd) for a in attempts} == {("error", None, 0.0)}
