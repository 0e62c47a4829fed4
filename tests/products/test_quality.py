"""Quality is measured from rows: each rule moves with the rows that it is about, and a breach is one alert until it is over."""

from __future__ import annotations

from typing import Any

import pytest
from tests.products.conftest import World, decided, ended

from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.products import AgentDecisionHistoryProduct, DistilledModelMetricsProduct

RULES = ("completeness", "validity", "uniqueness", "consistency", "timeliness")


def measured(store: SqliteEventStore) -> dict[str, Any]:
    return {name: AgentDecisionHistoryProduct(store).measure_quality(record=False)[name] for name in RULES}


def test_clean_rows_keep_every_rule(world: World) -> None:
    assert measured(world.store) == dict.fromkeys(RULES, 1.0)
    figures = AgentDecisionHistoryProduct(world.store).get_quality_metrics()
    assert figures == dict.fromkeys(["completeness", "accuracy", "timeliness", "consistency", "uniqueness"], 1.0)


@pytest.mark.parametrize(
    ("rule", "told", "expected"),
    [
        ("completeness", {"tool_parameters": None}, 26 / 30),
        ("validity", {"tool_parameters": {"n": "many"}}, 26 / 30),
        ("validity", {"tool_selected": "nonsense"}, 26 / 30),
    ],
)
def test_each_rule_moves_with_its_rows(world: World, rule: str, told: dict[str, Any], expected: float) -> None:
    world.store.append([decided(50 + i, **told) for i in range(4)])
    now = measured(world.store)
    assert now[rule] == pytest.approx(expected)


def test_consistency_is_of_one_teachers_repeats_in_different_conversations(world: World) -> None:
    """Ten contexts come twice each; one more repeat that differs, and a student's and another teacher's that do not count."""
    again = {"context": {"query": "secret words 0"}, "agent_id": "agent-0"}
    world.store.append([
        decided(70, **again, tool_parameters={"n": 99}),
        decided(71, **again, tool_parameters={"n": 98}, source="student", serving={"model_id": "m"}),
        decided(72, **again, tool_parameters={"n": 97}, teacher_model="t-2"),
        decided(73, **again, tool_parameters={"n": 96}, session_id="s-0"),
    ])  # fmt: skip
    assert measured(world.store)["consistency"] == pytest.approx(20 / 24)


def test_timeliness_is_of_outcomes(world: World) -> None:
    late = world.decisions[13]
    world.store.append([ended(late, timestamp=None)])
    assert measured(world.store)["timeliness"] == pytest.approx(12 / 13)


def test_a_breach_is_one_alert_until_it_is_over_and_the_history_is_kept(world: World) -> None:
    product = AgentDecisionHistoryProduct(world.store)
    product.measure_quality()
    wrong = [decided(50 + i, tool_selected="nonsense") for i in range(9)]
    world.store.append(wrong)
    assert product.measure_quality()["breaches"] == ["validity"]
    product.measure_quality()
    (alert,) = world.store.read(types=["ALERT_RAISED"])
    assert (alert.alert_id, alert.severity, alert.limit) == ("agent_decision_history.validity", "page", 0.95)
    assert alert.value == pytest.approx(26 / 35)
    world.store.append([decided(100 + i) for i in range(200)])
    product.measure_quality()
    (over,) = world.store.read(types=["ALERT_RESOLVED"])
    assert over.alert_id == alert.alert_id
    assert [row["breaches"] for row in product.quality_history()] == [[], ["validity"], ["validity"], []]


def test_metrics_that_cannot_be_are_invalid(world: World) -> None:
    product = DistilledModelMetricsProduct(world.store)
    product.publish("m", {"accuracy_vs_teacher": 1.5})
    assert product.validate()["violations"] == ["validity is 0.0000, and at least 1 is promised"]
