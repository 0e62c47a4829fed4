"""A student that is slow or stuck costs its own requests a local answer, and nobody an answer at all."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest

from ultracore.distillation.serve.decider import Decider
from ultracore.distillation.serve.gate import Escalate, Gate, Reason, Send
from ultracore.distillation.serve.wire import parse_chat_request


@pytest.fixture
def release() -> Any:
    event = threading.Event()
    yield event
    event.set()


def ask_many(decider: Decider, gate: Gate | None, fakes: Any, count: int) -> list[Send | Escalate]:
    request = parse_chat_request(json.dumps(fakes.chat()).encode())

    async def ask() -> list[Send | Escalate]:
        return await asyncio.gather(*(decider.decide(gate, request, "s", False) for _ in range(count)))

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


def test_room_comes_back_once_the_student_does(fakes: Any, world: Any) -> None:
    decider = Decider(timeout_seconds=2.0, max_waiting=2)
    request = parse_chat_request(json.dumps(fakes.chat()).encode())

    async def ask() -> list[Any]:
        return [await decider.decide(world.gate, request, "s", False) for _ in range(10)]

    assert all(isinstance(verdict, Send) for verdict in asyncio.run(ask()))
    decider.close()


def test_the_loop_goes_on_while_the_student_thinks(fakes: Any, world: Any) -> None:
    world.student.rule = lambda state: (time.sleep(0.1), world.student.weather(state))[1]
    decider = Decider()
    request = parse_chat_request(json.dumps(fakes.chat()).encode())

    async def ticks() -> int:
        deciding = asyncio.create_task(decider.decide(world.gate, request, "s", False))
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
