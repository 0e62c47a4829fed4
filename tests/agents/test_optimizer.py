import asyncio
from typing import Any

import pytest

from ultracore.distillation.agents import PromptOptimizerAgent
from ultracore.distillation.agents.demonstrating import representatives
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events.opening import open_store


def execute(agent: PromptOptimizerAgent, given: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(agent.execute(given))


def test_decisions_need_no_evaluation_function(traffic, home):
    result = execute(PromptOptimizerAgent(), {"prompt": "Choose a tool.", "training_data": traffic(120)})
    assert result["status"] == "optimized"
    assert result["evaluator"] == "reader"
    assert result["final_score"] > result["initial_score"] + 0.2
    assert result["optimized_prompt"].startswith("Choose a tool.")
    assert [e.event_type for e in open_store(home).read()][-1] == "PROMPTS_OPTIMIZED"


def test_curated_examples_are_shown_first(traffic, home):
    execute(PromptOptimizerAgent(method="dspy"), {"prompt": "Choose a tool.", "training_data": traffic(200)})
    reasons = [e.reason for e in open_store(home).read(types=["PROMPT_VERSION_RECORDED"])]
    assert "16 demonstrations, selected" in reasons


def test_representatives_are_so_many_rows_that_differ():
    rows = [{"context": {"text": text}, "tools_available": [{"name": "a"}], "tool_selected": "a"} for text in
            ["order lost", "order lost again", "refund money", "money back refund", "cancel it", "cancel now"] * 20]  # fmt: skip
    chosen = representatives(rows, 15)
    assert len(chosen) == 15
    assert {row["context"]["text"] for row in chosen} <= {row["context"]["text"] for row in rows}
    assert representatives(rows, 15) == chosen, "the same each time, so that a run can go on"
    assert representatives(rows, 0) == representatives([], 5) == representatives([{"input": "a"}], 5) == []


def test_a_curators_result_and_prompts_by_agent_are_taken(traffic):
    rows = [{**row, "split": "calibration"} for row in traffic(30, seed=9)] + traffic(60)
    seen = []

    def evaluate(prompt, examples):
        seen.extend(example["event_id"] for example in examples)
        return [0.9 if "refund_order" in prompt else 0.1] * len(examples)

    given = {"prompts": {"support": "A", "sales": "B"}, "training_data": {"curated_data": rows}}
    result = execute(PromptOptimizerAgent(method="gepa"), {**given, "evaluation_function": evaluate})
    assert (result["status"], result["evaluator"]) == ("optimized", "given")
    assert set(result["prompts"]) == set(result["results"]) == {"support", "sales"}
    assert all("refund_order" in prompt for prompt in result["prompts"].values())
    assert not any(event_id.startswith("9-") for event_id in seen), "held back for the certificate"


@pytest.mark.parametrize("given", [{}, {"prompt": "p"}, {"training_data": []}, {"prompt": "p", "training_data": []}])
def test_with_nothing_to_do_it_says_so_and_writes_nothing(given, home):
    result = execute(PromptOptimizerAgent(), given)
    assert result["status"] == "unchanged"
    assert result["reason"]
    assert result["optimized_prompt"] == given.get("prompt")
    assert not home.exists()


def test_examples_that_are_no_decisions_need_an_evaluation_function():
    result = execute(PromptOptimizerAgent(), {"prompt": "p", "training_data": [{"input": "a", "output": "b"}] * 20})
    assert result["status"] == "unchanged"
    assert "evaluation_function" in result["reason"]


def test_bad_words_are_errors():
    with pytest.raises(ConfigurationError, match="no method"):
        PromptOptimizerAgent(method="magic")
    with pytest.raises(ConfigurationError, match="prompts must be"):
        execute(PromptOptimizerAgent(), {"prompt": 7})
