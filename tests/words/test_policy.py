from __future__ import annotations

from pathlib import Path

import pytest

from ultracore.distillation.agreement import Comparator, Comparators, strict, tolerant
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.policy import NO_POLICY, Policy, ToolRule, load_policy
from ultracore.distillation.tools import Tool, ToolCall, parse_tool

FILE = """
destructive_level = 0.97
[tools.wipe]
never = true
[tools.close_ticket]
allow = true
[tools.pay]
level = 0.995
[tools.search.arguments]
query = "free_text"
price = 0.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "policy.toml").write_text(FILE)
    return tmp_path / "policy.toml"


def test_a_file_says_which_tools_need_what(file: Path) -> None:
    policy = load_policy(file)
    tools = [Tool(name) for name in ("wipe", "close_ticket", "pay", "search", "cancel_order")]
    assert policy.never == ["wipe"]
    assert policy.levels(tools, 0.93) == {"wipe": 0.97, "close_ticket": 0.93, "pay": 0.995, "cancel_order": 0.97}
    assert policy.levels(tools, 0.99)["cancel_order"] == 0.99
    assert policy.comparators(Comparators()).declared == {"search": {"query": "free_text", "price": 0.5}}


@pytest.mark.parametrize(
    ("hints", "level"),
    [
        ({"destructiveHint": True}, 0.98),
        ({"destructiveHint": False}, None),
        ({"readOnlyHint": True, "destructiveHint": True}, None),
        ({"readOnlyHint": False}, 0.98),
        ({"idempotentHint": True}, None),
        ({}, None),
    ],
)
def test_annotations_decide_the_class(hints: dict[str, bool], level: float | None) -> None:
    tool = parse_tool({"name": "handle", "inputSchema": {}, "annotations": hints})
    assert NO_POLICY.levels([tool], 0.93).get("handle") == level


def test_an_annotation_is_believed_before_a_name() -> None:
    harmless = parse_tool({"name": "delete_draft", "annotations": {"destructiveHint": False}})
    assert NO_POLICY.levels([harmless], 0.93) == {}
    assert NO_POLICY.levels([Tool("delete_draft")], 0.93) == {"delete_draft": 0.98}
    assert Policy(infer=False).levels([Tool("delete_draft")], 0.93) == {}


@pytest.mark.parametrize(
    "text",
    ["destructive_level = 1.0", "[tools.f]\nlevel = 0", "[tools.f]\nlvel = 0.9", "x = [", '[tools.f.arguments]\nq = "fuzzy"',
     "[tools.f.arguments]\nq = -1.0", "[tools.f.arguments]\nq = nan"],
)  # fmt: skip
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(ConfigurationError, match="policy"):
        load_policy(tmp_path / "p.toml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="policy"):
        load_policy(tmp_path / "nowhere.toml")
    assert load_policy(None) == NO_POLICY


def test_never_may_be_added_while_serving_and_levels_may_not() -> None:
    certified = Policy(tools={"pay": ToolRule(level=0.99)})
    stricter = Policy(tools={"pay": ToolRule(level=0.99, never=True), "f": ToolRule(never=True)})
    assert stricter.never_under(certified.fingerprint) == ["f", "pay"]
    assert NO_POLICY.never_under(certified.fingerprint) == []
    with pytest.raises(ConfigurationError, match="another policy"):
        certified.never_under("")


@pytest.mark.parametrize(
    ("how", "a", "b", "agree"),
    [
        ("exact", "Rome", "rome", False),
        ("case_insensitive", "New  York", "new york", True),
        ("case_insensitive", ["A", "b"], ["a", "B"], True),
        ("case_insensitive", "Rome", "Paris", False),
        ("set", [1, 2, 2], [2, 1], True),
        ("set", [1, 2], [1, 3], False),
        ("free_text", "please", "do it", True),
        (0.5, 10, 10.5, True),
        (0.5, 10, 10.6, False),
        (0.5, "ten", "ten", True),
        (0.5, 10, "ten", False),
    ],
)
def test_declared_comparators_hold_for_strict_and_tolerant(how: Comparator, a: object, b: object, agree: bool) -> None:
    declared = Comparators(declared={"f": {"x": how}})
    calls = [ToolCall("f", {"x": a, "y": 1})], [ToolCall("f", {"x": b, "y": 1})]
    assert strict(*calls, [], declared) is agree
    assert tolerant(*calls, [], declared) is agree
    other = [ToolCall("f", {"x": b, "y": 2})]
    assert strict(calls[0], other, [], declared) is False


def test_a_declared_comparator_comes_before_an_inferred_one() -> None:
    both = Comparators(frozenset({("f", "x")}), {"f": {"x": "exact"}})
    assert not tolerant([ToolCall("f", {"x": "a"})], [ToolCall("f", {"x": "b"})], [], both)


def test_close_numbers_agree_whatever_the_order_of_the_calls() -> None:
    declared = Comparators(declared={"f": {"x": 0.1}})
    one = [ToolCall("f", {"x": 1.0, "id": "a"}), ToolCall("f", {"x": 9.0, "id": "b"})]
    other = [ToolCall("f", {"x": 9.05, "id": "b"}), ToolCall("f", {"x": 1.05, "id": "a"})]
    assert strict(one, other, [], declared) is True
