"""Requests with `functions`, which some clients still send: the same gate, the shape that they understand."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest

from ultracore.distillation.serve.wire import RequestError, parse_chat_request
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import ToolCall


@pytest.fixture
def body(fakes: Any) -> dict[str, Any]:
    chat: dict[str, Any] = fakes.chat()
    functions = [tool["function"] for tool in chat.pop("tools")]
    return {**chat, "functions": functions}


@pytest.mark.parametrize("choice", [{}, {"function_call": "auto"}, {"function_call": {"name": "weather"}}], ids=str)
def test_a_local_call_is_a_function_call(gateway_url: str, body: Any, world: Any, fakes: Any, choice: Any) -> None:
    with openai.OpenAI(base_url=gateway_url, api_key="unused", max_retries=0) as client:
        answer = client.chat.completions.create(**body, **choice)
        chunks = list(client.chat.completions.create(**body, **choice, stream=True))
    message = answer.choices[0].message
    assert message.tool_calls is None
    assert (message.function_call.name, json.loads(message.function_call.arguments)) == ("weather", {"city": "Rome"})
    assert answer.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "function_call"
    assert chunks[1].choices[0].delta.function_call.name == "weather"
    decision, _ = world.store.of("AGENT_TOOL_SELECTED", at_least=2)
    assert decision.tools_available == fakes.TOOLS


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"function_call": "none"}, "text_reply"),
        ({"function_call": {"name": "ping"}}, "unsupported_request"),
        ({"function_call": {"name": 5}}, "unsupported_request"),
        ({"function_call": "sometimes"}, "unsupported_request"),
        ({"functions": []}, "text_reply"),
        ({"functions": ["weather"]}, "unsupported_request"),
        ({"tools": []}, "unsupported_request"),
    ],
    ids=str,
)
def test_what_a_function_call_cannot_answer_goes_to_the_teacher(
    gateway_url: str, body: Any, teacher: Any, changes: Any, reason: str
) -> None:
    whole = body | changes
    reply = httpx2.post(gateway_url + "/chat/completions", json=whole)
    assert (reply.status_code, reply.headers["x-distill-reason"]) == (200, reason)
    assert json.loads(teacher.seen[0][1]) == whole


def test_two_calls_have_no_legacy_shape(gateway_url: str, body: Any, world: Any) -> None:
    world.student.rule = lambda state: Proposal((ToolCall("ping", {}), ToolCall("ping", {})), 0.99)
    reply = httpx2.post(gateway_url + "/chat/completions", json=body)
    assert reply.headers["x-distill-reason"] == "unsupported_request"


def test_functions_must_be_a_list() -> None:
    with pytest.raises(RequestError):
        parse_chat_request(b'{"model": "m", "messages": [{"role": "user"}], "functions": {}}')
