"""An evaluation function may do anything: it is named, survived, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.optimize.tickets import Rubric, tickets

from ultracore.distillation.optimize import CombinedOptimizer, GEPAOptimizer
from ultracore.distillation.optimize.evaluation import EvaluationError
from ultracore.distillation.students.prompted.chat import ChatError


def raises(prompt: str, examples: list[Any]) -> float:
    raise KeyError("no such model")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (raises, "no such model"),
        (lambda p, e: float("nan"), "nan is not a number from 0 to 1"),
        (lambda p, e: 87, "87 is not a number from 0 to 1"),
        (lambda p, e: "good", "str is not a number"),
        (lambda p, e: None, "NoneType is not a number"),
        (lambda p, e: {"scores": [1.0, 1.0, 1.0]}, "3 scores and 0 sentences for 1 examples"),
    ],
)
def test_one_that_never_works_is_an_error_after_three_examples(function: Any, said: str, run: Any) -> None:
    asked = []

    def counted(prompt: str, examples: list[Any]) -> Any:
        asked.append(prompt)
        return function(prompt, examples)

    with pytest.raises(EvaluationError, match=said):
        run(CombinedOptimizer(), counted)
    assert len(asked) == 3


@pytest.mark.parametrize("is_async", [True, False])
def test_one_that_fails_now_and_then_costs_those_examples(is_async: bool, run: Any, rubric: Rubric) -> None:
    def spoilt(prompt: str, example: Any) -> float:
        number = int(example["task"][1:])
        if number % 10 == 3:
            raise ConnectionError("gone")
        return float("inf") if number % 10 == 5 else rubric.score(prompt, example)

    async def later(prompt: str, examples: list[Any]) -> float:
        return spoilt(prompt, examples[0])

    result = run(GEPAOptimizer(), later if is_async else lambda p, es: spoilt(p, es[0]))
    assert result["status"] == "optimized"
    assert 0.6 < result["final_score"] < 1.0
    assert set(result["failures"]) == {"raised", "not_a_score"}
    assert any("count as 0" in note for note in result["notes"])


@pytest.mark.parametrize("is_async", [True, False])
def test_one_that_hangs_is_given_up(is_async: bool, run: Any, rubric: Rubric) -> None:
    def hangs(example: Any) -> bool:
        return example["task"] == "t7"

    async def slow(prompt: str, examples: list[Any]) -> float:
        await asyncio.sleep(30 if hangs(examples[0]) else 0)
        return rubric.score(prompt, examples[0])

    def blocking(prompt: str, examples: list[Any]) -> float:
        time.sleep(1.0 if hangs(examples[0]) else 0)
        return rubric.score(prompt, examples[0])

    result = run(GEPAOptimizer(timeout=0.05), slow if is_async else blocking, generations=2)
    assert set(result["failures"]) == {"timed_out"}


def test_one_that_is_constant_changes_nothing_and_costs_little(run: Any) -> None:
    result = run(GEPAOptimizer(), lambda p, e: 0.5, examples=tickets(300), generations=50)
    assert result["status"] == "unchanged"
    assert result["evaluations"] < result["budget"] / 4
    assert "does not tell prompts apart" in result["reason"] or "no candidate" in result["reason"]


@pytest.mark.parametrize(
    "answer", ["", "I cannot help.", "``````", "```\n\n```", None, 7, "x" * 300_000, "```\nChoose a tool.\n```"]
)
def test_a_reflection_that_answers_rubbish_is_survived(answer: Any, run: Any, rubric: Rubric) -> None:
    result = run(GEPAOptimizer(reflection=lambda _: answer), rubric)
    assert (result["status"], result["optimized_prompt"]) == ("unchanged", "Choose a tool.")
    assert any("reflections proposed nothing" in note for note in result["notes"])
    assert result["evaluations"] < result["budget"]


def test_a_reflection_that_raises_now_and_then_is_survived(run: Any, rubric: Rubric) -> None:
    said = []

    async def flaky(question: str) -> str:
        said.append(question)
        if len(said) < 3:
            raise ConnectionError("reset")
        return "```\n- refund: a\n- track: b\n- cancel: c\n```"

    result = run(GEPAOptimizer(reflection=flaky), rubric)
    assert result["final_score"] == 1.0
    assert "<wanted>" in said[0]
    assert "Choose a tool." in said[0]


def test_a_reflection_server_that_is_not_there_is_told_before_anything_is_spent(run: Any, rubric: Rubric) -> None:
    with pytest.raises(ChatError, match="cannot be reached"):
        run(CombinedOptimizer(reflection="http://127.0.0.1:9/v1"), rubric)
    assert rubric.asked == []
