"""What users really hand over: each gives a clear message, a named skip or a sane result."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Line = dict[str, Any]
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
A: Line = {"type": "function", "function": {"name": "a", "parameters": SCHEMA}}
B: Line = {"type": "function", "function": {"name": "b", "parameters": SCHEMA}}


def talk(
    said: str, name: str = "a", arguments: str = '{"x": "1"}', tools: list[Line] | None = None, reply: str = "done"
) -> Line:
    """A user asks, the assistant calls once, then says something."""
    function = {"name": name, "arguments": arguments}
    messages: list[Line] = [{"role": "user", "content": said}]
    if name:
        messages.append({"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]})
        messages.append({"role": "tool", "tool_call_id": "1", "content": "{}"})
    if reply:
        messages.append({"role": "assistant", "content": reply})
    return {"messages": messages, "tools": [A, B] if tools is None else tools}


def text(lines: list[Line]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        ("привет".encode("utf-16"), "bad_encoding"),
        (b'{"messages": "caf\xe9"}\n', "bad_encoding"),
        (b"\x00" * 100, "bad_encoding"),
        (b"not json\n", "not_json"),
        (b"[1, 2]\n", "not_an_object"),
        (b"{}\n", "no_messages"),
        (b'{"messages": [{"role": "wizard", "content": "x"}], "tools": []}\n', "unknown_role"),
        (text([talk("hi")]).encode(), "at least 4"),
        (text([talk("hi")] * 30).encode(), "at least 4"),
    ],
    ids=["empty", "utf16", "latin1", "nul", "text", "array", "no-messages", "roles", "one", "the-same"],
)
def test_unusable_files_are_one_clear_line(distill: Any, tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content)
    outcome = distill("run", file, "--processes", 1)
    assert outcome.code == 2
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("distill: ")
    assert says in last
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "distill-report" / "result.json").exists()


@pytest.mark.parametrize("where", ["missing.jsonl", "."])
def test_what_is_no_file_is_said(distill: Any, where: str) -> None:
    outcome = distill("run", where)
    assert outcome.code == 2
    assert "file" in outcome.err


def cut(lines: list[Line]) -> str:
    whole = text(lines).splitlines()
    return "\n".join(line[: len(line) // 2] if i == 1 else line for i, line in enumerate(whole))


def with_role(lines: list[Line]) -> str:
    changed = copy.deepcopy(lines)
    changed[1]["messages"][0]["role"] = "wizard"
    return text(changed)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (cut, "not_json"),
        (lambda lines: "x" * 34_000_000 + "\n" + text(lines), "line_too_long"),
        (with_role, "unknown_role"),
        (lambda lines: text([*lines, talk("bad", arguments="not json")]), "bad_arguments"),
        (lambda lines: text([*lines, talk("bad", name="c")]), "tool_not_offered"),
        (lambda lines: text([*lines, lines[0]]), "duplicate"),
        (lambda lines: text([{**line, "tools": None} for line in lines]), "tools_missing"),
    ],
    ids=["cut", "long", "role", "arguments", "not-offered", "duplicate", "no-tools"],
)
def test_unusable_lines_are_left_out_by_name(
    distill: Any, tmp_path: Path, make: Callable[[list[Line]], str], reason: str
) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text(make([talk(f"please {i}") for i in range(5)]), encoding="utf-8")
    outcome = distill("import", file)
    assert outcome.code == 0
    assert reason in outcome.out
    assert "new decisions" in outcome.out


ODD = {
    "one tool": [talk(f"look up {i}", arguments=json.dumps({"x": str(i)}), tools=[A]) for i in range(12)],
    "only replies": [talk(f"chat {i}", name="") for i in range(12)],
    "no replies": [talk(f"do {i}", name="ab"[i % 2], reply="") for i in range(12)],
    "no schema": [talk(f"do {i}", tools=[{"type": "function", "function": {"name": "a"}}]) for i in range(12)],
    "other languages": [talk(f"请查询订单{i}" if i % 2 else f"ألغ الطلب {i}", name="ab"[i % 2]) for i in range(12)],
    "four tasks": [talk(f"do {i}") for i in range(4)],
}


@pytest.mark.parametrize("lines", ODD.values(), ids=ODD)
def test_odd_data_are_not_certified_and_say_so_with_numbers(distill: Any, tmp_path: Path, lines: list[Line]) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text(text(lines), encoding="utf-8")
    outcome = distill("run", file, "--processes", 1)
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "distill-report" / "result.json").read_text(encoding="utf-8"))
    assert result["certificate"]["certified"] is False
    assert result["certificate"]["reason"]
    assert "Not certified" in outcome.out
    assert (tmp_path / "distill-report" / "report.html").stat().st_size > 10_000
