import asyncio
from pathlib import Path
from typing import Any

import pytest

from ultracore.distillation.agents import EvaluationAgent, ModelTrainerAgent
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import CertificateRevokedEvent, RetrainTriggeredEvent
from ultracore.distillation.events.opening import open_store


def evaluate(rows: Any, agent: EvaluationAgent | None = None) -> dict[str, Any]:
    return asyncio.run((agent or EvaluationAgent()).execute({"recent_decisions": rows}))


def types(home: Path) -> list[str]:
    return [event.event_type for event in open_store(home).read()]


@pytest.fixture
def model_id(traffic: Any) -> str:
    result = asyncio.run(ModelTrainerAgent().execute({"training_data": traffic(150)}))
    assert result["status"] == "deployed"
    return result["model"]["model_id"]


def with_outcomes(rows: list[dict[str, Any]], good: int) -> list[dict[str, Any]]:
    return [{**row, "outcome": {"success": i < good, "execution_time_ms": 40.0}} for i, row in enumerate(rows)]


@pytest.mark.parametrize("context", [{}, {"recent_decisions": []}, {"recent_decisions": None}])
def test_no_data_is_ok_and_measures_nothing(context, home):
    assert asyncio.run(EvaluationAgent().execute(context)) == {"status": "ok", "metrics": {}, "reasons": []}
    assert not home.exists()


def test_traffic_as_before_is_ok(model_id, traffic, home):
    result = evaluate(traffic(60, seed=1))
    assert (result["status"], result["model_id"]) == ("ok", model_id)
    metrics = result["metrics"]
    assert metrics["accuracy"] >= 0.9
    assert metrics["accuracy_of"] == "sent_calls"
    assert metrics["n"] == round(metrics["coverage"] * 60)
    assert 0.0 < metrics["latency_ms"] < 1000.0
    assert 0.0 <= metrics["drift_score"] < 0.3
    assert types(home)[-1] == "MODEL_EVALUATED"


def test_a_teacher_that_decides_otherwise_triggers_a_retraining(model_id, traffic, home):
    swapped = {"track_order": "cancel_order", "cancel_order": "refund_order", "refund_order": "track_order"}
    rows = [{**row, "tool_selected": swapped[row["tool_selected"]]} for row in traffic(60, seed=1)]
    result = evaluate(rows)
    assert result["status"] == "retrain_triggered"
    assert result["reasons"] == ["accuracy_drop"], "the mix of actions is what it was"
    assert result["metrics"]["accuracy"] == 0.0
    (trigger,) = (e for e in open_store(home).read() if isinstance(e, RetrainTriggeredEvent))
    assert (trigger.reason, trigger.model_id, trigger.current_accuracy) == ("accuracy_drop", model_id, 0.0)
    assert trigger.threshold_accuracy == 0.9
    assert "DRIFT_DETECTED" not in types(home)


def test_another_kind_of_traffic_is_drift_even_where_the_student_agrees(model_id, traffic, home):
    rows = [row for row in traffic(200, seed=1) if row["tool_selected"] == "track_order"]
    result = evaluate(rows)
    assert result["status"] == "retrain_triggered"
    assert result["reasons"] == ["drift_detected"]
    assert result["metrics"]["drift_score"] > 0.1
    assert types(home)[-3:] == ["MODEL_EVALUATED", "DRIFT_DETECTED", "RETRAIN_TRIGGERED"]


def test_a_handful_of_decisions_is_no_drift(model_id, traffic):
    rows = [row for row in traffic(200, seed=1) if row["tool_selected"] == "track_order"][:2]
    assert evaluate(rows)["status"] == "ok"


def test_without_a_model_outcomes_are_all_there_is(traffic):
    result = evaluate(with_outcomes(traffic(20), good=19))
    assert (result["status"], result["model_id"]) == ("ok", None)
    metrics = result["metrics"]
    assert metrics["accuracy"] == 0.95
    assert metrics["accuracy_of"] == "outcomes"
    assert metrics["latency_ms"] == 40.0
    assert metrics["drift_score"] is None


def test_failing_outcomes_trigger_a_retraining_too(traffic, home):
    result = evaluate(with_outcomes(traffic(20), good=10))
    assert (result["status"], result["reasons"]) == ("retrain_triggered", ["accuracy_drop"])
    assert types(home) == ["MODEL_EVALUATED", "RETRAIN_TRIGGERED"]


def test_without_model_and_outcomes_nothing_is_made_up(traffic):
    result = evaluate(traffic(20))
    assert result["status"] == "ok"
    assert [result["metrics"][name] for name in ("accuracy", "latency_ms", "drift_score")] == [None] * 3


def test_a_revoked_model_is_not_evaluated(model_id, traffic, home):
    open_store(home).append([CertificateRevokedEvent.record(model_id=model_id, reason="audit")])
    assert evaluate(traffic(20, seed=1))["model_id"] is None


def test_what_a_student_answered_is_no_evidence(model_id, traffic):
    assert evaluate([{**row, "source": "student"} for row in traffic(20)])["metrics"] == {}


def test_a_tool_level_model_is_judged_by_tool_choice(traffic):
    asyncio.run(ModelTrainerAgent().execute({"training_data": traffic(150, parameters=False)}))
    result = evaluate(traffic(40, seed=1))
    assert result["status"] == "ok"
    assert result["metrics"]["accuracy"] >= 0.9


@pytest.mark.parametrize("options", [{"floor": 1.5}, {"drift_threshold": -0.1}])
def test_unusable_options_are_refused(options):
    with pytest.raises(ConfigurationError):
        EvaluationAgent(**options)


def test_unusable_input_is_named():
    with pytest.raises(ConfigurationError, match="recent_decisions"):
        evaluate("rows")
