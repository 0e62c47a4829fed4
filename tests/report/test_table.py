"""The table in the terminal says the same as the page, and obeys no tool's name."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from ultracore.distillation.report.table import print_result


def printed(result: dict[str, Any], width: int = 110) -> str:
    out = io.StringIO()
    print_result(result, Console(file=out, width=width, color_system=None, force_terminal=False))
    return out.getvalue()


def test_the_verdict_and_the_figures(result: dict[str, Any]) -> None:
    text = printed(result)
    assert "can take over about 60% of the teacher's tool calls" in text
    assert re.search(r"93% +yes +50.0% +95.2%", text)
    assert re.search(r"98% +no, about 41 more tasks +\(17.0%\)", text)
    assert re.search(r"student +78.1% \[74.4%, 81.6%\] +84.2%", text)
    assert re.search(r"get_order_details +212", text)
    assert "3.1 ms median" in text
    assert "Synthetic" in text
    assert "1. Serve it beside the teacher" in text


def test_what_to_do_next_can_be_pasted_from_a_narrow_terminal(result: dict[str, Any]) -> None:
    step = "Serve it: distill serve --model distill-report --upstream https://api.openai.com/v1"
    result["next_steps"] = [step]
    assert step in printed(result, width=60)


def test_a_refusal(result: dict[str, Any]) -> None:
    result["levels"] = {"0.93": {"coverage": 0.4, "agreement": 0.95, "certified": False, "more_units": 1}}
    text = printed(result, 200)
    assert "Not certified yet" in text
    assert "About 1 more task" in text


def test_without_a_price_the_sum_is_left_out(result: dict[str, Any]) -> None:
    result["savings"] = {"calls_saved": 0.2, "audit_rate": 0.05, "basis": "give --price-per-call to see a sum"}
    assert re.search(r"saves a year +give --price-per-call", printed(result))


def test_every_key_is_optional(result: dict[str, Any]) -> None:
    assert "No certificate" in printed({})
    for key in result:
        printed({k: v for k, v in result.items() if k != key})
        printed({key: result[key]})


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/]", "\x1b[2J\x1b]0;owned\x07", "\u202egnp"])
def test_names_are_neither_markup_nor_terminal_commands(result: dict[str, Any], name: str) -> None:
    result["per_tool"][0]["tool"] = name
    result["baselines"] = {name: {"tool": 0.5, "whole_call": 0.5}}
    result["next_steps"] = [name]
    result["errors"] = [{"reason": name, "lines": 3}]
    text = printed(result)
    assert "\x1b" not in text
    assert "\u202e" not in text
    if name.startswith("["):
        assert text.count(name) == 4
