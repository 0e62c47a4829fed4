"""Bodies made by mutation: no 5xx, no crash, no hang, and every error in OpenAI's shape.

The gateway's own code is driven without sockets, so that 20,000 bodies cost seconds; must-have seeds
are in `test_bodies.py`.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.calls import Attempt, Call, TeacherReply
from ultracore.distillation.serve.upstream.connection import Connection

KEYS = ["model", "messages", "tools", "tool_choice", "stream", "n", "response_format", "functions", "stream_options"]
ATOMS: list[Any] = [
    None, True, False, 0, -1, 2**63, 2**70, 1.5, 1e308, "", "x", "\x00", "\u2028", "é" * 50, "../x", [], {}, [[]],
    [None], {"": None}, {"type": "function"}, {"role": "user"}, {"role": "tool", "content": [{}]}, "a" * 3000,
    {"type": "function", "function": {"name": "weather", "parameters": {"$ref": "#"}}},
    {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {"pattern": "(a+)+$"}}}}},
]  # fmt: skip
RAW = [
    b"\\ud83d", b"\\udc00", b"NaN", b"1e999", b"-0", b"9" * 400, b"\xff", b"\xef\xbb\xbf", b"\x00", b"[" * 200, b'"',
    b"}", b"{", b"]", b",", b":", b"\\", b"\\u0000", b'"a":1,"a":2,', b" " * 100, b"/*", b"1.", b"+1", b"0x1", b"tru",
]  # fmt: skip


class Mutator:
    """Changes a valid request: values, keys and bytes; the same seed gives the same bodies."""

    def __init__(self, valid: list[dict[str, Any]], seed: int) -> None:
        self._valid = [json.dumps(body) for body in valid]
        self._random = random.Random(seed)

    def body(self) -> bytes:
        rng = self._random
        if rng.random() < 0.05:
            return rng.randbytes(rng.randrange(200))
        value = json.loads(rng.choice(self._valid))
        for _ in range(rng.choice((0, 1, 1, 2, 4))):
            self._change(value)
        data = json.dumps(value).encode()
        for _ in range(rng.choice((0, 0, 1, 3))):
            data = self._cut(data)
        return data

    def _change(self, value: Any) -> None:
        rng = self._random
        while True:
            places = list(value) if isinstance(value, dict) else list(range(len(value)))
            if not places:
                return
            place = rng.choice(places)
            inner = value[place]
            if isinstance(inner, dict | list) and inner and rng.random() < 0.75:
                value = inner
                continue
            if rng.random() < 0.2 and isinstance(value, dict):
                value[rng.choice(KEYS)] = copy.deepcopy(rng.choice(ATOMS))
            elif rng.random() < 0.2:
                del value[place]
            else:
                value[place] = copy.deepcopy(rng.choice(ATOMS))
            return

    def _cut(self, data: bytes) -> bytes:
        rng = self._random
        at = rng.randrange(len(data) + 1)
        upto = min(len(data), at + rng.choice((0, 1, 1, 5, 50)))
        return data[:at] + (rng.choice(RAW) if rng.random() < 0.7 else b"") + data[upto:]


class Instant:
    """A log that takes everything at once, and checks that it could be stored."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, events: Any, *, expected: Any = None, patient: bool = False) -> Future[list[int]]:
        from ultracore.distillation.events import codec

        for event in events:
            codec.encode(event)
        self.count += len(events)
        future: Future[list[int]] = Future()
        future.set_result([])
        return future

    def read(self, **_: Any) -> Any:
        return iter(())

    def last_position(self) -> int:
        return 0


class Canned(Upstream):
    """A teacher that answers at once; no socket."""

    def __init__(self, body: bytes) -> None:
        super().__init__("http://localhost/v1")
        self._body = body

    @asynccontextmanager
    async def ask(self, call: Call, attempts: list[Attempt]) -> AsyncIterator[TeacherReply]:
        done = Connection()
        done.complete, done.until_close = True, False
        yield TeacherReply(200, [(b"content-type", b"application/json")], self._body, done, 1.0)


SCOPE = {
    "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
    "raw_path": b"", "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
}  # fmt: skip


async def ask(app: Any, path: str, body: bytes) -> tuple[int, bytes]:
    """One request, as an ASGI server makes it."""
    status, parts, sent = 0, [], False

    async def receive() -> Any:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await app({**SCOPE, "path": path, "state": {}}, receive, send)
    return status, b"".join(parts)


def valid_bodies(fakes: Any) -> dict[str, list[dict[str, Any]]]:
    """By path: what is asked, and with it each kind of item that a conversation may hold."""
    call = {"id": "c", "type": "function", "function": {"name": "ping", "arguments": "{}"}}
    told = [fakes.SYSTEM, {"role": "assistant", "tool_calls": [call]}]
    told.append({"role": "tool", "tool_call_id": "c", "content": "pong"})
    chosen = {"type": "function", "function": {"name": "weather"}}
    chat = [
        fakes.chat(),
        fakes.chat(stream=True, stream_options={"include_usage": True}),
        fakes.chat(tool_choice=chosen, parallel_tool_calls=False),
        fakes.chat(messages=told),
    ]
    weather = fakes.WEATHER["function"]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "weather in Rome"}]},
        {"type": "function_call", "call_id": "c", "name": "ping", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "pong"}]},
    ]
    common = {"model": fakes.TEACHER, "store": False, "tools": [{"type": "function", **weather}]}
    respond = [{**common, "input": "weather in Rome"}, {**common, "input": items, "tool_choice": {"type": "function"}}]
    blocks = [
        {"role": "user", "content": [{"type": "text", "text": "weather in Rome"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "ping", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text"}]}]},
    ]
    tools = [{"name": "weather", "input_schema": weather["parameters"], "type": "custom"}]
    ask = {"model": fakes.TEACHER, "max_tokens": 9, "system": "be brief", "messages": blocks, "tools": tools}
    message = [ask, {**ask, "tool_choice": {"type": "tool", "name": "weather"}, "metadata": {"user_id": "u"}}]
    return {"/v1/chat/completions": chat, "/v1/responses": respond, "/v1/messages": message}


SHAPES = {"/v1/messages": {"type", "message"}}
"""The fields of an error; OpenAI's where nothing else is said."""


def fuzz(fakes: Any, count: int, seed: int) -> None:
    world = fakes.World()
    app = world.app(Canned(fakes.ROME), store=Instant())
    mutators = {path: Mutator(bodies, seed) for path, bodies in valid_bodies(fakes).items()}
    paths = ["/v1/chat/completions", "/v1/responses", "/v1/chat/completions", "/v1/messages"]
    statuses: dict[str, dict[int, int]] = {path: {} for path in paths}

    async def all_of_them() -> None:
        async with app.router.lifespan_context(app):
            for number in range(count):
                path = paths[number % 4]
                body = mutators[path].body()
                began = time.thread_time()
                status, answer = await ask(app, path, body)
                assert time.thread_time() - began < 1.0, body
                statuses[path][status] = statuses[path].get(status, 0) + 1
                assert 200 <= status < 500, (path, status, body, answer)
                if status >= 400:
                    shape = SHAPES.get(path, {"message", "type", "param", "code"})
                    assert json.loads(answer)["error"].keys() == shape, body

    asyncio.run(all_of_them())
    for path, seen in statuses.items():
        asked = sum(seen.values())
        assert seen[200] > asked // 10, path  # not all of it is nonsense
        assert seen[400] > asked // 10, path
    assert app.state.gateway.journal.lost == 0  # what was understood could also be written down


def test_twenty_thousand_bodies(fakes: Any) -> None:
    fuzz(fakes, 20_000, seed=1)


@pytest.mark.slow
def test_a_hundred_thousand_bodies(fakes: Any) -> None:
    fuzz(fakes, 100_000, seed=int(time.time()))
