import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.agents.test_curator import ListStore, history

from ultracore.distillation.agents import curation_gate
from ultracore.distillation.agents.curation_gate import LEAST_TASKS, best_selector, gate
from ultracore.distillation.agents.curator import DataCuratorAgent
from ultracore.distillation.curate import embed_decisions
from ultracore.distillation.curate.recipe import Recipe
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.splits import check_leakage
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.curation_cost import agreement_of, compare_hits

Asked = list[tuple[list[Decision], list[Decision]]]


def decisions_of(n: int) -> list[Decision]:
    return [
        Decision(
            state=State(
                [{"role": "user", "content": f"{'find' if i % 2 else 'stop'} number {i}"}],
                [Tool("alpha"), Tool("beta")],
            ),
            calls=(ToolCall("alpha" if i % 2 else "beta", {}),),
            task=f"t{i}",
            episode=f"t{i}",
        )
        for i in range(n)
    ]


@pytest.fixture
def students(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Students that agree on as large a share as their training set has of 70 rows."""
    asked: Asked = []

    def agreement(train: Sequence[Decision], held: Sequence[Decision], seed: int = 0) -> NDArray[np.float64]:
        asked.append((list(train), list(held)))
        return (np.arange(len(held)) < len(held) * min(1.0, len(train) / 70)).astype(np.float64)

    monkeypatch.setattr(curation_gate, "agreement_of", agreement)
    return asked


def test_the_first_recipe_within_the_limit_is_taken(students: Asked) -> None:
    decisions = decisions_of(100)
    E = embed_decisions(decisions)
    recipes = [Recipe(None, share, "random") for share in (0.1, 0.5, 0.9)]
    gated = gate(decisions, E, recipes, limit=0.75)
    assert gated.recipe.keep == 0.5
    assert [found["accepted"] for found in gated.evidence] == [False, True]
    found = gated.evidence[1]
    assert (found["decisions"], found["tasks"]) == (30, 30)
    assert found["loss"] == pytest.approx(0.5, abs=0.03)
    assert found["interval"] is not None
    assert found["interval"][0] < found["loss"] < found["interval"][1] <= 0.75
    assert "75 points" in gated.reason


def test_the_upper_end_of_the_interval_decides_and_not_the_loss(students: Asked) -> None:
    decisions = decisions_of(100)
    gated = gate(decisions, embed_decisions(decisions), [Recipe(None, 0.5, "random"), Recipe(None, 0.9)], limit=0.55)
    assert gated.evidence[0]["loss"] < 0.55 < (gated.evidence[0]["interval"] or (0, 0))[1]
    assert gated.recipe.keep == 0.9


def test_more_is_kept_where_no_recipe_passes(students: Asked) -> None:
    decisions = decisions_of(100)
    gated = gate(decisions, embed_decisions(decisions), [Recipe(None, 0.5), Recipe(None, 0.9)], limit=0.01)
    assert gated.recipe == Recipe()
    assert len(gated.evidence) == 2
    assert "could not be ruled out" in gated.reason


def test_students_never_learn_from_held_out_tasks(students: Asked) -> None:
    decisions = decisions_of(100)
    E = embed_decisions(decisions)
    best_selector(decisions, E, 0.2)
    chosen_on = {d.task for _, held in students for d in held}
    count = len(students)
    gate(decisions, E, [Recipe(None, 0.2)], limit=0.01)
    assert all(check_leakage(train, held).clean for train, held in students)
    measured_on = {d.task for _, held in students[count:] for d in held}
    assert not chosen_on & measured_on, "the gate measures where no selector was chosen"


def test_few_tasks_pass_nothing(students: Asked) -> None:
    decisions = decisions_of(LEAST_TASKS - 1)
    gated = gate(decisions, embed_decisions(decisions), [Recipe(None, 0.5)], limit=1.0)
    assert gated.recipe == Recipe()
    assert students == []


@pytest.mark.parametrize(
    ("better", "wins"),
    [({"car": 0.9, "covering": 0.7, "random": 0.5}, "car"), ({"car": 0.51, "covering": 0.4, "random": 0.5}, "random")],
)
def test_the_best_way_to_choose_wins_where_chance_does_not_explain_it(
    monkeypatch: pytest.MonkeyPatch, better: dict[str, float], wins: str
) -> None:
    decisions, asked = decisions_of(100), []

    def keeping(recipe: Recipe, rows: Sequence[Decision], *rest: object) -> tuple[list[Decision], None]:
        asked.append((recipe.selector, recipe.keep, len(rows)))
        return list(rows), None

    def agreement(train: object, held: Sequence[Decision], seed: int = 0) -> NDArray[np.float64]:
        return np.random.default_rng(seed).permutation(len(held)) < better[asked[-1][0]] * len(held)

    monkeypatch.setattr(Recipe, "apply", keeping)
    monkeypatch.setattr(curation_gate, "agreement_of", agreement)
    assert best_selector(decisions, embed_decisions(decisions), 0.1, candidates=("car", "covering")) == wins
    assert [name for name, _, _ in asked] == ["random", "random", "car", "car", "covering", "covering"]
    for _, keep, rows in asked:
        assert keep * rows == pytest.approx(10, abs=1), "as many rows as will be kept"


def curate(**options: Any) -> dict[str, Any]:
    limit = options.pop("loss_limit", 0.01)
    agent = DataCuratorAgent(store=ListStore(), thresholds=(), loss_limit=limit)
    return asyncio.run(agent.execute({"raw_decisions": history(300), **options}))


def test_the_curator_keeps_more_than_wished_where_it_would_cost(students: Asked) -> None:
    stats = curate(keep=0.1, selector="random")["stats"]
    assert [found["keep"] for found in stats["gate"]] == [0.1, 0.2, 0.4, 0.8]
    assert stats["keep"] in (0.8, None)
    assert stats["not_chosen"] < 0.5 * stats["training_count"]


def test_the_curator_keeps_what_was_wished_where_the_limit_allows(students: Asked) -> None:
    result = curate(keep=0.1, loss_limit=1.0)
    stats = result["stats"]
    assert (stats["keep"], stats["gate"][0]["accepted"]) == (0.1, True)
    assert stats["selector"] in ("mixture", "features", "random")
    training = [row for row in result["curated_data"] if row.get("split") != "calibration"]
    assert len(training) == stats["training_count"] == round(0.1 * (300 - stats["calibration_count"]))
    assert sum(row["weight"] for row in result["curated_data"]) == pytest.approx(300)


def test_orders_are_not_overruled_and_no_limit_asks_nobody(students: Asked) -> None:
    assert curate(similarity_threshold=0.5)["stats"]["similarity_threshold"] == 0.5
    assert curate(keep=0.2, selector="covering", loss_limit=None)["stats"]["keep"] == 0.2
    assert students == []


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep": 1.0}, {"keep": 0.5, "selector": "best"}])
def test_unusable_wishes(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        curate(**options)
    with pytest.raises(ConfigurationError):
        DataCuratorAgent(loss_limit=-1)


def test_a_real_student_loses_where_an_action_was_left_out() -> None:
    decisions = decisions_of(60)
    train, held = decisions[:40], decisions[40:]
    full = agreement_of(train, held)
    half = agreement_of([d for d in train if d.action == "alpha"], held)
    cost = compare_hits(full, half, held)
    assert full.mean() > 0.9
    assert cost.loss > 0.3
    assert cost.interval is not None
    assert cost.interval[0] > 0
    assert (cost.decisions, cost.tasks) == (20, 20)
