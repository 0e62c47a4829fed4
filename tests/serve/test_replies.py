"""What counts as the teacher's decision, however its bytes were cut on the way."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.serve.answers import Answer, as_json, as_stream
from ultracore.distillation.serve.replies import Reader, Reply
from ultracore.distillation.tools import ToolCall

ROME = ToolCall("weather", {"city": "Rome"})


def read(data: bytes, *, stream: bool) -> Reply:
    reader = Reader(stream=stream)
    reader.feed(data)
    return reader.reply


@given(cuts=st.lists(st.integers(0, 2000), max_size=20))
def test_a_stream_reads_the_same_however_it_is_cut(fakes: Any, cuts: list[int]) -> None:
    whole = b"".join(fakes.STREAM)
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    reader = Reader(stream=True)
    for start, end in itertools.pairwise(places):
        reader.feed(whole[start:end])
    assert reader.reply.calls == (ROME,)
    assert reader.reply.finished


def test_no_prefix_of_a_stream_is_a_decision(fakes: Any) -> None:
    whole = b"".join(fakes.STREAM)
    end = whole.index(b'"finish_reason": "tool_calls"')
    assert all(read(whole[:size], stream=True).calls is None for size in range(end))


def test_no_prefix_of_an_answer_is_a_decision(fakes: Any) -> None:
    assert all(read(fakes.ROME[:size], stream=False).calls is None for size in range(len(fakes.ROME)))
    assert read(fakes.ROME, stream=False).calls == (ROME,)


def test_parallel_calls_in_a_stream_are_told_apart_by_index(fakes: Any) -> None:
    def piece(index: int, **function: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, "function": function}]}

    deltas = [
        piece(0, name="a", arguments="{"),
        piece(1, name="b", arguments='{"x"'),
        piece(0, arguments="}"),
        piece(1, arguments=":1}"),
    ]
    reply = read(b"".join(fakes.frames(*deltas)), stream=True)
    assert reply.calls == (ToolCall("a", {}), ToolCall("b", {"x": 1}))


def test_carriage_returns_comments_and_a_missing_done_are_read(fakes: Any) -> None:
    body = b": keep-alive\n\n" + b"".join(fakes.STREAM[:-1]).replace(b"\n", b"\r\n")
    assert read(body, stream=True).calls == (ROME,)


def test_a_legacy_function_call_is_read(fakes: Any) -> None:
    message = {"function_call": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    assert read(fakes.completion(message, "function_call"), stream=False).calls == (ROME,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"choices": []}',
        b'{"choices": 5}',
        b'{"error": {"message": "x"}, "choices": [{"finish_reason": "stop"}]}',
        b'{"choices": [{"finish_reason": "stop", "message": {}}, {"index": 1, "finish_reason": "stop"}]}',
        b'{"choices": [{"finish_reason": "tool_calls", "message": {"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}}]}',
        b'{"choices": [{"finish_reason": "tool_calls", "message": {"tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]}}]}',
        b'{"choices": [{"finish_reason": "tool_calls", "message": {"tool_calls": [{"function": {"arguments": "{}"}}]}}]}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_decision(data: bytes) -> None:
    assert read(data, stream=False).calls is None
    assert read(b"data: " + data + b"\n\n", stream=True).calls is None


def test_a_local_answer_reads_back_as_the_same_call_but_never_as_a_label() -> None:
    answer = Answer(receipt="0" * 32, model="student-1", created=1, calls=(ROME, ToolCall("ping", {})))
    reader = Reader(stream=True)
    reader.feed(as_stream(answer, include_usage=True))
    assert (reader.reply.finished, reader.reply.calls) == (True, None)
    assert "student" in reader.reply.problem


def test_the_wire_format_of_a_local_answer_is_stable() -> None:
    answer = Answer(receipt="0123456789abcdef0123456789abcdef", model="student-1", created=7, calls=(ROME,))
    call = {
        "id": "call_distill_0123456789abcdef01234567_0",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
    }
    assert json.loads(as_json(answer)) == {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion",
        "created": 7,
        "model": "student-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]},
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
    lines = as_stream(answer, include_usage=False).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    deltas = [json.loads(line[6:])["choices"][0] for line in lines[:-2]]
    assert [d["delta"] for d in deltas] == [
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, **call}]},
        {},
    ]
    assert [d["finish_reason"] for d in deltas] == [None, None, "tool_calls"]
