"""Every reason to hand over, and nothing sent that was not offered, allowed, certified and valid."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.serve.gate import Escalate, Gate, Reason, Send
from ultracore.distillation.serve.wire import parse_chat_request
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import ToolCall, parse_tool


@pytest.fixture
def ask(fakes: Any, world: Any) -> Any:
    """ask(body changes, gate=..., rule=..., **certificate changes) -> verdict"""

    def ask(
        body: dict[str, Any] | None = None,
        *,
        rule: Any = None,
        gate: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Send | Escalate:
        if rule is not None:
            world.student.rule = rule
        built = Gate(world.student, fakes.certificate(**changes), **(gate or {}))
        return built.decide(parse_chat_request(json.dumps(fakes.chat(**(body or {}))).encode()))

    return ask


def proposing(*calls: ToolCall, confidence: float = 0.99, missing: tuple[str, ...] = ()) -> Any:
    return lambda state: Proposal(tuple(calls), confidence, missing)


ROME = ToolCall("weather", {"city": "Rome"})


def test_a_certain_valid_call_is_sent_whole(ask: Any) -> None:
    verdict = ask()
    assert isinstance(verdict, Send)
    assert verdict.proposal.calls == (ROME,)


def test_a_tool_without_arguments_gets_an_empty_object(ask: Any) -> None:
    verdict = ask(rule=proposing(ToolCall("ping", None)))
    assert isinstance(verdict, Send)
    assert verdict.proposal.calls == (ToolCall("ping", {}),)


WEATHER_AGAIN = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
CIRCLES = [
    {"role": "user", "content": "weather in Rome?"},
    *[{"role": "assistant", "tool_calls": [WEATHER_AGAIN]}, {"role": "tool", "tool_call_id": "c", "content": "?"}] * 3,
]


def test_two_equal_calls_are_no_circle(ask: Any) -> None:
    assert isinstance(ask({"messages": CIRCLES[:5]}), Send)


def raising(state: Any) -> Proposal:
    raise RuntimeError("a secret of the conversation")


REASONS: list[tuple[str, Reason, dict[str, Any]]] = [
    ("refused certificate", Reason.NOT_CERTIFIED, {"certified": False}),
    ("revoked", Reason.REVOKED, {"gate": {"revoked": True}}),
    ("unsure", Reason.LOW_CONFIDENCE, {"rule": proposing(ROME, confidence=0.89)}),
    ("action without a threshold", Reason.LOW_CONFIDENCE, {"thresholds": {"ping": 0.0}}),
    ("text", Reason.TEXT_REPLY, {"rule": proposing()}),
    ("no tools", Reason.TEXT_REPLY, {"body": {"tools": None}}),
    ("tool_choice none", Reason.TEXT_REPLY, {"body": {"tool_choice": "none"}}),
    ("tool unknown to the certificate", Reason.UNKNOWN_TOOL, {"tools": {}}),
    ("schema changed", Reason.SCHEMA_CHANGED, {"tools": {"weather": "0" * 16}}),
    ("prompt unseen", Reason.PROMPT_CHANGED, {"prompts": ["0" * 16]}),
    ("other teacher", Reason.OTHER_TEACHER, {"teacher": "teacher-2"}),
    ("missing argument", Reason.INVALID_ARGUMENTS, {"rule": proposing(ROME, missing=("weather.days",))}),
    ("wrong type", Reason.INVALID_ARGUMENTS, {"rule": proposing(ToolCall("weather", {"city": 5}))}),
    ("required left out", Reason.INVALID_ARGUMENTS, {"rule": proposing(ToolCall("weather", {}))}),
    ("argument too many", Reason.INVALID_ARGUMENTS, {"rule": proposing(ToolCall("weather", {"city": "R", "x": 1}))}),
    (
        "NaN argument",
        Reason.INVALID_ARGUMENTS,
        {"rule": proposing(ToolCall("weather", {"city": "R", "days": float("nan")}))},
    ),
    ("arguments unknown", Reason.INVALID_ARGUMENTS, {"rule": proposing(ToolCall("weather", None))}),
    ("arguments no JSON", Reason.INVALID_ARGUMENTS, {"rule": proposing(ToolCall("weather", {"city": object()}))}),
    ("surrogate", Reason.INVALID_ARGUMENTS, {"rule": proposing(ToolCall("weather", {"city": "\ud83d"}))}),
    ("redacted", Reason.INVALID_ARGUMENTS, {"rule": proposing(ToolCall("weather", {"city": "[redacted:password]"}))}),
    ("second call invalid", Reason.INVALID_ARGUMENTS, {"rule": proposing(ROME, ToolCall("weather", {}))}),
    (
        "named other tool",
        Reason.UNSUPPORTED_REQUEST,
        {"body": {"tool_choice": {"type": "function", "function": {"name": "ping"}}}},
    ),
    (
        "allowed tools",
        Reason.UNSUPPORTED_REQUEST,
        {"body": {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}},
    ),
    (
        "not parallel",
        Reason.UNSUPPORTED_REQUEST,
        {"body": {"parallel_tool_calls": False}, "rule": proposing(ROME, ROME)},
    ),
    ("n", Reason.UNSUPPORTED_REQUEST, {"body": {"n": 2}}),
    ("n true", Reason.UNSUPPORTED_REQUEST, {"body": {"n": True}}),
    ("logprobs", Reason.UNSUPPORTED_REQUEST, {"body": {"logprobs": True}}),
    ("response_format", Reason.UNSUPPORTED_REQUEST, {"body": {"response_format": {"type": "json_object"}}}),
    ("unknown option", Reason.UNSUPPORTED_REQUEST, {"body": {"brand_new": 1}}),
    ("legacy functions", Reason.UNSUPPORTED_REQUEST, {"body": {"functions": [{"name": "f"}]}}),
    ("custom tool", Reason.UNSUPPORTED_REQUEST, {"body": {"tools": [{"type": "custom", "custom": {"name": "x"}}]}}),
    (
        "two of one name",
        Reason.UNSUPPORTED_REQUEST,
        {"body": {"tools": [{"type": "function", "function": {"name": "x"}}] * 2}},
    ),
    (
        "image",
        Reason.UNSUPPORTED_REQUEST,
        {"body": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}},
    ),
    ("in circles", Reason.POLICY, {"body": {"messages": CIRCLES}}),
    ("operator's policy", Reason.POLICY, {"gate": {"never": ["weather"]}}),
    ("raises", Reason.STUDENT_ERROR, {"rule": raising}),
    ("NaN", Reason.STUDENT_ERROR, {"rule": proposing(ROME, confidence=float("nan"))}),
    ("infinite", Reason.STUDENT_ERROR, {"rule": proposing(ROME, confidence=float("inf"))}),
    ("not offered", Reason.STUDENT_ERROR, {"rule": proposing(ToolCall("rm", {}))}),
    ("no proposal", Reason.STUDENT_ERROR, {"rule": lambda state: None}),
    ("argument of a tool-level certificate", Reason.NOT_CERTIFIED, {"level": "tool"}),
]


@pytest.mark.parametrize(("reason", "given"), [pytest.param(r, g, id=name) for name, r, g in REASONS])
def test_every_reason_to_hand_over(ask: Any, reason: Reason, given: dict[str, Any]) -> None:
    verdict = ask(**given)
    assert isinstance(verdict, Escalate)
    assert verdict.reason == reason
    assert "secret" not in verdict.detail


def test_every_reason_of_the_closed_list_is_tested() -> None:
    elsewhere = {Reason.OVERLOAD, Reason.FORCED, Reason.ROLLOUT}  # by the decider, and by the policy
    assert {reason for _, reason, _ in REASONS} == set(Reason) - elsewhere


@pytest.mark.parametrize(
    "body",
    [
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"parallel_tool_calls": False},
        {"n": 1, "logprobs": False, "response_format": {"type": "text"}, "temperature": 0, "stop": None},
        {"stream": True, "stream_options": {"include_usage": True}},
    ],
)
def test_requests_that_a_local_call_can_answer(ask: Any, body: dict[str, Any]) -> None:
    assert isinstance(ask(body), Send)


def test_a_tool_level_certificate_serves_tools_without_arguments(ask: Any) -> None:
    assert isinstance(ask(level="tool", rule=proposing(ToolCall("ping", None))), Send)


def test_a_destructive_tool_needs_a_level_of_its_own_in_the_certificate(ask: Any, fakes: Any) -> None:
    tool = fakes.WEATHER | {"annotations": {"destructiveHint": True}}
    given = {"body": {"tools": [tool]}, "tools": {"weather": parse_tool(tool).fingerprint}}
    assert ask(**given).reason == Reason.POLICY
    assert isinstance(ask(**given, levels={"weather": 0.98}), Send)
    assert ask(**given, levels={"weather": 0.98}, never=["weather"]).reason == Reason.POLICY


def test_a_certificate_of_another_student_is_refused(fakes: Any, world: Any) -> None:
    with pytest.raises(ConfigurationError):
        Gate(world.student, fakes.certificate(model_id="student-2"))


def branching(depth: int) -> dict[str, Any]:
    twice = {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(depth)}
    return {"$defs": {**twice, f"a{depth}": False}, "properties": {"city": {"$ref": "#/$defs/a0"}}}


HOSTILE = {
    "exponential pattern": {"properties": {"city": {"pattern": "(a+)+$"}}},
    "bad pattern": {"properties": {"city": {"pattern": "(["}}},
    "look-ahead": {"properties": {"city": {"pattern": "(?=R)Rome"}}},
    "huge repetition": {"properties": {"city": {"pattern": "((a{1,1000}){1,1000}){1,1000}"}}},
    "http": {"properties": {"city": {"$ref": "http://127.0.0.1:9/x"}}},
    "file": {"properties": {"city": {"$ref": "file:///etc/passwd"}}},
    "dynamic": {"properties": {"city": {"$dynamicRef": "http://127.0.0.1:9/x"}}},
    "$id": {"$id": "http://127.0.0.1:9/", "properties": {"city": {"type": "string"}}},
    "self": {"$defs": {"a": {"$ref": "#/$defs/a"}}, "properties": {"city": {"$ref": "#/$defs/a"}}},
    "root": {"properties": {"city": {"$ref": "#"}}},
    "branching references": branching(40),
    "wide self references": {
        "$defs": {"a": {"properties": {f"p{i}": {"$ref": "#/$defs/a"} for i in range(20)}}},
        "properties": {"city": {"$ref": "#/$defs/a"}},
    },
    "10,000 properties": {
        "properties": {f"p{i}": {"type": "string", "pattern": "x"} for i in range(10_000)},
        "required": ["p1"],
    },
    "definitions as a list": {"$defs": [1], "properties": {"city": {"$ref": "#/$defs/a"}}},
    "required of lists": {"required": [[]]},
    "unknown type": {"properties": {"city": {"type": "strange"}}},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_never_served_and_never_hangs(ask: Any, name: str) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": HOSTILE[name]}}
    try:
        prints = {"weather": parse_tool(tool).fingerprint}
    except TypeError:
        prints = {}
    began = time.process_time()
    verdict = ask({"tools": [tool]}, tools=prints, rule=proposing(ToolCall("weather", {"city": "a" * 5000 + "b"})))
    assert time.process_time() - began < 1.0  # a busy machine took 0.4
    assert verdict.reason in (Reason.INVALID_ARGUMENTS, Reason.UNSUPPORTED_REQUEST)


def test_local_references_are_followed(ask: Any) -> None:
    schema = {"$defs": {"City": {"enum": ["Rome", "Oslo"]}}, "properties": {"city": {"$ref": "#/$defs/City"}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    known = {"weather": parse_tool(tool).fingerprint}
    assert isinstance(ask({"tools": [tool]}, tools=known), Send)
    assert ask({"tools": [tool], "text": "weather in Paris"}, tools=known).reason == Reason.INVALID_ARGUMENTS


def test_a_tool_without_a_schema_takes_no_arguments(ask: Any) -> None:
    tool = {"type": "function", "function": {"name": "weather"}}
    known = {"weather": parse_tool(tool).fingerprint}
    assert ask({"tools": [tool]}, tools=known).reason == Reason.INVALID_ARGUMENTS
    assert isinstance(ask({"tools": [tool]}, tools=known, rule=proposing(ToolCall("weather", {}))), Send)


def test_no_schema_makes_the_gate_connect_anywhere(ask: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/schema#"
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef", "$id", "id", "$schema"):
            for schema in ({keyword: url}, {"properties": {"city": {keyword: url}}}):
                tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
                ask({"tools": [tool]}, tools={"weather": parse_tool(tool).fingerprint})
        with pytest.raises(TimeoutError):
            listener.accept()
