"""Whatever a student proposes: what leaves the gateway was offered, is allowed, and is valid by another validator.

The certificate of this test trusts everything, so that only the checks of the gate itself stand between
a wild student and the client. The oracle is the `jsonschema` package, which the gateway does not use.
"""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest

from ultracore.distillation.serve.answers import Answer
from ultracore.distillation.serve.dialect import CHAT
from ultracore.distillation.serve.gate import Gate, Send
from ultracore.distillation.serve.responses import RESPONSES
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import ToolCall, parse_tool

NAMES = ("look", "book", "cancel", "ping")
KEYS = ("city", "days", "tags", "kind", "deep")
VALUES: tuple[Any, ...] = (
    "Rome", "", "x" * 9, 0, 3, -1, 2.5, 3.0, float("nan"), float("inf"), True, None, [], ["a"], [1, "a"], {}, {"n": 1},
    {"n": "x"}, "\ud83d", 10**400, b"x", ("a",), "2026-11-01",
)  # fmt: skip


def schema(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.choice(("string", "integer", "number", "boolean", "array", "object", "enum", "either", "ref", "any"))
    match kind:
        case "enum":
            return {"enum": draw.sample(["Rome", 3, None, True, "x"], 2)}
        case "either":
            return {"anyOf": [schema(draw, depth + 1), {"type": "null"}]} if depth < 3 else {}
        case "array":
            return {"type": "array", "items": schema(draw, depth + 1) if depth < 3 else {}, "maxItems": 2}
        case "object":
            return _object(draw, depth + 1) if depth < 2 else {"type": "object"}
        case "ref":
            return {"$ref": "#/$defs/City"}
        case "any":
            return draw.choice(({}, True, False))
        case "string":
            return {"type": "string", **draw.choice(({}, {"minLength": 1}, {"maxLength": 4}, {"pattern": "^R"}))}
        case _:
            return (
                {"type": kind, **draw.choice(({}, {"minimum": 0}, {"maximum": 2}))}
                if kind != "boolean"
                else {"type": kind}
            )


def _object(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    keys = draw.sample(KEYS, draw.randint(0, 3))
    out: dict[str, Any] = {"type": "object", "properties": {key: schema(draw, depth) for key in keys}}
    if keys and draw.random() < 0.6:
        out["required"] = draw.sample(keys, 1)
    if draw.random() < 0.5:
        out["additionalProperties"] = False
    return out


def tool(draw: random.Random, name: str) -> dict[str, Any]:
    parameters = {**_object(draw), "$defs": {"City": {"enum": ["Rome", "Oslo"]}}}
    function = {"name": name, **draw.choice(({"parameters": parameters}, {"parameters": parameters}, {}))}
    return {"type": "function", "function": function}


def value(draw: random.Random, hint: Any) -> Any:
    """Often what the schema wants, else anything."""
    if draw.random() < 0.3 or not isinstance(hint, dict):
        return draw.choice(VALUES)
    if "enum" in hint:
        return draw.choice(hint["enum"])
    match hint.get("type"):
        case "string":
            return draw.choice(("Rome", "R"))
        case "integer" | "number":
            return draw.choice((0, 1, 2))
        case "boolean":
            return True
        case "array":
            return [value(draw, hint.get("items"))] if draw.random() < 0.5 else []
        case "object":
            return {key: value(draw, inner) for key, inner in hint.get("properties", {}).items()}
    return draw.choice(("Rome", *VALUES))


def call(draw: random.Random, tools: list[dict[str, Any]]) -> ToolCall:
    chosen = draw.choice(tools)["function"] if draw.random() < 0.9 else {"name": draw.choice((*NAMES, "rm", ""))}
    properties = chosen.get("parameters", {}).get("properties", {})
    arguments = {key: value(draw, hint) for key, hint in properties.items() if draw.random() < 0.9}
    if draw.random() < 0.1:
        arguments[draw.choice((*KEYS, "more"))] = draw.choice(VALUES)
    return ToolCall(chosen["name"], draw.choice((arguments, arguments, arguments, arguments, None)))


def request(draw: random.Random, tools: list[dict[str, Any]], dialect: Any) -> bytes:
    choices: tuple[Any, ...] = ("auto", "required", "none", None)
    if dialect is CHAT:
        named = {"type": "function", "function": {"name": draw.choice(NAMES)}}
        said: dict[str, Any] = {"messages": [{"role": "user", "content": "go"}], "tools": tools}
    else:
        named = {"type": "function", "name": draw.choice(NAMES)}
        flat = [{"type": "function", **tool["function"]} for tool in tools]
        said = {"input": "go", "store": False, "tools": flat}
    options = {"tool_choice": draw.choice((*choices, named)), "parallel_tool_calls": draw.choice((True, False, None))}
    return json.dumps({"model": "m", **said, **options}).encode()


def sent(dialect: Any, body: bytes) -> list[tuple[str, Any]]:
    """What a client reads in an answer."""
    answer = json.loads(body)
    if dialect is CHAT:
        functions = [item["function"] for item in answer["choices"][0]["message"]["tool_calls"]]
    else:
        functions = answer["output"]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


def allowed(choice: Any, parallel: Any, names: list[str]) -> bool:
    named = (choice.get("name") or choice["function"]["name"]) if isinstance(choice, dict) else None
    return bool(names) and choice != "none" and set(names) <= {named or name for name in names} and (
        parallel is not False or len(names) == 1
    )  # fmt: skip


def check(fakes: Any, seed: int, examples: int) -> tuple[int, int]:
    draw, student = random.Random(seed), fakes.RuleStudent()
    let_out = 0
    for _ in range(examples):
        tools = [tool(draw, name) for name in draw.sample(NAMES, draw.randint(1, 3))]
        dialect = draw.choice((CHAT, RESPONSES))
        body = request(draw, tools, dialect)
        proposal = Proposal(tuple(call(draw, tools) for _ in range(draw.choice((1, 1, 2)))), 1.0)
        student.rule = lambda state, proposal=proposal: proposal
        prints = {parse_tool(item).name: parse_tool(item).fingerprint for item in tools}
        everything = {"thresholds": dict.fromkeys((*NAMES, "rm", ""), 0.0), "tools": prints, "teacher": ""}
        parsed = dialect.parse(body)
        verdict = Gate(student, fakes.certificate(**everything)).decide(parsed)
        if isinstance(verdict, Send):
            let_out += 1
            answer = Answer("0" * 32, "m", 0, verdict.proposal.calls)
            calls = sent(dialect, dialect.answer(answer, parsed))
            options = json.loads(body)
            assert allowed(options["tool_choice"], options["parallel_tool_calls"], [name for name, _ in calls])
            for name, arguments in calls:
                offered = next(item["function"] for item in tools if item["function"]["name"] == name)
                empty = {"type": "object", "additionalProperties": False}
                jsonschema.Draft202012Validator(offered.get("parameters") or empty).validate(arguments)
    return let_out, examples - let_out


def test_nothing_unoffered_and_nothing_invalid_is_sent(fakes: Any) -> None:
    let_out, refused = check(fakes, seed=0, examples=2000)
    assert let_out > 200
    assert refused > 200


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_unoffered_and_nothing_invalid_is_sent_in_100_000(fakes: Any) -> None:
    let_out, refused = check(fakes, seed=1, examples=100_000)
    assert let_out > 10_000
    assert refused > 10_000
