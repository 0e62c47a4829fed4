"""What a result said of a thing stands until another result says otherwise, however long ago it was asked for."""

from __future__ import annotations

from typing import Any

from ultracore.distillation.decisions import State
from ultracore.distillation.students.compact.sparse import SparseEncoder, document_of
from ultracore.distillation.students.compact.stated import stated
from ultracore.distillation.students.compact.transcript import Transcript


def told(*results: tuple[str, str]) -> list[dict[str, Any]]:
    """A user's request, then calls of these tools with these results."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "no signal"}]
    for number, (tool, result) in enumerate(results):
        call = {"id": f"c{number}", "type": "function", "function": {"name": tool, "arguments": "{}"}}
        messages.append({"role": "assistant", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": result})
    return messages


def standing(*results: tuple[str, str]) -> set[str]:
    structure = document_of(Transcript(State(told(*results), [])))["structure"]
    return {name.removeprefix("stands=") for name in structure if name.startswith("stands=")}


def test_what_was_said_long_ago_stands() -> None:
    found = standing(("status", "Radio: off\nRoaming: on"), ("a", "done"), ("b", "[1, 2]"), ("c", "done"))
    assert found == {"Radio:off", "Roaming:on"}


def test_a_later_result_of_any_tool_replaces_it() -> None:
    found = standing(("status", "Radio: off\nRoaming: on"), ("switch", '{"Radio": "on"}'))
    assert found == {"Radio:on", "Roaming:on"}


def test_numbers_are_one_word_and_identifiers_are_not_read() -> None:
    assert standing(("usage", "Used: 14 GB")) == {"Used:0", "Used:gb"}
    assert stated("", {"line": "L1002", "active": True, "plan": {"name": "x"}}) == (("active", "True"),)


def test_a_name_is_short() -> None:
    assert stated("I am sorry but what you have asked me for can not be done: no", None) == ()


def test_words_of_a_result_count_whatever_was_called_before() -> None:
    for before in ((), (("a", "done"),)):
        found = document_of(Transcript(State(told(*before, ("test", "connection refused")), [])))["found"]
        assert {"connection", "connection refused"} <= found.keys()


def test_what_one_task_repeats_is_not_learned() -> None:
    documents = [document_of(Transcript(State(told(("t", text)), []))) for text in ("mine", "mine", "ours", "ours")]
    names = SparseEncoder.fit(documents, ["1", "1", "1", "2"]).names["found"]
    assert "ours" in names
    assert "mine" not in names
