"""The three products do what was promised of them, from the log alone, each tenant by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from tests.products.conftest import START, World, decided, ended

import ultracore.distillation as root
from ultracore.distillation.errors import ProductError
from ultracore.distillation.events import DecisionOutcomeEvent, FeedbackRecordedEvent
from ultracore.distillation.products import (
    AgentDecisionHistoryProduct,
    DistillationTrainingDataProduct,
    DistilledModelMetricsProduct,
)
from ultracore.distillation.products.contract import PRODUCT_IDS, contract_of

PRODUCTS = {
    "agent_decision_history": (AgentDecisionHistoryProduct, "agentic_ai", "ai_team"),
    "distillation_training_data": (DistillationTrainingDataProduct, "ml_training", "ml_team"),
    "distilled_model_metrics": (DistilledModelMetricsProduct, "ml_ops", "ml_team"),
}


@pytest.mark.parametrize("product_id", PRODUCTS)
def test_a_product_needs_no_argument_and_no_data_and_says_who_it_is(product_id: str) -> None:
    make, domain, owner = PRODUCTS[product_id]
    product = make()
    assert (product.product_id, product.domain, product.owner) == (product_id, domain, owner)
    assert getattr(root, make.__name__) is make
    assert product.refresh()["rows"] == 0
    assert product.query() == []
    assert product.get_schema()["columns"]
    assert product.measure_quality()["breaches"] == []
    assert product.get_lineage()["nodes"]
    assert product.validate() == {"product_id": product_id, "valid": True, "violations": []}
    assert product.register()["registered"] is True
    product.register()
    assert len(product.rows.tuples("SELECT * FROM registrations")) == 1


def test_importing_the_package_costs_no_duckdb() -> None:
    code = "import sys, ultracore.distillation; assert not {'duckdb', 'pydantic', 'yaml', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_results_can_be_awaited(world: World) -> None:
    product = AgentDecisionHistoryProduct(world.store)

    async def ask() -> tuple[Any, Any]:
        return await product.query(limit=2), await product.get_statistics()

    rows, figures = asyncio.run(ask())
    assert rows == product.query(limit=2)
    assert figures["unique_agents"] == product.get_statistics()["unique_agents"]


def test_filters_come_before_limit_and_offset_and_the_newest_first(world: World) -> None:
    product = AgentDecisionHistoryProduct(world.store)
    failed = [d.metadata.event_id for i, d in enumerate(world.decisions[:12]) if i % 4 == 0]
    found = product.query({"success": False})
    assert [row["event_id"] for row in found] == failed[::-1]
    assert [row["event_id"] for row in product.query({"success": False}, limit=1, offset=1)] == [failed[-2]]
    window = {"gte": START.isoformat(), "lte": (START + timedelta(minutes=3)).isoformat()}
    chosen = product.query({"timestamp": window, "agent_id": "agent-1"})
    assert [row["event_id"] for row in chosen] == [d.metadata.event_id for d in world.decisions[3:1:-1]]
    assert product.query(agent_id=["nobody"]) == []
    assert len(product.query({"success": None})) == 14
    assert {row["tenant_id"] for row in product.query(limit=10_000)} == {"default"}
    assert len(AgentDecisionHistoryProduct(world.store, tenant="acme").query()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": {"nonsense": 1}}, "no column 'nonsense'; it has: position"),
        ({"filters": {"success": "yes"}}, "success is compared with a boolean, not with 'yes'"),
        ({"filters": {"confidence": {"near": 1}}}, "no operator 'near'; there are: eq, ne"),
        ({"filters": {"timestamp": "soon"}}, "timestamp: 'soon' is not a time"),
        ({"filters": {"context": "x"}}, "context is personal"),
        ({"filters": {"agent_id; DROP TABLE decisions": "x"}}, "no column"),
        ({"limit": 0}, "limit must be between 1 and 10,000, not 0"),
        ({"limit": True}, "limit must be"),
        ({"offset": -1}, "offset must be"),
    ],
)
def test_what_cannot_be_asked_says_why(world: World, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ProductError, match=message):
        AgentDecisionHistoryProduct(world.store).query(**arguments)


def test_personal_columns_come_from_the_log_and_only_when_asked_for(world: World) -> None:
    product = AgentDecisionHistoryProduct(world.store)
    (plain,), (whole,) = product.query(limit=1), product.query(limit=1, personal=True)
    assert "context" not in plain
    assert whole["context"] == world.decisions[-1].context
    assert plain.items() <= whole.items()
    stored = b"".join(file.read_bytes() for file in (world.home / "projections").rglob("*") if file.is_file())
    assert b"agent-1" in stored
    assert b"secret words" not in stored
    assert b"person-1" not in stored


def test_statistics_are_counted_from_the_rows(world: World) -> None:
    product = AgentDecisionHistoryProduct(world.store)
    now = START + timedelta(hours=1)
    figures = product.get_statistics(now=now)
    assert figures["total_decisions"] == 26
    assert (figures["decisions_with_outcome"], figures["successful_decisions"]) == (12, 9)
    assert figures["success_rate"] == 0.75
    assert figures["average_confidence"] == 0.5
    assert figures["average_execution_time_ms"] == 20.0
    assert figures["total_cost_usd"] == pytest.approx(0.12)
    assert (figures["unique_agents"], figures["unique_tools"], figures["answered_by_student"]) == (2, 1, 6)
    assert product.get_statistics("agent-0", now=now)["total_decisions"] == 14
    late = product.get_statistics(time_window_hours=1, now=START + timedelta(minutes=70))
    assert late["total_decisions"] == 16
    assert product.get_statistics(time_window_hours=None)["total_decisions"] == 26
    assert product.get_statistics(now=START + timedelta(days=9))["success_rate"] is None
    with pytest.raises(ProductError, match="time_window_hours"):
        product.get_statistics(time_window_hours=0)


def test_feedback_goes_before_delivery_whenever_it_comes(world: World) -> None:
    first, second = world.decisions[0], world.decisions[15]
    told = [
        FeedbackRecordedEvent.record(decision_id=d.metadata.event_id, success=i == 0)
        for i, d in enumerate((first, second))
    ]
    world.store.append([*told, ended(second)])
    rows = {row["event_id"]: row for row in AgentDecisionHistoryProduct(world.store).query()}
    assert rows[first.metadata.event_id]["success"] is True
    assert rows[second.metadata.event_id]["success"] is False
    assert rows[second.metadata.event_id]["execution_time_ms"] == 20.0


def test_an_outcome_of_another_tenant_changes_nothing(world: World) -> None:
    theirs = DecisionOutcomeEvent.record(
        decision_id=world.decisions[13].metadata.event_id, success=True, tenant_id="acme"
    )
    world.store.append([theirs])
    (row,) = AgentDecisionHistoryProduct(world.store).query({"event_id": theirs.decision_id})
    assert row["success"] is None


def test_the_past_is_as_it_was_known_then(world: World) -> None:
    product = AgentDecisionHistoryProduct(world.store)
    assert product.query(as_of=20)[0]["success"] is None
    assert len(product.query(as_of=20)) == 20
    then = product.query(as_of=(START + timedelta(minutes=2, seconds=30)).isoformat())
    assert [row["success"] for row in then] == [True, True, False]


def test_training_data_are_published_once_by_content_and_asked_by_agent_and_cluster(world: World) -> None:
    product = DistillationTrainingDataProduct(world.store)
    rows = [
        {"event_id": d.metadata.event_id, "cluster_id": i % 3, "weight": 2.0, "split": "calibration" if i == 9 else ""}
        for i, d in enumerate(world.decisions[:10])
    ]
    first, again = product.publish(rows), product.publish({"curated_data": rows, "stats": {}})
    assert (first["new"], again["new"]) == (True, False)
    assert first["dataset_id"] == again["dataset_id"]
    assert [row["cluster_id"] for row in product.query(cluster_id=1)] == [1, 1, 1]
    assert len(product.query({"agent_id": "agent-0"})) == 6
    figures = product.get_statistics()
    assert figures["dataset_version"] == first["dataset_id"]
    assert (figures["total_examples"], figures["total_weight"], figures["source_event_count"]) == (10, 20.0, 20)
    assert (figures["training_examples"], figures["calibration_examples"], figures["unique_clusters"]) == (9, 1, 3)
    second = product.publish(rows[:5])
    assert [version["dataset_id"] for version in product.versions()] == [first["dataset_id"], second["dataset_id"]]
    assert len(product.query(dataset_id=second["dataset_id"])) == 5
    with pytest.raises(ProductError, match="no training set 'x'"):
        product.get_statistics("x")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows to publish"),
        ("text", "no rows to publish"),
        ([{"event_id": "nobody"}], "row 0 names no decision of the log"),
        ([{"context": {}}], "row 0 names no decision"),
        ([1], "each row must be a dict"),
    ],
)
def test_training_data_that_cannot_be_traced_are_not_published(world: World, rows: Any, message: str) -> None:
    before = world.store.last_position()
    with pytest.raises(ProductError, match=message):
        DistillationTrainingDataProduct(world.store).publish(rows)
    assert world.store.last_position() == before


def test_model_metrics_are_those_published_and_those_of_served_calls(world: World) -> None:
    product = DistilledModelMetricsProduct(world.store)
    product.publish("m-1", {"accuracy_vs_teacher": 0.9, "latency_ms": 5.0})
    product.publish("m-1", {"accuracy_vs_teacher": 0.95, "cost_per_request_usd": 0.0})
    latest = product.get_latest("m-1")
    assert (latest["accuracy_vs_teacher"], latest["latency_ms"], latest["cost_per_request_usd"]) == (0.95, 5.0, 0.0)
    assert (latest["served"], latest["audited"], latest["live_agreement"]) == (6, 2, 0.5)
    assert latest["cost_reduction"] == pytest.approx(4 / 6)
    assert latest["consistency_score"] == 1.0
    assert latest["throughput_rps"] == 1
    assert product.get_latest()["model_id"] == "m-1"
    assert [row["accuracy_vs_teacher"] for row in product.query("m-1", 1)] == [0.95]
    assert len(product.query({"model_id": "m-1"}, limit=5)) == 2
    assert product.publish("m-1")["metrics"]["throughput_rps"] == 1
    with pytest.raises(ProductError, match="no model 'm-2'"):
        product.get_latest("m-2")
    with pytest.raises(ProductError, match="nothing to publish"):
        product.publish("m-2")
    with pytest.raises(ProductError, match="latency_ms must be a finite number"):
        product.publish("m-1", {"latency_ms": float("nan")})


@pytest.mark.parametrize("product_id", PRODUCT_IDS)
def test_a_contract_keeps_the_standards_own_schema_and_names_the_columns_there_are(
    product_id: str, world: World
) -> None:
    contract = contract_of(product_id)
    assert contract.violations() == []
    broken = contract._replace(document={**contract.document, "kind": "Promise"})
    assert broken.violations() != []
    product = PRODUCTS[product_id][0](world.store)
    DistillationTrainingDataProduct(world.store).publish([{"event_id": world.decisions[0].metadata.event_id}])
    DistilledModelMetricsProduct(world.store).publish("m-1")
    (row,) = product.query(limit=1)
    assert tuple(row) == contract.plain


def test_an_unknown_product_says_which_there_are() -> None:
    with pytest.raises(ProductError, match="no data product 'x'; there are: agent_decision_history"):
        contract_of("x")


def test_a_row_that_breaks_the_contract_is_found(world: World) -> None:
    world.store.append([decided(30 + i, tool_selected="nonsense") for i in range(9)])
    product = AgentDecisionHistoryProduct(world.store)
    (found,) = product.validate()["violations"]
    assert found.startswith("validity is 0.74")
