"""The promises of the three optimizers: names, keys, held-out figures, a hard budget, and a run that goes on."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.optimize.tickets import Rubric, tickets

import ultracore.distillation as root
from ultracore.distillation.errors import ConfigurationError, DataError, MissingExtraError
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.optimize import CombinedOptimizer, DSPyOptimizer, GEPAOptimizer
from ultracore.distillation.optimize.dspy_engine import is_installed
from ultracore.distillation.optimize.examples import Parts, divide

THREE = [DSPyOptimizer, GEPAOptimizer, CombinedOptimizer]
PROMISED = {"optimized_prompt", "initial_score", "final_score", "improvement", "total_improvement", "method"}


@pytest.mark.parametrize("cls", THREE)
def test_names_arguments_and_keys_are_as_promised(cls: Any, run: Any, rubric: Rubric, home: Any) -> None:
    assert getattr(root, cls.__name__) is cls
    optimizer = cls(teacher_model="gpt-4")
    assert not home.exists(), "constructing opens nothing"
    assert {"initial_prompt", "training_examples", "evaluation_function"} < set(
        inspect.signature(cls.optimize).parameters
    )
    result = run(optimizer, rubric)
    assert set(result) >= PROMISED
    assert result["method"] == cls.method
    assert result["initial_score"] == 0.0
    assert result["improvement"] == pytest.approx(result["final_score"] - result["initial_score"])
    assert result["status"] == "optimized"
    combined = {"dspy_score", "dspy_improvement", "gepa_improvement"}
    assert (set(result) & combined) == (combined if cls is CombinedOptimizer else set())


def test_the_three_stages_find_what_they_can(run: Any, rubric: Rubric) -> None:
    shown, evolved = run(DSPyOptimizer(), rubric), run(GEPAOptimizer(), rubric)
    both = run(CombinedOptimizer(), rubric)
    assert (shown["final_score"], evolved["final_score"], both["final_score"]) == (0.5, 1.0, 1.0)
    assert (both["dspy_score"], both["gepa_improvement"]) == (0.5, 0.5)
    if is_installed():
        version = importlib.metadata.version("dspy")
        assert shown["engine"] == f"dspy {version} BootstrapFewShot"
        assert evolved["engine"] == f"dspy {version} GEPA with notes"
    else:
        assert shown["engine"] == "bootstrap"
        assert evolved["engine"] == f"gepa {importlib.metadata.version('gepa')} with notes"
    assert "## Notes" in both["optimized_prompt"]
    assert "## Demonstrations" not in both["optimized_prompt"], "what evolved does as well without them"
    assert both["candidates"][-1]["reason"] == "the demonstrations taken out"


def test_demonstrations_that_are_needed_stay(run: Any) -> None:
    def needs_both(prompt: str, examples: list[Any]) -> list[float]:
        return [("## Notes" in prompt) * 0.5 + ("## Demonstrations" in prompt) * 0.4 for _ in examples]

    result = run(CombinedOptimizer(), needs_both)
    assert result["final_score"] == pytest.approx(0.9)
    assert "## Demonstrations" in result["optimized_prompt"]


def test_sets_that_get_better_and_better_leave_half_of_the_budget_to_evolve(run: Any) -> None:
    known: dict[str, int] = {}

    def rising(prompt: str, examples: list[Any]) -> list[float]:
        number = known.setdefault(prompt, len(known))
        return [0.5 * ("## Notes" in prompt) + 0.01 * number] * len(examples)

    result = run(CombinedOptimizer(budget=280, minibatch=10), rising, examples=tickets(300))
    ways = [candidate["reason"].split()[0] for candidate in result["candidates"]]
    assert 1 <= ways.count("16") < 5, "sets of 16 demonstrations"
    assert "notes" in ways


def test_evolution_that_could_go_on_leaves_what_the_last_step_costs(run: Any) -> None:
    counter = iter(range(1, 1000))

    def more(question: str) -> str:
        return "```\n" + "better\n" * next(counter) + "```"

    def rising(prompt: str, examples: list[Any]) -> list[float]:
        return [0.005 * prompt.count("better") + 0.05 * ("## Demonstrations" in prompt)] * len(examples)

    result = run(CombinedOptimizer(budget=300, minibatch=5, reflection=more), rising, examples=tickets(300))
    reasons = [candidate["reason"] for candidate in result["candidates"]]
    assert reasons[-1] == "the demonstrations taken out"
    assert any("on the mistakes" in reason for reason in reasons)
    assert not any("budget" in note for note in result["notes"])


def test_the_first_set_is_what_was_selected(run: Any, rubric: Rubric) -> None:
    asked = []

    def select(examples: Any, count: int) -> Any:
        asked.append((len(examples), count))
        return [example for example in examples if example["output"] == "refund"][:count]

    result = run(DSPyOptimizer(select=select, demonstrations=5), rubric, examples=tickets(200), iterations=1)
    assert asked == [(result["examples"]["train"], 5)]
    assert result["candidates"][-1]["reason"] == "5 demonstrations, selected"
    assert result["optimized_prompt"].count("Answer: refund") == 5
    nothing = run(DSPyOptimizer(select=lambda examples, count: []), rubric, iterations=1)
    assert "draw 1" in nothing["candidates"][-1]["reason"]


def test_a_set_that_fails_its_trial_costs_a_quarter(run: Any) -> None:
    seen: dict[str, set[str]] = {}

    def worse(prompt: str, examples: list[Any]) -> list[float]:
        seen.setdefault(prompt, set()).update(e["task"] for e in examples)
        return [float("## Demonstrations" not in prompt)] * len(examples)

    result = run(DSPyOptimizer(), worse, examples=tickets(400))
    tried = [tasks for prompt, tasks in seen.items() if "## Demonstrations" in prompt]
    assert len(tried) == 5
    assert all(len(tasks) == result["examples"]["selection"] // 4 for tasks in tried)


def test_what_a_budget_cannot_score_is_learnt_from() -> None:
    parts = divide(tickets(400), seed=0)
    cut = parts.cut(selection=20, test=10)
    texts = [{e["task"] for e in part} for part in (cut.train, cut.selection, cut.test)]
    assert [len(part) for part in texts] == [370, 20, 10]
    assert sum(map(len, texts)) == len(set().union(*texts))
    uneven = [{"input": f"x{i}", "task": f"t{min(i, 11)}"} for i in range(400)]
    sizes = Counter(
        e["task"] for e in Parts([], uneven, uneven, *[[e["task"] for e in uneven]] * 2, True).cut(36, 9).selection
    )
    assert sizes == Counter({f"t{i}": 1 for i in range(11)} | {"t11": 25}), "of each task as many, where it has them"
    session = [{"input": f"x{i}", "task": f"t{i % 8}"} for i in range(80)]
    few = divide(session, seed=0).cut(selection=2, test=2)
    assert not {e["task"] for e in few.train} & {e["task"] for e in [*few.selection, *few.test]}


def test_a_selection_part_that_is_easier_is_no_overfit(run: Any) -> None:
    """Its gap is large, but the first prompt has the same one."""
    easy = {e["task"] for e in divide(tickets(400), 0).selection}

    def helped(prompt: str, examples: list[Any]) -> list[float]:
        return [0.3 * ("## Notes" in prompt) + 0.6 * (e["task"] in easy) for e in examples]

    result = run(GEPAOptimizer(), helped, examples=tickets(400))
    assert result["status"] == "optimized"
    assert result["gap"] == pytest.approx(0.6)
    assert result["overfit"] == pytest.approx(0.0)
    low, high = result["gap_interval"]
    assert low <= result["gap"] <= high


def test_a_sync_function_and_rich_scores_work_too(run: Any, rubric: Rubric) -> None:
    def one(prompt: str, examples: list[Any]) -> float:
        return rubric.score(prompt, examples[0])

    def rich(prompt: str, examples: list[Any]) -> dict[str, Any]:
        return {"scores": [rubric.score(prompt, e) for e in examples], "feedback": ["say more"] * len(examples)}

    async def listed(prompt: str, examples: list[Any]) -> list[float]:
        return [rubric.score(prompt, e) for e in examples]

    found = [run(GEPAOptimizer(), function) for function in (one, rich, listed, rubric)]
    assert [f["final_score"] for f in found] == [1.0] * 4
    assert len({f["optimized_prompt"] for f in found}) == 1, "the form of the answer changes nothing"


def test_the_test_part_is_seen_by_the_first_and_the_last_prompt_only(run: Any, rubric: Rubric) -> None:
    result = run(CombinedOptimizer(), rubric)
    held_out = {e["task"] for e in divide(tickets(60), 0).test}
    seen = {prompt for prompt, task in rubric.asked if task in held_out}
    assert len(seen) <= 3
    assert {"Choose a tool.", result["optimized_prompt"]} <= seen
    assert result["held_out"] is True
    low, high = result["final_interval"]
    assert low < result["final_score"] <= high


def test_no_task_is_in_two_parts_and_equal_examples_stay_together() -> None:
    examples = [{"input": f"x{i % 20}", "task": f"t{i % 20}"} for i in range(60)] + ["same"] * 9
    parts = divide(examples, seed=1)
    texts = [{str(e) for e in part} for part in (parts.train, parts.selection, parts.test)]
    assert len(set().union(*texts)) == sum(map(len, texts))
    assert len(parts.train) + len(parts.selection) + len(parts.test) == 69


@pytest.mark.parametrize("cls", THREE)
@pytest.mark.parametrize("budget", [6, 37, 200, 1000])
def test_the_budget_is_never_exceeded(cls: Any, budget: int, run: Any, rubric: Rubric) -> None:
    result = run(cls(budget=budget), rubric, examples=tickets(300))
    assert len(rubric.asked) <= budget
    assert result["evaluations"] == len(rubric.asked)
    assert result["budget"] == budget


class Killed(BaseException):
    """As a signal would: nothing of ours may catch it."""


class Mortal(Rubric):
    def __init__(self, lives: int) -> None:
        super().__init__()
        self.lives = lives

    async def __call__(self, prompt: str, examples: Any) -> Any:
        self.lives -= 1
        if self.lives < 0:
            raise Killed
        return await super().__call__(prompt, examples)


@pytest.mark.parametrize("lives", [3, 40, 95])
def test_a_run_that_was_killed_goes_on_and_asks_nothing_twice(lives: int, run: Any, home: Any) -> None:
    whole, mortal, second = Rubric(), Mortal(lives), Rubric()
    expected = run(CombinedOptimizer(), whole)
    with pytest.raises(Killed):
        run(CombinedOptimizer(concurrency=1), mortal, run_id="r")
    result = run(CombinedOptimizer(), second, run_id="r")
    differs = {"seconds", "run_id", "prompt_id", "candidates", "reason"}
    assert {k: v for k, v in result.items() if k not in differs} == {
        k: v for k, v in expected.items() if k not in differs
    }
    batch = 15
    assert len(second.asked) <= len(whole.asked) - len(mortal.asked) + batch, "at most the batch under way is lost"
    versions = [e.prompt_id for e in open_store(home).read(types=["PROMPT_VERSION_RECORDED"]) if e.run_id == "r"]
    assert sorted(versions) == sorted(set(versions))
    assert len(versions) == len(expected["candidates"])


def test_every_candidate_and_the_outcome_are_in_the_log(run: Any, rubric: Rubric, home: Any) -> None:
    result = run(CombinedOptimizer(agent_id="support"), rubric)
    events = list(open_store(home).read())
    versions = {e.prompt_id: e for e in events if e.event_type == "PROMPT_VERSION_RECORDED"}
    assert set(versions) == {c["prompt_id"] for c in result["candidates"]}
    assert versions[result["prompt_id"]].text == result["optimized_prompt"]
    assert all(v.agent_id == "support" and v.reason and v.run_id == result["run_id"] for v in versions.values())
    roots = [v for v in versions.values() if v.parent_id is None]
    assert [v.text for v in roots] == ["Choose a tool."]
    assert {v.parent_id for v in versions.values()} - {None} <= set(versions)
    (outcome,) = (e for e in events if e.event_type == "PROMPTS_OPTIMIZED")
    assert (outcome.optimization_method, outcome.agent_ids) == ("combined", ["support"])
    assert outcome.accuracy_after == result["final_score"]
    assert "pickle" not in {path.suffix for path in home.rglob("*")}


@pytest.mark.parametrize(
    "prompt", ["{braces} {0} %s <curr_param>", "ü漢字\u202e\U0001f600\n\n## Notes", "x " * 50_000, ""]
)
def test_any_text_is_a_prompt_and_stays_as_it_is(prompt: str, run: Any, rubric: Rubric) -> None:
    result = run(CombinedOptimizer(), rubric, prompt=prompt)
    assert result["final_score"] == 1.0
    assert result["optimized_prompt"].startswith(prompt.partition("## Notes")[0].strip())


def test_a_prompt_that_only_fits_the_selection_part_is_refused(run: Any) -> None:
    chosen = {e["task"] for e in divide(tickets(400), 0).selection} | {e["task"] for e in divide(tickets(400), 0).train}

    def lucky(prompt: str, examples: list[Any]) -> list[float]:
        longer = prompt != "Choose a tool."
        return [0.5 if not longer else 1.0 if e["task"] in chosen else 0.55 for e in examples]

    result = run(GEPAOptimizer(), lucky, examples=tickets(400))
    assert (result["status"], result["optimized_prompt"]) == ("unchanged", "Choose a tool.")
    assert "fits the examples that it was chosen by" in result["reason"]
    worse = run(
        GEPAOptimizer(),
        lambda p, es: [float(e["task"] in chosen and p != "Choose a tool.") for e in es],
        examples=tickets(400),
    )
    assert "not better on the test part" in worse["reason"]


def test_length_is_part_of_the_choice(run: Any) -> None:
    said = iter(["```\n" + "a long story. " * 500 + "\n```", "```\nbe brief\n```"] + ["```\nz\n```"] * 99)

    def barely(prompt: str, examples: list[Any]) -> list[float]:
        return [0.6 if prompt.startswith("a long") else 0.602 if prompt == "be brief" else 0.4] * len(examples)

    result = run(GEPAOptimizer(reflection=lambda _: next(said)), barely)
    assert result["optimized_prompt"] != "Choose a tool."
    assert result["length"]["after"] < 100


def test_training_text_is_not_copied_into_the_prompt(run: Any) -> None:
    long = [
        {**e, "input": f"{e['input']} because my neighbour at number {i} told me so yesterday"}
        for i, e in enumerate(tickets(60))
    ]
    copied = "\n".join(e["input"] for e in long[:30])
    result = run(
        GEPAOptimizer(reflection=lambda _: f"```\nA rule.\n{copied}\n```"),
        lambda prompt, examples: [float("A rule." in prompt)] * len(examples),
        examples=long,
    )
    assert result["optimized_prompt"] == "A rule."
    assert any("repeated training examples" in note for note in result["notes"])


def test_it_is_the_same_again_with_the_same_seed_and_another_with_another(run: Any) -> None:
    def noisy(prompt: str, examples: list[Any]) -> list[float]:
        return [random.Random(prompt + e["task"]).random() for e in examples]

    one, again, other = (run(CombinedOptimizer(seed=seed), noisy) for seed in (1, 1, 2))
    assert one["optimized_prompt"] == again["optimized_prompt"]
    assert one["initial_score"] != other["initial_score"]


def test_what_cannot_be_used_is_said(run: Any, rubric: Rubric) -> None:
    with pytest.raises(DataError, match="no training_examples"):
        run(GEPAOptimizer(), rubric, examples=[])
    with pytest.raises(DataError, match="must be a list"):
        run(GEPAOptimizer(), rubric, examples="abc")
    with pytest.raises(ConfigurationError, match="must be text"):
        run(GEPAOptimizer(), rubric, prompt=7)
    with pytest.raises(ConfigurationError, match="callable"):
        run(GEPAOptimizer(), "gpt-4")
    with pytest.raises(ConfigurationError, match="no engine"):
        DSPyOptimizer(engine="magic")
    if not is_installed():
        with pytest.raises(MissingExtraError, match=r"\[dspy\]"):
            DSPyOptimizer(engine="dspy")
    with pytest.raises(ConfigurationError, match="too small"):
        GEPAOptimizer(budget=1)
    assert rubric.asked == []


def test_two_examples_are_enough_to_work_and_that_is_said(run: Any, rubric: Rubric) -> None:
    result = run(GEPAOptimizer(), rubric, examples=tickets(2))
    assert result["held_out"] is False
    assert any("fewer than three" in note for note in result["notes"])


def test_a_cancelled_run_stops(rubric: Rubric) -> None:
    async def script() -> int:
        task = asyncio.create_task(CombinedOptimizer().optimize("p", tickets(300), rubric))
        while not rubric.asked:  # noqa: ASYNC110  a thread fills it
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)
        asked = len(rubric.asked)
        await asyncio.sleep(0.2)
        return len(rubric.asked) - asked

    assert asyncio.run(script()) == 0


def test_a_run_belongs_to_the_tenant_of_the_settings(run: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_TENANT", "acme")
    run(DSPyOptimizer(budget=20), lambda prompt, examples: 0.5)
    assert {event.metadata.tenant_id for event in open_store(home).read()} == {"acme"}
