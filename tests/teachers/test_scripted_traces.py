"""The example traces: deterministic, valid, varied, labelled synthetic, and honest about self-disagreement."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from ultracore.distillation.decisions import State, text_of
from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.teachers.scripted.customers import make_task
from ultracore.distillation.teachers.scripted.policy import ScriptedTeacher
from ultracore.distillation.teachers.scripted.tools import DESTRUCTIVE, offered
from ultracore.distillation.teachers.scripted.traces import conversations, system_prompt, write_traces
from ultracore.distillation.tools import parse_tool

Line = dict[str, Any]
GOLDEN = "7fd888ad3546bf10590216a3e666665b5dd06980e2a47768e75692808eda6287"


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return list(conversations(150, seed=3))


@pytest.fixture(scope="module")
def steady() -> list[Line]:
    return list(conversations(150, seed=3, flip_rate=0.0, recurring=0.0))


def decisions(line: Line) -> Iterator[tuple[list[Line], Line]]:
    for index, message in enumerate(line["messages"]):
        if message["role"] == "assistant":
            yield line["messages"][:index], message


def calls(line: Line) -> Iterator[tuple[str, Line]]:
    for _, message in decisions(line):
        for call in message.get("tool_calls") or ():
            yield call["function"]["name"], json.loads(call["function"]["arguments"])


def test_the_same_seed_gives_the_same_bytes_everywhere(tmp_path: Path) -> None:
    assert write_traces(tmp_path / "a.jsonl", n=40, seed=5) == 40
    assert hashlib.sha256((tmp_path / "a.jsonl").read_bytes()).hexdigest() == GOLDEN


def test_a_compressed_file_holds_the_same_lines(tmp_path: Path) -> None:
    write_traces(tmp_path / "a.jsonl.gz", n=6)
    write_traces(tmp_path / "b.jsonl.gz", n=6)
    write_traces(tmp_path / "c.jsonl", n=6)
    packed = (tmp_path / "a.jsonl.gz").read_bytes()
    assert packed == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "c.jsonl").read_bytes()


def test_another_seed_gives_other_conversations() -> None:
    assert list(conversations(3, seed=1)) != list(conversations(3, seed=2))


def test_every_line_says_that_it_is_synthetic(lines: list[Line]) -> None:
    for line in lines:
        about = line["metadata"]
        assert (about["kind"], about["source"]) == ("synthetic", "example/banking")
        assert about["teacher"] == "scripted-banking-teacher"
        assert about["episode"] == f"{about['task']}#{about['trial']}"
        assert line["parallel_tool_calls"] is False


def test_every_call_is_offered_and_valid_under_its_schema(lines: list[Line]) -> None:
    checks = {
        tool["function"]["name"]: jsonschema_rs.validator_for(tool["function"]["parameters"], validate_formats=True)
        for tool in offered()
    }
    made = [call for line in lines for call in calls(line)]
    for name, arguments in made:
        checks[name].validate(arguments)
    assert {name for name, _ in made} == set(checks)


def test_call_ids_are_unique_and_every_call_has_its_result(lines: list[Line]) -> None:
    for line in lines:
        ids = [call["id"] for _, message in decisions(line) for call in message.get("tool_calls") or ()]
        assert ids == [f"call_{i + 1}" for i in range(len(ids))]
        assert [m["tool_call_id"] for m in line["messages"] if m["role"] == "tool"] == ids


def test_defaults_and_unknown_options_are_left_out(lines: list[Line]) -> None:
    tools = {tool["function"]["name"]: parse_tool(tool) for tool in offered()}
    for line in lines:
        for name, arguments in calls(line):
            for key, value in arguments.items():
                assert value is not None
                assert value != tools[name].properties[key].get("default")


def test_conversations_end_with_the_teacher_and_in_reasonable_time(lines: list[Line]) -> None:
    for line in lines:
        last = line["messages"][-1]
        assert last["role"] == "assistant"
        assert last["content"]
        assert sum(1 for _ in decisions(line)) < 30


def test_about_half_of_the_decisions_are_calls(lines: list[Line]) -> None:
    kinds = [bool(message.get("tool_calls")) for line in lines for _, message in decisions(line)]
    assert 0.42 < sum(kinds) / len(kinds) < 0.60
    assert 6 < len(kinds) / len(lines) < 10


def test_recurring_tasks_have_the_set_share_and_the_same_words(lines: list[Line]) -> None:
    by_task: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_task[line["metadata"]["task"]].append(line)
    again = [group for group in by_task.values() if len(group) > 1]
    assert sum(map(len, again)) == pytest.approx(0.3 * len(lines), abs=2)
    for group in again:
        assert sorted(line["metadata"]["trial"] for line in group) == [0, 1]
        assert group[0]["messages"][:2] == group[1]["messages"][:2]
    assert all(line["metadata"]["trial"] == 0 for line in conversations(20, recurring=0.0))


def test_without_flips_trials_are_identical() -> None:
    talks: dict[str, set[str]] = defaultdict(set)
    for line in conversations(40, recurring=1.0, flip_rate=0.0):
        talks[line["metadata"]["task"]].add(json.dumps(line["messages"]))
    assert len(talks) == 20
    assert all(len(versions) == 1 for versions in talks.values())


def test_the_measured_self_disagreement_is_near_the_set_rate() -> None:
    calm = ScriptedTeacher(flip_rate=0.0)
    flips = total = 0
    for line in conversations(150, flip_rate=0.1, recurring=0.0):
        for before, message in decisions(line):
            usual = calm.decide(before, line["tools"])
            total += 1
            flips += usual.get("tool_calls") != message.get("tool_calls")
    assert 0.06 < flips / total < 0.11


def test_nobody_in_two_tasks_shares_a_whole_conversation(lines: list[Line]) -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        owners[text_of(line["messages"][1])].add(line["metadata"]["task"])
    assert all(len(tasks) == 1 for tasks in owners.values())


def test_customers_get_what_they_came_for(steady: list[Line]) -> None:
    tool_of = {
        "limits": "set_card_limits", "orders": "cancel_standing_orders", "dispute": "dispute_transactions",
        "statement": "order_statement", "contact": "update_contact", "human": "escalate_to_human",
    }  # fmt: skip
    wanted = served = 0
    for line in steady:
        task = make_task(line["metadata"]["task"].split("/")[-1], 3, 2025)
        made = {name for name, _ in calls(line)}
        for goal in task.goals:
            if goal.kind in tool_of and "forget" not in goal.change:
                wanted += 1
                served += tool_of[goal.kind] in made
    assert wanted > 50
    assert served / wanted > 0.95


def test_destructive_calls_come_after_a_yes_unless_a_card_was_stolen(steady: list[Line]) -> None:
    for line in steady:
        for before, message in decisions(line):
            for call in message.get("tool_calls") or ():
                name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
                if name in DESTRUCTIVE and arguments.get("reason") != "stolen":
                    asked = [m for m in before if m["role"] == "assistant" and m["content"]]
                    assert re.search(r"(ahead|right|do that|yes or no)[?.]$", asked[-1]["content"])


def test_the_policy_of_2026_checks_limits_and_escalates_sooner() -> None:
    old, new = (
        Counter(name for line in conversations(250, policy=year, recurring=0.0) for name, _ in calls(line))
        for year in ("2025", "2026")
    )
    assert old["check_transfer_limit"] == 0 < new["check_transfer_limit"]
    assert {t["function"]["name"] for t in offered("2026")} - {t["function"]["name"] for t in offered("2025")} == {
        "check_transfer_limit"
    }
    assert "5,000 EUR" in system_prompt("2026", "2026-01-01")


def test_arguments_vary() -> None:
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in conversations(200, recurring=0.0):
        for name, arguments in calls(line):
            for key, value in arguments.items():
                values[name, key].add(json.dumps(value))
    assert len(values["get_card", "card_id"]) > 50
    assert len(values["create_transfer", "amount"]) > 20
    assert any(len(json.loads(v)) > 1 for v in values["set_card_limits", "limits"])
    assert any(len(json.loads(v)) > 1 for v in values["dispute_transactions", "transaction_ids"])


@pytest.mark.parametrize(
    "wrong", [{"n": -1}, {"flip_rate": 2.0}, {"recurring": -0.1}, {"trials": 0}, {"policy": "1999"}]
)
def test_bad_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        list(conversations(**{"n": 1, **wrong}))


def test_the_teacher_is_a_pure_function_of_the_messages(lines: list[Line]) -> None:
    teacher = ScriptedTeacher(seed=9, flip_rate=0.5)
    for line in lines[:10]:
        for before, _ in list(decisions(line))[::-1]:
            copied = json.loads(json.dumps(before))
            assert teacher.decide(before, line["tools"]) == ScriptedTeacher(seed=9, flip_rate=0.5).decide(
                copied, line["tools"]
            )


def test_the_teacher_answers_live_without_a_system_prompt() -> None:
    teacher = ScriptedTeacher(flip_rate=0.0)
    assert "How can I help" in teacher.decide([{"role": "user", "content": "hello"}], offered())["content"]
    parts = [{"role": "user", "content": [{"type": "text", "text": "I lost my card. Customer number C204817."}]}]
    assert teacher.decide(parts, offered())["tool_calls"][0]["function"]["name"] == "get_customer"


def test_foreign_tool_results_are_refused_with_a_clear_error() -> None:
    call = {"id": "x", "type": "function", "function": {"name": "get_customer", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "What is my balance? Customer number C204817."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "x", "content": "not json"},
        {"role": "user", "content": "Well?"},
    ]
    with pytest.raises(DataError, match="example bank"):
        ScriptedTeacher().decide(messages, offered())


def test_states_of_repeated_trials_have_equal_keys() -> None:
    keys: dict[str, set[str]] = defaultdict(set)
    for line in conversations(20, recurring=1.0):
        tools = [parse_tool(tool) for tool in line["tools"]]
        keys[line["metadata"]["task"]].add(State(line["messages"][:2], tools).key)
    assert all(len(found) == 1 for found in keys.values())
