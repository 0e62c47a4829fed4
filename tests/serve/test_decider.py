"""A student that is slow or stuck costs its own requests a local answer, and nobody an answer at all."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any, ClassVar

import pytest

from ultracore.distillation.serve.decider import Decider
from ultracore.distillation.serve.gate import Escalate, Gate, Reason, Send
from ultracore.distillation.serve.wire import parse_chat_request
from ultracore.distillation.students.base import Proposal


@pytest.fixture
def release() -> Any:
    event = threading.Event()
    yield event
    event.set()


def ask_many(decider: Decider, gate: Gate | None, fakes: Any, count: int) -> list[Send | Escalate]:
    request = parse_chat_request(json.dumps(fakes.chat()).encode())

    async def ask() -> list[Send | Escalate]:
        return await asyncio.gather(*(decider.decide(gate, request) for _ in range(count)))

    return asyncio.run(ask())


def test_a_stuck_student_is_given_up_and_the_rest_is_overload(fakes: Any, world: Any, release: threading.Event) -> None:
    world.student.rule = lambda state: release.wait(5)
    began = time.monotonic()
    decider = Decider(timeout_seconds=0.1, max_waiting=3)
    reasons = [verdict.reason for verdict in ask_many(decider, world.gate, fakes, 5)]
    release.set()
    decider.close()
    assert reasons == [Reason.STUDENT_ERROR, Reason.OVERLOAD, Reason.OVERLOAD, Reason.OVERLOAD, Reason.OVERLOAD]
    assert time.monotonic() - began < 2


def test_a_wait_that_can_be_foreseen_is_not_begun(fakes: Any, world: Any) -> None:
    world.student.rule = lambda state: (time.sleep(0.05), world.student.weather(state))[1]
    decider = Decider(timeout_seconds=5.0, queue_seconds=0.2)
    request = parse_chat_request(json.dumps(fakes.chat()).encode())

    async def timed() -> tuple[Any, float]:
        began = time.monotonic()
        return await decider.decide(world.gate, request), time.monotonic() - began

    async def ask() -> list[tuple[Any, float]]:
        await decider.decide(world.gate, request)  # now it is known what one takes
        crowd = await asyncio.gather(*(timed() for _ in range(40)))
        assert isinstance(await decider.decide(world.gate, request), Send)  # the queue is over, and so is its end
        return crowd

    crowd = asyncio.run(ask())
    decider.close()
    sent = [seconds for verdict, seconds in crowd if isinstance(verdict, Send)]
    refused = [(verdict.reason, seconds) for verdict, seconds in crowd if not isinstance(verdict, Send)]
    assert 1 <= len(sent) <= 5  # 0.2 s hold four of them before one
    assert {reason for reason, _ in refused} == {Reason.OVERLOAD}
    assert max(seconds for _, seconds in refused) < min(sent)  # at once, not when the wait is over


def test_room_comes_back_once_the_student_does(fakes: Any, world: Any) -> None:
    decider = Decider(timeout_seconds=2.0, max_waiting=2)
    request = parse_chat_request(json.dumps(fakes.chat()).encode())

    async def ask() -> list[Any]:
        return [await decider.decide(world.gate, request) for _ in range(10)]

    assert all(isinstance(verdict, Send) for verdict in asyncio.run(ask()))
    decider.close()


def test_the_loop_goes_on_while_the_student_thinks(fakes: Any, world: Any) -> None:
    world.student.rule = lambda state: (time.sleep(0.1), world.student.weather(state))[1]
    decider = Decider()
    request = parse_chat_request(json.dumps(fakes.chat()).encode())

    async def ticks() -> int:
        deciding = asyncio.create_task(decider.decide(world.gate, request))
        count = 0
        while not deciding.done():
            await asyncio.sleep(0.005)
            count += 1
        assert isinstance(deciding.result(), Send)
        return count

    assert asyncio.run(ticks()) > 5
    decider.close()


def test_without_a_student_everything_is_the_teachers(fakes: Any) -> None:
    decider = Decider()
    (verdict,) = ask_many(decider, None, fakes, 1)
    decider.close()
    assert verdict == Escalate(Reason.NOT_CERTIFIED, "no student is deployed")


def test_a_stuck_student_does_not_keep_the_others_waiting(fakes: Any, world: Any, release: threading.Event) -> None:
    stuck = iter([True])

    def rule(state: Any) -> Any:
        if next(stuck, False):
            release.wait(5)
        return world.student.weather(state)

    world.student.rule = rule
    decider = Decider(timeout_seconds=0.3, max_waiting=10)
    request = parse_chat_request(json.dumps(fakes.chat()).encode())

    async def ask() -> list[Any]:
        first = asyncio.create_task(decider.decide(world.gate, request))
        await asyncio.sleep(0.25)
        later = [asyncio.create_task(decider.decide(world.gate, request)) for _ in range(3)]
        return [await first, *[await task for task in later]]

    stuck_one, *others = asyncio.run(ask())
    release.set()
    decider.close()
    assert stuck_one.reason == Reason.STUDENT_ERROR
    assert all(isinstance(verdict, Send) for verdict in others)


def explode(state: Any) -> Any:
    raise MemoryError


@pytest.mark.parametrize("fault", [explode, lambda state: Proposal((), float("nan"))], ids=["raises", "NaN"])
def test_a_student_that_fails_five_times_in_a_row_is_asked_no_more(fakes: Any, world: Any, fault: Any) -> None:
    disabled: list[Gate] = []
    decider = Decider(on_disabled=disabled.append)
    request = parse_chat_request(json.dumps(fakes.chat()).encode())

    async def ask(gate: Gate, times: int) -> list[Any]:
        return [await decider.decide(gate, request) for _ in range(times)]

    async def all_of_it() -> None:
        await ask(world.gate, 4)
        world.student.rule = world.student.weather
        await ask(world.gate, 1)  # one success, and the count begins anew
        world.student.rule = fault
        await ask(world.gate, 5)
        assert disabled == [world.gate]
        world.student.rule = world.student.weather
        asked = world.student.asked
        assert {v.reason for v in await ask(world.gate, 3)} == {Reason.STUDENT_ERROR}
        assert world.student.asked == asked
        other = Gate(world.student, fakes.certificate())
        assert isinstance((await ask(other, 1))[0], Send)  # the next model starts with a clean sheet

    asyncio.run(all_of_it())
    decider.close()


def test_a_student_that_takes_a_gigabyte_still_answers_and_one_that_finds_none_does_not(fakes: Any, world: Any) -> None:
    def hungry(state: Any) -> Any:
        taken = bytearray(b"x") * 2**30  # each page written
        return fakes.RuleStudent.weather(state) if taken[-1] else None

    def starved(state: Any) -> Any:
        raise MemoryError

    async def ask() -> Any:
        return await decider.decide(world.gate, parse_chat_request(json.dumps(fakes.chat()).encode()))

    decider = Decider(timeout_seconds=30.0)
    world.student.rule = hungry
    assert isinstance(asyncio.run(ask()), Send)
    decider.close()
    decider = Decider()
    world.student.rule = starved
    verdict = asyncio.run(ask())
    assert (verdict.reason, verdict.detail) == (Reason.STUDENT_ERROR, "MemoryError")
    decider.close()


def test_a_context_known_by_heart_makes_no_detour(fakes: Any, world: Any) -> None:
    class Knowing(fakes.RuleStudent):  # type: ignore[name-defined, misc]
        threads: ClassVar[list[str]] = []

        def recall(self, state: Any) -> Any:
            known = "Rome" in state.messages[-1]["content"]
            return self.weather(state) if known else None

        def propose(self, state: Any) -> Any:
            self.threads.append(threading.current_thread().name)
            return super().propose(state)

    student = Knowing()
    gate = Gate(student, fakes.certificate())
    decider = Decider()

    async def ask(text: str, model: str = fakes.TEACHER) -> Any:
        request = parse_chat_request(json.dumps(fakes.chat(text, model=model)).encode())
        verdict = await decider.decide(gate, request)
        assert verdict == gate.decide(request)
        return verdict

    async def all_of_them() -> None:
        assert isinstance(await ask("weather in Rome"), Send)
        assert (await ask("weather in Oslo", "another")).reason == Reason.OTHER_TEACHER
        assert decider._worker is None
        assert isinstance(await ask("weather in Oslo"), Send)

    asyncio.run(all_of_them())
    decider.close()
    assert "distill-gate" in student.threads


def test_a_long_request_is_not_looked_up_where_nothing_may_block(fakes: Any, world: Any) -> None:
    world.student.recall = lambda state: pytest.fail("on the event loop")
    decider = Decider()
    request = parse_chat_request(json.dumps(fakes.chat("weather in Rome", note="x" * 100_000)).encode())
    verdict = asyncio.run(decider.decide(world.gate, request))
    decider.close()
    assert verdict.reason == Reason.UNSUPPORTED_REQUEST


def test_overload_without_a_teacher_says_when_to_ask_again(fakes: Any, world: Any) -> None:
    world.student.rule = lambda state: (time.sleep(0.3), world.student.weather(state))[1]
    decider = Decider(timeout_seconds=5.0, max_waiting=1)

    async def ask() -> list[Any]:
        async with world.client(None, decider=decider) as client:

            async def one(city: str) -> Any:
                return await client.post("/v1/chat/completions", json=fakes.chat(f"weather in {city}"))

            first = asyncio.create_task(one("Rome"))
            await asyncio.sleep(0.1)
            second = await one("Bern")
            return [await first, second]

    first, second = asyncio.run(ask())
    assert (first.status_code, first.headers["x-distill-source"]) == (200, "student")
    assert (second.status_code, second.headers["retry-after"]) == (503, "1")
    assert second.headers["x-distill-reason"] == "overload"
