"""The Responses API through the same gate: what the real client makes of it, and what the log and the teacher see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from ultracore.distillation.log.history import rows_from_log
from ultracore.distillation.serve.responses.reply import ResponseReader
from ultracore.distillation.serve.responses.request import parse_response_request
from ultracore.distillation.serve.wire import RequestError, parse_chat_request
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import LOCAL_CALL_PREFIX, ToolCall

DECISION, OUTCOME = "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED"


@pytest.fixture
def client(gateway_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway_url, api_key="unused", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def body(fakes: Any) -> dict[str, Any]:
    tools = [{"type": "function", **tool["function"]} for tool in fakes.TOOLS]
    return {
        "model": fakes.TEACHER,
        "instructions": "You sell flights.",
        "input": "weather in Rome",
        "tools": tools,
        "store": False,
    }


def parsed(body: dict[str, Any], **changes: Any) -> Any:
    return parse_response_request(json.dumps(body | changes).encode())


def test_a_local_call_as_a_response(client: openai.OpenAI, world: Any, body: Any, fakes: Any, teacher: Any) -> None:
    raw = client.responses.with_raw_response.create(**body)
    answer = raw.parse()
    (item,) = answer.output
    assert (item.type, item.name, json.loads(item.arguments)) == ("function_call", "weather", {"city": "Rome"})
    assert item.call_id.startswith(LOCAL_CALL_PREFIX)
    assert (answer.status, answer.model, answer.usage.total_tokens) == ("completed", "student-1", 0)
    assert (answer.instructions, answer.store, len(answer.tools)) == ("You sell flights.", False, 2)
    assert raw.headers["x-distill-source"] == "student"
    (decision,) = world.store.of(DECISION)
    chat = fakes.chat()
    assert decision.context == {"messages": chat["messages"]}  # one student for both dialects
    assert decision.serving["endpoint"] == "responses"
    assert teacher.seen == []


def test_a_local_call_as_a_stream_of_events(client: openai.OpenAI, body: Any, world: Any) -> None:
    world.student.rule = lambda state: Proposal((ToolCall("weather", {"city": "Rome"}), ToolCall("ping", {})), 0.99)
    with client.responses.stream(**body) as stream:
        seen = list(stream)
        final = stream.get_final_response()
    assert [item.name for item in final.output] == ["weather", "ping"]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert [event.type for event in seen][:3] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert seen[-1].type == "response.completed"


def test_the_teachers_response_passes_and_is_logged(
    client: openai.OpenAI, body: Any, world: Any, teacher: Any, fakes: Any
) -> None:
    raw = client.responses.with_raw_response.create(**body, extra_headers={"x-distill-force": "teacher"})
    assert json.loads(raw.content) == teacher.response
    (decision,), (outcome,) = world.store.of(DECISION), world.store.of(OUTCOME)
    assert (decision.source, decision.tool_calls) == (
        "teacher",
        [{"name": "weather", "arguments": {"city": "Rome"}}],
    )
    (attempt,) = world.store.of("UPSTREAM_ATTEMPTED")
    assert (outcome.status, attempt.usage["total_tokens"]) == ("ok", 15)
    assert decision.tools_available[0]["name"] == "weather"


def test_the_teachers_stream_passes_byte_for_byte(gateway_url: str, body: Any, world: Any, teacher: Any) -> None:
    world.student.rule = lambda state: Proposal()
    reply = httpx2.post(gateway_url + "/responses", json={**body, "stream": True})
    assert reply.content == b"".join(teacher.events)
    (decision,) = world.store.of(DECISION)
    assert decision.tool_selected == "weather"


def test_a_stream_without_its_end_never_looks_whole(client: openai.OpenAI, body: Any, world: Any, teacher: Any) -> None:
    world.student.rule = lambda state: Proposal()
    teacher.events = teacher.events[:1]
    with pytest.raises(openai.APIError):
        list(client.responses.create(**body, stream=True))
    (outcome,) = world.store.of(OUTCOME)
    assert outcome.status == "truncated"


@pytest.mark.parametrize(
    "changes",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"store": True},
        {"store": None},
        {"tools": [{"type": "web_search"}]},
        {"text": {"format": {"type": "json_schema"}}},
        {"background": True},
        {"include": ["message.output_text.logprobs"]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"type": "web_search_call", "id": "ws_1"}]},
        {"instructions": [{"role": "user", "content": "x"}]},
        {"brand_new": 1},
    ],
    ids=str,
)
def test_what_the_teacher_keeps_or_only_it_can_do_goes_to_it(
    gateway_url: str, body: Any, world: Any, teacher: Any, changes: Any
) -> None:
    whole = {name: value for name, value in (body | changes).items() if value is not None}
    reply = httpx2.post(gateway_url + "/responses", json=whole)
    assert reply.headers["x-distill-reason"] == "unsupported_request"
    assert json.loads(teacher.seen[0][1]) == whole
    assert world.student.asked == 0


def test_a_decision_whose_context_the_teacher_keeps_is_logged_but_teaches_nothing(
    client: openai.OpenAI, body: Any, world: Any, teacher: Any
) -> None:
    client.responses.create(**{**body, "previous_response_id": "resp_1"})
    (decision,) = world.store.of(DECISION)
    assert decision.serving["partial"] is True
    assert rows_from_log(world.store) == []
    client.responses.create(**{**body, "store": True})
    world.store.of(DECISION, at_least=2)
    assert len(rows_from_log(world.store)) == 1


def test_items_become_the_messages_that_mean_the_same(body: Any) -> None:
    request = parsed(
        body,
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Rome?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "ping", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "sunny"},
            {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "pong"}]},
            {"type": "function_call", "call_id": "c", "name": "ping", "arguments": "{}"},
        ],
        tool_choice={"type": "function", "name": "ping"},
        max_output_tokens=5,
    )
    assert request.problem == ""
    assert [message["role"] for message in request.messages] == [
        "system", "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert [call["id"] for call in request.messages[2]["tool_calls"]] == ["a", "b"]
    assert (request.messages[2]["content"], request.messages[4]["content"]) == ("I look.", "pong")
    assert request.options["tool_choice"] == {"type": "function", "function": {"name": "ping"}}
    same = parse_chat_request(json.dumps({"model": "m", "messages": request.messages}).encode())
    assert same.messages == request.messages


@pytest.mark.parametrize("changes", [{"input": []}, {"input": 5}, {"input": None}, {"model": ""}, {"stream": "yes"}])
def test_what_is_no_request_is_refused(body: Any, changes: Any) -> None:
    with pytest.raises(RequestError) as refused:
        parsed(body, **changes)
    assert refused.value.status == 400


def read(data: bytes, *, stream: bool) -> Any:
    reader = ResponseReader(stream=stream)
    reader.feed(data)
    return reader.reply


def test_only_a_completed_response_is_a_decision(fakes: Any) -> None:
    call = fakes.ROME_CALL
    whole = json.dumps(fakes.response(call)).encode()
    assert read(whole, stream=False).calls == (ToolCall("weather", {"city": "Rome"}),)
    assert all(read(whole[:size], stream=False).calls is None for size in range(len(whole)))
    text = {"type": "message", "content": [{"type": "output_text", "text": "Sunny."}]}
    assert read(b"".join(fakes.events(fakes.response({"type": "reasoning"}, text))), stream=True).text == "Sunny."
    for refused in (
        fakes.response(call, status="incomplete"),
        fakes.response(call, status="failed"),
        fakes.response(call, {"type": "web_search_call"}),
        fakes.response(call) | {"error": {"code": "x"}},
        fakes.response({**call, "call_id": LOCAL_CALL_PREFIX + "1"}),
    ):
        assert read(json.dumps(refused).encode(), stream=False).calls is None
        assert read(b"".join(fakes.events(refused)), stream=True).calls is None
    assert not read(fakes.events(fakes.response(call))[0], stream=True).finished


@pytest.mark.parametrize("part", [{"type": {}}, {"type": ["input_text"], "text": "hi"}, {"type": "input_text"}, {}])
def test_a_part_of_no_kind_that_we_know_stays_as_it_came(part: dict[str, Any]) -> None:
    asked = {"model": "m", "store": False, "input": [{"role": "user", "content": [part]}]}
    assert parse_response_request(json.dumps(asked).encode()).messages == [{"role": "user", "content": [part]}]
