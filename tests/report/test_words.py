"""The verdict: which figure leads, and what is said where one is missing."""

from __future__ import annotations

import importlib
from typing import Any, cast

import pytest

from ultracore.distillation.report.result import Result
from ultracore.distillation.report.words import call_text, calls_of, clean, count, primary_level, verdict


def said(**result: Any) -> tuple[str, str]:
    found = verdict(cast("Result", result))
    return found.headline, " ".join(found.details)


def test_the_share_of_calls_is_what_is_sent_over_what_the_teacher_calls() -> None:
    level = {"certified": True, "coverage": 0.5, "certified_coverage": 0.3}
    headline, details = said(levels={"0.93": level}, data={"calls_share": 0.6})
    assert "about 50% of the teacher's tool calls" in headline
    assert "30.0% of all requests" in details
    assert "about 30% of the teacher's requests" in said(levels={"0.93": level})[0]


def test_the_certificates_target_chooses_the_level() -> None:
    levels: Any = {"0.98": {}, "0.95": {}, "0.93": {}}
    assert primary_level(cast("Result", {"levels": levels}))[0] == 0.93  # type: ignore[index]
    assert primary_level(cast("Result", {"levels": levels, "certificate": {"target": 0.98}}))[0] == 0.98  # type: ignore[index]
    assert primary_level(cast("Result", {"levels": {"0.9": {}}}))[0] == 0.9  # type: ignore[index]


def test_a_refusal_names_the_lower_level_that_holds() -> None:
    levels = {"0.95": {"certified": False, "reason": "too few"}, "0.9": {"certified": True, "coverage": 0.2}}
    headline, details = said(levels=levels, certificate={"target": 0.95})
    assert headline.startswith("Not certified yet")
    assert "At 90% it is certified" in details


def test_the_reason_of_a_refusal_about_several_tools_is_shown_to_its_end() -> None:
    reason = " ".join(f"Calls of tool_{i} at 98.0%: not certified, so they stay with the teacher." for i in range(9))
    assert f"{reason[:-1]}." in said(levels={"0.93": {"certified": False, "reason": reason[:-1]}})[1]


def test_a_certificate_without_sendable_calls_promises_nothing() -> None:
    assert "none of the test calls" in said(levels={"0.93": {"certified": True, "coverage": 0.0}})[0]


def test_a_tool_certificate_says_so() -> None:
    _, details = said(
        levels={"0.93": {"certified": True, "coverage": 0.4}}, certificate={"level": "tool", "delta": 0.1}
    )
    assert "name the same tool as the teacher, with 90% confidence" in details
    assert "Arguments were not recorded" in details


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "text reply"),
        ([], "text reply"),
        ("find(x=1)", "find(x=1)"),
        ([{"name": "f", "arguments": {"b": [1], "a": "é"}}], 'f(b=[1], a="é")'),
        ({"name": "f", "arguments": None}, "f(…=not recorded)"),
        ([{"name": "f", "arguments": {}}, {"name": "g", "arguments": "oops"}], "f(); g(…=oops)"),
        (3, "3"),
    ],
)
def test_a_side_of_a_disagreement_on_one_line(value: Any, text: str) -> None:
    assert call_text(value) == text


def test_texts_are_cleaned_and_numbers_checked() -> None:
    assert clean("a\r\nb\x1b\ud800") == "a\nb\ufffd?"
    assert clean(None) == ""
    assert count(float("nan")) == count(True) == "–"
    assert calls_of("text") is None


def test_the_docstrings_examples() -> None:
    import doctest

    for name in ("words", "html"):
        module = importlib.import_module(f"ultracore.distillation.report.{name}")
        assert doctest.testmod(module).failed == 0
