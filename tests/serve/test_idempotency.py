"""A retry with the same key gets the first answer, and the log one decision."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from ultracore.distillation.serve.idempotency import MAX_ANSWER, IdempotencyCache, IdempotencyKey
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.wire import RequestError

DECISION = "AGENT_TOOL_SELECTED"
KEY = {"idempotency-key": "order-7"}
FORCE = {"x-distill-force": "teacher"}


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


@pytest.mark.parametrize("headers", [{}, FORCE], ids=["student", "teacher"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_key_gets_the_same_answer(
    gateway_url: str, world: Any, fakes: Any, teacher: Any, headers: dict[str, str], stream: bool
) -> None:
    with httpx2.Client(base_url=gateway_url) as client:

        def ask(key: str = "order-7") -> Any:
            named = {**headers, "Idempotency-Key": key}
            return client.post("/chat/completions", json=fakes.chat(stream=stream), headers=named)

        first, again, other = ask(), ask(), ask("order-8")
    assert first.content == again.content
    assert first.headers["x-distill-receipt"] == again.headers["x-distill-receipt"]
    assert (first.headers.get("x-distill-replayed"), again.headers["x-distill-replayed"]) == (None, "true")
    assert other.headers["x-distill-receipt"] != first.headers["x-distill-receipt"]
    assert len(world.store.of(DECISION, at_least=2)) == 2
    assert len(teacher.seen) == (2 if headers else 0)


def test_another_request_with_the_same_key_is_refused(world: Any, fakes: Any) -> None:
    async def ask() -> list[int]:
        async with world.client(None) as client:
            bodies = [fakes.chat(), fakes.chat("weather in Oslo"), fakes.chat()]
            return [(await client.post("/v1/chat/completions", json=body, headers=KEY)).status_code for body in bodies]

    assert run(ask()) == [200, 422, 200]


def test_a_retry_while_the_first_try_is_under_way_waits_its_turn(
    gateway_url: str, world: Any, fakes: Any, teacher: Any
) -> None:
    """The OpenAI client tries a 409 again by itself."""
    world.student.rule = lambda state: (time.sleep(0.4), world.student.weather(state))[1]

    async def ask() -> list[Any]:
        async with httpx2.AsyncClient(base_url=gateway_url, timeout=10) as client:
            first = asyncio.create_task(client.post("/chat/completions", json=fakes.chat(), headers=KEY))
            await asyncio.sleep(0.15)
            second = await client.post("/chat/completions", json=fakes.chat(), headers=KEY)
            return [second, await first, await client.post("/chat/completions", json=fakes.chat(), headers=KEY)]

    second, first, third = run(ask())
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert (first.status_code, third.content) == (200, first.content)
    assert len(world.store.of(DECISION)) == 1


def test_a_try_that_failed_is_forgotten(gateway_url: str, world: Any, fakes: Any, teacher: Any) -> None:
    teacher.mode = "429"
    with httpx2.Client(base_url=gateway_url) as client:
        refused = client.post("/chat/completions", json=fakes.chat(), headers=KEY | FORCE)
        teacher.mode = "ok"
        again = client.post("/chat/completions", json=fakes.chat(), headers=KEY | FORCE)
    assert (refused.status_code, again.status_code, again.headers.get("x-distill-replayed")) == (429, 200, None)


def test_a_client_that_hung_up_on_a_local_answer_gets_the_same_one(world: Any, fakes: Any) -> None:
    app = world.app(None)
    body = json.dumps(fakes.chat()).encode()

    async def hang_up() -> None:
        """A client that is gone as soon as its request is sent."""
        sent = iter([{"type": "http.request", "body": body}])

        async def receive() -> Any:
            return next(sent, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there")

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"idempotency-key", b"order-7")]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions", "raw_path": b"", "query_string": b"",
            "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("localhost", 80), "app": app,
        }  # fmt: skip
        await app(scope, receive, send)

    async def ask() -> Any:
        await hang_up()
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(
                "/v1/chat/completions", content=body, headers=KEY | {"content-type": "application/json"}
            )

    reply = run(ask())
    assert reply.headers["x-distill-replayed"] == "true"
    (decision,) = world.store.of(DECISION)
    assert reply.headers["x-distill-receipt"] == decision.metadata.event_id


def test_keys_of_different_callers_do_not_meet(world: Any, fakes: Any, teacher_url: str, teacher: Any) -> None:
    from ultracore.distillation.serve.keys import issue

    keys = [issue("a"), issue("b", tenant="acme")]
    world.store.append([key.event for key in keys])

    async def ask() -> list[str]:
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            replies = [
                await client.post(
                    "/v1/chat/completions", json=fakes.chat(), headers=KEY | {"authorization": f"Bearer {key.secret}"}
                )
                for key in keys
            ]
            return [reply.headers["x-distill-source"] for reply in replies]

    assert run(ask()) == ["student", "teacher"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_answers_are_kept_for_a_while_and_not_without_bound() -> None:
    clock = Clock()
    cache = IdempotencyCache(10.0, clock)
    cache_keys = [IdempotencyKey("k", bytes([number])) for number in range(30)]
    for cache_key in cache_keys:
        assert cache.begin(cache_key, "p", b"body") is None
        cache.keep(cache_key, 200, [], b"x" * MAX_ANSWER)
    assert cache.begin(cache_keys[0], "p", b"body") is None  # 30 of 4 MiB are more than 64 MiB: the oldest went
    kept = cache.begin(cache_keys[-1], "p", b"body")
    assert kept is not None
    with pytest.raises(RequestError):
        cache.begin(cache_keys[-1], "q", b"body")
    clock.now = 11.0
    assert cache.begin(cache_keys[-1], "q", b"body") is None


def test_an_answer_that_broke_off_or_is_too_large_is_not_kept() -> None:
    cache = IdempotencyCache(10.0)

    def answering(*messages: Any, raises: bool = False) -> Any:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            for message in messages:
                await send(message)
            if raises:
                raise RuntimeError

        return app

    async def nowhere(message: Any = None) -> Any:
        return None

    start = {"type": "http.response.start", "status": 200, "headers": []}
    body = {"type": "http.response.body", "body": b"x", "more_body": False}
    cut = {**body, "more_body": True}
    large = {**body, "body": b"x" * (MAX_ANSWER + 1)}
    for number, (answer, kept) in enumerate(
        [
            (answering(start, cut, body), True),
            (answering(start, cut), False),
            (answering(start, large), False),
            (answering({**start, "status": 500}, body), False),
            (answering(start, cut, raises=True), False),
        ]
    ):
        cache_key = IdempotencyKey("k", bytes([number]))
        cache.begin(cache_key, "p", b"")
        recorded = cache.recording(cache_key, answer)
        try:
            run(recorded({}, nowhere, nowhere))
        except RuntimeError:
            assert number == 4
        assert (cache.begin(cache_key, "p", b"") is not None) == kept
