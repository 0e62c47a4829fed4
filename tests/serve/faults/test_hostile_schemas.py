"""Tool schemas made to hurt: each costs 100 ms of CPU at most, and none makes anybody connect anywhere."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ultracore.distillation.serve.gate import Escalate, Gate
from ultracore.distillation.serve.offer import invalid, read_offer
from ultracore.distillation.serve.wire import RequestError, parse_chat_request
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import ToolCall, parse_tool


def nested(depth: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def doubling(levels: int) -> Any:
    """Each definition refers to the next twice: 2 to the power of levels once followed."""
    definitions = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(levels)
    }
    definitions[f"d{levels}"] = {"type": "string"}
    return {"type": "object", "properties": {"city": {"$ref": "#/$defs/d0"}}, "$defs": definitions}


def city(schema: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"city": schema}, **rest}


LONG = "a" * 5000 + "!"

SCHEMAS: dict[str, Any] = {
    "nested quantifiers": city({"type": "string", "pattern": "^(a+)+$"}),
    "overlapping alternatives": city({"type": "string", "pattern": "^(a|a|aa)+$"}),
    "counted repetition": city({"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}$"}),
    "look-behind": city({"type": "string", "pattern": "(?<=(a+)+)b"}),
    "no regular expression": city({"type": "string", "pattern": "(("}),
    "pattern properties": {"type": "object", "patternProperties": {"^(a+)+$": {"type": "string"}}},
    "refers to itself": {"$ref": "#"},
    "refers to itself below": city({"$ref": "#/properties/city"}),
    "two that refer to each other": city(
        {"$ref": "#/$defs/a"}, **{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    ),
    "a tree of itself": city({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
    "doubling": doubling(25),
    "http": city({"$ref": "http://127.0.0.1:1/schema"}),
    "file": city({"$ref": "file:///etc/passwd"}),
    "dynamic": city({"$dynamicRef": "#x"}, **{"$dynamicAnchor": "x"}),
    "10,000 properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(10_000)}},
    "10,000 required": city({"type": "string"}, required=[f"p{n}" for n in range(10_000)]),
    "10,000 values": city({"enum": list(range(10_000))}),
    "45 deep": nested(45),
    "all of 2,000": city({"allOf": [{"type": "string"}] * 2000}),
    "multiple of nearly nothing": city({"multipleOf": 1e-320}),
    "wrong types": {"type": 5, "properties": [], "required": "x"},
}


def tools_of(schema: Any) -> bytes:
    return json.dumps([{"type": "function", "function": {"name": "weather", "parameters": schema}}]).encode()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_hostile_schema_costs_little(fakes: Any, name: str) -> None:
    raw = tools_of(SCHEMAS[name])
    tool = parse_tool(json.loads(raw)[0])
    certificate = fakes.certificate(tools={"weather": tool.fingerprint})
    student = fakes.RuleStudent()
    student.rule = lambda state: Proposal((ToolCall("weather", {"city": LONG}),), 0.99)
    body = json.dumps({**fakes.chat(), "tools": None}).encode().replace(b'"tools": null', b'"tools": ' + raw)
    costs = []
    for _ in range(3):  # the best of three: a busy neighbour is not the schema's fault
        gate = Gate(student, certificate)
        began = time.thread_time()
        verdict = gate.decide(parse_chat_request(body))
        costs.append(time.thread_time() - began)
    assert min(costs) < 0.1, costs
    if name in {"http", "file", "refers to itself", "doubling", "no regular expression", "look-behind", "dynamic"}:
        assert isinstance(verdict, Escalate)  # what cannot be checked is not answered here


def test_ten_thousand_levels_are_refused(fakes: Any) -> None:
    deep = b'{"properties":{"a":' * 10_000 + b"{}" + b"}}" * 10_000
    began = time.thread_time()
    with pytest.raises(RequestError):
        read_offer(b'[{"type":"function","function":{"name":"weather","parameters":' + deep + b"}}]")
    assert time.thread_time() - began < 0.1


def test_patterns_still_mean_something() -> None:
    tool = parse_tool(json.loads(tools_of(city({"type": "string", "pattern": "^[A-Z][a-z]+$"})))[0])
    assert invalid(ToolCall("weather", {"city": "Rome"}), tool) == ""
    assert "pattern" in invalid(ToolCall("weather", {"city": "rome"}), tool)
