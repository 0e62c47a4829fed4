"""The Messages API through the same gate: what Anthropic's client makes of it, and what the log and the teacher see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from ultracore.distillation.serve import Upstream
from ultracore.distillation.serve.messages.reply import MessageReader
from ultracore.distillation.serve.messages.request import parse_message_request
from ultracore.distillation.serve.offer import read_offer
from ultracore.distillation.serve.upstream.prices import Price
from ultracore.distillation.serve.wire import RequestError, parse_chat_request
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import LOCAL_CALL_PREFIX, ToolCall

anthropic = pytest.importorskip("anthropic", reason="the development requirements are older than this test")

DECISION, OUTCOME = "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED"


@pytest.fixture
def client(gateway_url: str) -> Iterator[Any]:
    base = gateway_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base, api_key="unused", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def body(fakes: Any) -> dict[str, Any]:
    tools = [
        {
            "name": tool["function"]["name"],
            "description": tool["function"].get("description", ""),
            "input_schema": tool["function"].get("parameters", {"type": "object"}),
        }
        for tool in fakes.TOOLS
    ]
    return {
        "model": fakes.TEACHER,
        "max_tokens": 100,
        "system": fakes.SYSTEM["content"],
        "messages": [{"role": "user", "content": "weather in Rome"}],
        "tools": tools,
    }


def parsed(body: dict[str, Any], **changes: Any) -> Any:
    return parse_message_request(json.dumps(body | changes).encode())


def test_a_local_call_as_a_message(client: Any, world: Any, body: Any, fakes: Any, teacher: Any) -> None:
    raw = client.messages.with_raw_response.create(**body)
    answer = raw.parse()
    (block,) = answer.content
    assert (block.type, block.name, block.input) == ("tool_use", "weather", {"city": "Rome"})
    assert block.id.startswith(LOCAL_CALL_PREFIX)
    assert (answer.stop_reason, answer.model, answer.usage.output_tokens) == ("tool_use", "student-1", 0)
    assert raw.headers["x-distill-source"] == "student"
    (decision,) = world.store.of(DECISION)
    assert decision.context == {"messages": fakes.chat()["messages"]}  # one student for all dialects
    assert decision.serving["endpoint"] == "messages"
    assert answer.id == f"msg_{decision.metadata.event_id}"
    assert teacher.seen == []


def test_a_local_call_as_a_stream_of_events(client: Any, body: Any, world: Any) -> None:
    world.student.rule = lambda state: Proposal((ToolCall("weather", {"city": "Rome"}), ToolCall("ping", {})), 0.99)
    with client.messages.stream(**body) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert [(block.name, block.input) for block in final.content] == [("weather", {"city": "Rome"}), ("ping", {})]
    assert final.stop_reason == "tool_use"
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


def test_a_local_call_for_the_asynchronous_client(gateway_url: str, body: Any) -> None:
    async def ask() -> Any:
        base = gateway_url.removesuffix("/v1")
        async with anthropic.AsyncAnthropic(base_url=base, api_key="unused", max_retries=0) as client:
            return await client.messages.create(**body)

    assert asyncio.run(ask()).content[0].name == "weather"


def test_the_teachers_message_passes_and_is_logged(client: Any, body: Any, world: Any, teacher: Any) -> None:
    teacher.said["content"].insert(0, {"type": "text", "text": "I look."})
    raw = client.messages.with_raw_response.create(**body, extra_headers={"x-distill-force": "teacher"})
    assert json.loads(raw.http_response.content) == teacher.said
    headers, asked = teacher.seen[0]
    assert json.loads(asked) == body
    assert headers["anthropic-version"]
    assert "authorization" not in headers
    (decision,), (outcome,) = world.store.of(DECISION), world.store.of(OUTCOME)
    assert (decision.source, decision.reply) == ("teacher", "I look.")
    assert decision.tool_calls == [{"name": "weather", "arguments": {"city": "Rome"}}]
    (attempt,) = world.store.of("UPSTREAM_ATTEMPTED")
    assert (outcome.status, attempt.usage["cache_read_input_tokens"]) == ("ok", 3)


def test_the_teachers_stream_passes_byte_for_byte(gateway_url: str, body: Any, world: Any, teacher: Any) -> None:
    world.student.rule = lambda state: Proposal()
    reply = httpx2.post(gateway_url + "/messages", json={**body, "stream": True})
    assert reply.content == b"".join(teacher.said_events)
    (decision,), (outcome,) = world.store.of(DECISION), world.store.of(OUTCOME)
    assert decision.tool_calls == [{"name": "weather", "arguments": {"city": "Rome"}}]
    (attempt,) = world.store.of("UPSTREAM_ATTEMPTED")
    assert (outcome.status, attempt.usage["input_tokens"], attempt.usage["output_tokens"]) == ("ok", 10, 5)


def test_a_stream_without_its_end_never_looks_whole(client: Any, body: Any, world: Any, teacher: Any) -> None:
    world.student.rule = lambda state: Proposal()
    teacher.said_events = teacher.said_events[:4]
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        list(client.messages.create(**body, stream=True))
    (outcome,) = world.store.of(OUTCOME)
    assert outcome.status == "truncated"


def test_errors_are_of_anthropics_shape(client: Any, gateway_url: str, body: Any, world: Any, teacher: Any) -> None:
    world.student.rule = lambda state: Proposal()
    teacher.mode = "429"
    with pytest.raises(anthropic.RateLimitError, match="as the teacher said"):  # as it came
        client.messages.create(**body)
    with pytest.raises(anthropic.BadRequestError, match="messages") as refused:
        client.messages.create(**{**body, "messages": []})
    assert refused.value.body["type"] == "error"
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    missing = httpx2.post(gateway_url + "/messages", content=b"{}", headers={"content-type": "text/plain"})
    assert (missing.status_code, missing.json()["type"]) == (415, "error")


def test_a_key_may_come_as_anthropics_clients_send_it(world: Any, fakes: Any, body: Any) -> None:
    env = {"DISTILL_GATEWAY_KEY": "sk-gateway-1"}

    async def ask() -> list[Any]:
        async with world.client(None, env=env) as client:
            keys: list[dict[str, str]] = [
                {}, {"x-api-key": "wrong"}, {"x-api-key": "sk-gateway-1"}, {"authorization": "Bearer sk-gateway-1"},
                {"authorization": "Bearer wrong", "x-api-key": "sk-gateway-1"},
            ]  # fmt: skip
            return [await client.post("/v1/messages", json=body, headers=headers) for headers in keys]

    replies = asyncio.run(ask())
    assert [reply.status_code for reply in replies] == [401, 401, 200, 200, 401]
    assert replies[0].json()["error"]["type"] == "authentication_error"


def test_the_operators_key_goes_where_anthropic_looks_for_it(
    world: Any, fakes: Any, body: Any, teacher: Any, teacher_url: str
) -> None:
    async def ask() -> None:
        async with world.client(Upstream(teacher_url, key="sk-own")) as client:
            force = {"x-distill-force": "teacher", "x-api-key": "the-clients"}
            await client.post("/v1/messages", json=body, headers=force)
            await client.post("/v1/chat/completions", json=fakes.chat(), headers=force)

    asyncio.run(ask())
    first, second = (headers for headers, _ in teacher.seen)
    assert (first.get("x-api-key"), first.get("authorization")) == ("sk-own", None)
    assert (second.get("x-api-key"), second.get("authorization")) == (None, "Bearer sk-own")


@pytest.mark.parametrize(
    "changes",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"stop_sequences": ["x"]},
        {"container": "c"},
        {"mcp_servers": [{"type": "url"}]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"name": "ping", "input_schema": {"type": "object"}, "defer_loading": True}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
        {"brand_new": 1},
    ],
    ids=str,
)
def test_what_only_the_teacher_can_do_goes_to_it(
    gateway_url: str, body: Any, world: Any, teacher: Any, changes: Any
) -> None:
    reply = httpx2.post(gateway_url + "/messages", json=body | changes)
    assert reply.headers["x-distill-reason"] == "unsupported_request"
    assert json.loads(teacher.seen[0][1]) == body | changes
    assert world.student.asked == 0


def test_blocks_become_the_messages_that_mean_the_same(body: Any) -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    request = parsed(
        body,
        system=[{"type": "text", "text": "You sell flights.", **cached}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Rome?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Rome"}},
                    {"type": "tool_use", "id": "b", "name": "ping", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "sunny"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "content": [{"type": "text", "text": "pong", **cached}],
                    },
                    {"type": "text", "text": "and Oslo?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "ping", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
        ],
        tool_choice={"type": "tool", "name": "ping", "disable_parallel_tool_use": True},
        metadata={"user_id": "ann"},
        thinking={"type": "disabled"},
        stop_sequences=[],
    )
    assert request.problem == ""
    assert [message["role"] for message in request.messages] == [
        "system", "user", "assistant", "tool", "tool", "user", "assistant", "tool",
    ]  # fmt: skip
    assert request.messages[2]["content"] == "I look."
    assert [call["function"] for call in request.messages[2]["tool_calls"]] == [
        {"name": "weather", "arguments": '{"city":"Rome"}'},
        {"name": "ping", "arguments": "{}"},
    ]
    assert [message["content"] for message in request.messages[3:]] == ["sunny", "pong", "and Oslo?", None, ""]
    assert request.options["tool_choice"] == {"type": "function", "function": {"name": "ping"}}
    assert (request.options["parallel_tool_calls"], request.options["user"]) == (False, "ann")
    assert not {"thinking", "stop_sequences"} & request.options.keys()
    same = parse_chat_request(json.dumps({"model": "m", "messages": request.messages}).encode())
    assert same.messages == request.messages


@pytest.mark.parametrize(
    ("choice", "meant"), [("auto", "auto"), ("any", "required"), ("none", "none"), ("else", {"type": "else"})]
)
def test_the_choice_of_a_tool_in_chats_words(body: Any, choice: str, meant: Any) -> None:
    assert parsed(body, tool_choice={"type": choice}).options["tool_choice"] == meant


def test_tools_have_the_fingerprints_of_the_same_tools_in_chats_form(body: Any, fakes: Any, world: Any) -> None:
    ours = read_offer(parsed(body).tools)
    assert ours.fingerprints == read_offer(json.dumps(fakes.TOOLS).encode()).fingerprints
    marked = [{**tool, "cache_control": {"type": "ephemeral"}, "type": "custom"} for tool in body["tools"]]
    assert read_offer(parsed(body, tools=marked).tools).fingerprints == ours.fingerprints


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": []}, {"messages": None}, {"messages": [{"role": "user"}]}, {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user", "content": [1]}]}, {"model": ""}, {"stream": "yes"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_request_is_refused(body: Any, changes: Any) -> None:
    with pytest.raises(RequestError) as refused:
        parsed(body, **changes)
    assert refused.value.status == 400


@pytest.mark.parametrize("tools", [5, [5], {"a": 1}, [{"name": 5}]], ids=str)
def test_tools_that_are_none_are_refused_or_left_to_the_teacher(gateway_url: str, body: Any, tools: Any) -> None:
    reply = httpx2.post(gateway_url + "/messages", json={**body, "tools": tools})
    assert reply.status_code == 400 or reply.headers["x-distill-reason"] == "unsupported_request"


def read(data: bytes, *, stream: bool) -> Any:
    reader = MessageReader(stream=stream)
    reader.feed(data)
    return reader.reply


def test_only_a_message_that_ended_by_itself_is_a_decision(fakes: Any) -> None:
    call, text = fakes.ROME_USE, {"type": "text", "text": "Sunny."}
    for content in ((call,), (text, call), (text,), ({**call, "input": {}},)):
        whole = fakes.message(*content, reason="tool_use" if call in content else "end_turn")
        calls = tuple(ToolCall(block["name"], block["input"]) for block in content if block is not text)
        encoded, frames = json.dumps(whole).encode(), fakes.message_events(whole)
        assert read(encoded, stream=False).calls == read(b"".join(frames), stream=True).calls == calls
        assert read(b"".join(frames), stream=True).usage == whole["usage"]
        assert all(read(encoded[:size], stream=False).calls is None for size in range(len(encoded)))
        assert all(read(b"".join(frames[:count]), stream=True).calls is None for count in range(len(frames) - 2))
    for refused in (
        fakes.message(call, reason="max_tokens"),
        fakes.message(text, reason="refusal"),
        fakes.message({"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}}),
        fakes.message({**call, "id": LOCAL_CALL_PREFIX + "1"}),
    ):
        assert read(json.dumps(refused).encode(), stream=False).calls is None
        assert read(b"".join(fakes.message_events(refused)), stream=True).calls is None
    error = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}\n\n'
    assert read(b"".join(fakes.message_events(fakes.message(call))[:4]) + error, stream=True).calls is None


def test_tokens_of_the_cache_cost_what_the_table_says() -> None:
    usage = {
        "input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 10_000,
        "cache_creation_input_tokens": 2000,
    }  # fmt: skip
    assert Price(input=3.0, output=15.0, cached_input=0.3, cache_write=3.75).cost(usage) == pytest.approx(0.015)
    assert Price(input=1.0, output=1.0).cost(usage) == pytest.approx(0.0131)


@pytest.mark.parametrize("block", [{"type": {}}, {"type": ["text"], "text": "hi"}, {"type": "text"}, {}])
def test_a_block_of_no_kind_that_we_know_stays_as_it_came(body: Any, block: dict[str, Any]) -> None:
    request = parsed(body, messages=[{"role": "user", "content": [block]}])
    assert request.messages[-1] == {"role": "user", "content": [block]}
