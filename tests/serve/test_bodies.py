"""Bodies that nobody should send: each gets an answer below 500 in OpenAI's error shape, quickly."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.wire import MAX_BODY, RequestError, parse_chat_request, session_of

JSON = {"content-type": "application/json"}


class InProcess:
    """The gateway without a socket between it and its client."""

    def __init__(self, fakes: Any, teacher_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.world = fakes.World()
        self.running = self.world.client(Upstream(teacher_url))
        self.client = self.loop.run_until_complete(self.running.__aenter__())

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
        return self.loop.run_until_complete(
            self.client.post("/v1/chat/completions", content=body, headers=JSON | (headers or {}))
        )

    def close(self) -> None:
        self.loop.run_until_complete(self.running.__aexit__(None, None, None))
        self.loop.close()


@pytest.fixture(scope="module")
def gateway(fakes: Any) -> Iterator[InProcess]:
    with fakes.Running(fakes.ScriptedTeacher().app) as teacher_url:
        gateway = InProcess(fakes, teacher_url)
        yield gateway
        gateway.close()


def check(reply: httpx2.Response) -> None:
    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400:
        assert reply.json()["error"].keys() == {"message", "type", "param", "code"}


def valid(fakes: Any, **changes: Any) -> bytes:
    return json.dumps(fakes.chat(**changes)).encode()


def seeds(fakes: Any) -> dict[str, bytes]:
    whole = valid(fakes)
    name = {"type": "function", "function": {"name": "weather"}}
    return {
        "100,000 brackets": b"[" * 100_000,
        "100,000 brackets in a field": whole.replace(b'"teacher-1"', b"[" * 100_000),
        "120 levels in a field": whole[:-1] + b', "x": ' + b"[" * 120 + b"]" * 120 + b"}",
        "120 levels in tools": json.dumps(fakes.chat(tools=[]))
        .encode()
        .replace(b'"tools": []', b'"tools": ' + b"[" * 120 + b"]" * 120),
        "lone high surrogate": whole.replace(b"Rome", b"\\ud83d"),
        "lone low surrogate": whole.replace(b"Rome", b"\\udc00"),
        "NaN": whole[:-1] + b', "temperature": NaN}',
        "infinite": whole[:-1] + b', "temperature": 1e999}',
        "5,000 digits": whole[:-1] + b', "seed": ' + b"9" * 5000 + b"}",
        "UTF-16": whole.decode().encode("utf-16"),
        "BOM": b"\xef\xbb\xbf" + whole,
        "not UTF-8": whole.replace(b"Rome", b"R\xff"),
        "empty": b"",
        "null": b"null",
        "list": b"[]",
        "cut": whole[:-20],
        "trailing": whole + b"{}",
        "messages empty": valid(fakes, messages=[]),
        "messages of strings": valid(fakes, messages=["hi"]),
        "role missing": valid(fakes, messages=[{"content": "hi"}]),
        "role a number": valid(fakes, messages=[{"role": 1}]),
        "model a number": valid(fakes, model=5),
        "model empty": valid(fakes, model=""),
        "stream a string": valid(fakes, stream="yes"),
        "stream zero": valid(fakes, stream=0),
        "stream one": valid(fakes, stream=1.0),
        "tools a dict": valid(fakes, tools={}),
        "tools of strings": valid(fakes, tools=["f"]),
        "100,000 tools": valid(fakes, tools=[name] * 100_000),
        "a million values": whole[:-1] + b', "x": [' + b"1," * 1_000_000 + b"1]}",
    }


def oddities(fakes: Any) -> dict[str, bytes]:
    whole = valid(fakes)
    return {
        "2^63": whole[:-1] + b', "seed": 9223372036854775808}',
        "2^70": whole[:-1] + b', "seed": 1180591620717411303424}',
        "duplicate keys": whole[:-1] + b', "model": "teacher-1"}',
        "NUL": whole.replace(b"Rome", b"\\u0000"),
        "tool ../x": valid(fakes, tools=[{"type": "function", "function": {"name": "../x"}}]),
        "tool without a name": valid(fakes, tools=[{"type": "function", "function": {"name": ""}}]),
        "1 MB name": valid(fakes, tools=[{"type": "function", "function": {"name": "x" * 1_000_000}}]),
        "model with a newline": valid(fakes, model="a\r\nx-evil: 1"),
        "model beyond latin-1": valid(fakes, model="模型"),
        "tool_choice a number": valid(fakes, tool_choice=5),
        "stream_options a list": valid(fakes, stream_options=[1]),
        "content a number": valid(fakes, messages=[{"role": "user", "content": 5}]),
        "content parts of numbers": valid(fakes, messages=[{"role": "user", "content": [5]}]),
        "tool_calls a number": valid(fakes, messages=[{"role": "assistant", "tool_calls": 5}]),
        "1 MB with 128 tools": valid(
            fakes,
            tools=[{"type": "function", "function": {"name": f"t{i}", "description": "d" * 8000}} for i in range(128)],
        ),
    }


def test_must_have_seeds_are_refused(gateway: InProcess, fakes: Any) -> None:
    for name, body in seeds(fakes).items():
        began = time.process_time()  # other work on the machine must not fail this
        reply = gateway.post(body)
        assert reply.status_code == 400, name
        check(reply)
        assert time.process_time() - began < 2.0, name


def test_odd_but_legitimate_bodies_are_answered(gateway: InProcess, fakes: Any) -> None:
    for name, body in oddities(fakes).items():
        began = time.process_time()  # other work on the machine must not fail this
        reply = gateway.post(body)
        assert reply.status_code == 200, (name, reply.text)
        assert "x-evil" not in reply.headers
        assert time.process_time() - began < 1.0, name


def test_a_body_is_bounded_however_it_comes(gateway: InProcess, fakes: Any) -> None:
    assert gateway.post(b" " * (MAX_BODY + 1)).status_code == 413

    async def endless() -> Any:
        while True:
            yield b" " * 1_000_000

    chunked = gateway.client.post("/v1/chat/completions", content=endless(), headers=JSON)
    assert gateway.loop.run_until_complete(chunked).status_code == 413


def test_compressed_and_foreign_bodies_are_refused(gateway: InProcess, fakes: Any) -> None:
    assert gateway.post(valid(fakes), {"content-encoding": "gzip"}).status_code == 415
    assert gateway.post(valid(fakes), {"content-type": "text/plain"}).status_code == 415
    check(gateway.loop.run_until_complete(gateway.client.get("/v1/chat/completions")))


def test_headers_beyond_ascii_do_no_harm(gateway: InProcess, fakes: Any) -> None:
    for name in ("x-distill-session", "x-distill-agent", "x-distill-force", "idempotency-key", "openai-organization"):
        headers = {**JSON, name: "é" * 300}
        encoded = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
        body = valid(fakes, model="other")
        reply = gateway.loop.run_until_complete(
            gateway.client.post("/v1/chat/completions", content=body, headers=encoded)
        )
        assert reply.status_code == 200, name


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = (
    "model",
    "messages",
    "tools",
    "tool_choice",
    "stream",
    "stream_options",
    "n",
    "parallel_tool_calls",
    "response_format",
    "x",
)


@st.composite
def mutations(draw: st.DrawFn, fakes: Any) -> bytes:
    body = fakes.chat()
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
        body[name] = draw(VALUES)
    place = draw(st.sampled_from(["message", "tool", "schema", "nothing"]))
    if place == "message":
        body["messages"] = [
            *fakes.chat()["messages"],
            {
                "role": "user",
                "content": "x",
                draw(st.sampled_from(["role", "content", "tool_calls", "name"])): draw(VALUES),
            },
        ]
    if place in ("tool", "schema"):
        function = {"name": "weather", draw(st.sampled_from(["name", "description", "parameters"])): draw(VALUES)}
        if place == "schema":
            function["parameters"] = {
                draw(st.sampled_from(["type", "properties", "required", "$ref", "$defs", "anyOf"])): draw(VALUES)
            }
        body["tools"] = [{"type": "function", "function": function}]
    encoded = json.dumps(body).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(encoded)))
        encoded = encoded[:at] + draw(st.binary(max_size=6)) + encoded[at + draw(st.integers(0, 4)) :]
    return encoded


@settings(
    max_examples=300, deadline=1000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_body_makes_the_gateway_fail(gateway: InProcess, fakes: Any, data: st.DataObject) -> None:
    check(gateway.post(data.draw(mutations(fakes) | st.binary(max_size=64))))


def test_a_session_is_named_or_derived() -> None:
    first = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    later = [*first, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}]
    assert session_of(first, None) == session_of(later, None)
    assert session_of(first, None) != session_of([{"role": "user", "content": "u"}], None)
    assert session_of(first, "named") == "named"
    assert len(session_of(first, "x" * 5000)) <= 128


def test_the_parser_leaves_the_body_alone(fakes: Any) -> None:
    body = valid(fakes, stream=True, brand_new={"a": 1})
    request = parse_chat_request(body)
    assert request.body == body
    assert request.options["brand_new"] == {"a": 1}
    assert "stream" not in json.loads(request.unstreamed)
    with pytest.raises(RequestError):
        parse_chat_request(b"[]")
