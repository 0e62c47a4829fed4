import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation.agents import DataCuratorAgent, ModelTrainerAgent
from ultracore.distillation.decisions import decisions_from_rows
from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.events import ModelDeployedEvent, ModelRejectedEvent
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.train.certificates import data_id_of

SCHEMAS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"order_id": {"type": "integer"}}, "required": ["order_id"]},
        },
    }
    for name in ("track_order", "cancel_order", "refund_order")
]


def train(data: Any, agent: ModelTrainerAgent | None = None) -> dict[str, Any]:
    return asyncio.run((agent or ModelTrainerAgent()).execute({"training_data": data}))


def events(home: Path) -> list[Any]:
    return list(open_store(home).read())


def test_a_list_of_rows_is_trained_certified_and_deployed(traffic, home):
    agent = ModelTrainerAgent()
    result = train(traffic(200), agent)
    assert result["status"] == result["model"]["status"] == "deployed"
    assert agent.current_model == result["model"]
    metrics = result["model"]["metrics"]
    assert metrics["accuracy_vs_teacher"] >= 0.9
    assert 0.0 < metrics["latency_ms"] <= metrics["latency_p99_ms"] < 1000.0
    assert metrics["cost_per_request_usd"] == 0.0
    assert 0.0 < metrics["training_duration_hours"] < 0.1
    assert result["level"] == "whole_call"
    assert 0.0 < result["coverage"] <= 1.0
    found = ModelRegistry(home, open_store(home)).active()
    assert found is not None
    assert found.model_id == result["model"]["model_id"]
    assert msgspec.to_builtins(found.certificate) == result["certificate"]


def test_the_events_tell_the_story_and_who_caused_what(traffic, home):
    curated = asyncio.run(DataCuratorAgent().execute({"raw_decisions": traffic(150)}))
    result = train(curated)
    manifest, curation, trained, evaluated, decided, deployed = events(home)
    assert trained.dataset_id == curation.dataset_id == manifest.dataset_id, "listed once"
    assert [e.event_type for e in (trained, evaluated, decided, deployed)] == [
        "MODEL_TRAINED",
        "MODEL_EVALUATED",
        "CERTIFICATE_DECIDED",
        "MODEL_DEPLOYED",
    ]
    assert trained.metadata.causation_id == curation.metadata.event_id == curated["event_id"]
    assert decided.metadata.causation_id == trained.metadata.event_id
    assert deployed.metadata.causation_id == decided.metadata.event_id
    assert len({e.metadata.correlation_id for e in (trained, evaluated, decided, deployed)}) == 1
    assert isinstance(deployed, ModelDeployedEvent)
    assert deployed.accuracy_vs_teacher == result["model"]["metrics"]["accuracy_vs_teacher"]
    assert deployed.model_size > 1000


def test_the_rows_that_the_curator_held_back_decide_the_certificate(traffic):
    curated = asyncio.run(DataCuratorAgent(calibration_share=0.4).execute({"raw_decisions": traffic(150)}))
    held = [row for row in curated["curated_data"] if row.get("split") == "calibration"]
    certificate = train(curated)["certificate"]
    assert certificate["decisions"] == len(held) == 60
    assert certificate["data_id"] == data_id_of(decisions_from_rows(held))


def test_without_parameters_the_certificate_is_of_level_tool(traffic):
    result = train(traffic(150, parameters=False))
    assert (result["status"], result["level"]) == ("deployed", "tool")
    assert result["certificate"]["level"] == "tool"
    assert set(result["certificate"]["tools"]) == {"track_order", "cancel_order", "refund_order"}
    assert result["model"]["metrics"]["accuracy_vs_teacher"] >= 0.9


def test_schemas_do_not_stand_in_the_way_of_learning_tool_choice(traffic):
    result = train(traffic(150, parameters=False, tools=SCHEMAS))
    assert (result["status"], result["level"]) == ("deployed", "tool")


def test_a_teacher_that_tosses_coins_is_rejected(traffic, home):
    agent = ModelTrainerAgent()
    result = train(traffic(150, noise=1.0, parameters=False), agent)
    assert result["status"] == result["model"]["status"] == "rejected"
    assert result["model"]["metrics"]["accuracy_vs_teacher"] is None
    assert result["coverage"] == 0.0
    assert result["reason"]
    assert agent.current_model is None
    assert isinstance(events(home)[-1], ModelRejectedEvent)
    assert ModelRegistry(home, open_store(home)).active() is None


def test_a_rejection_leaves_the_deployed_model_in_place(traffic, home):
    agent = ModelTrainerAgent()
    first = train(traffic(150), agent)
    assert train(traffic(150, noise=1.0, seed=1), agent)["status"] == "rejected"
    assert agent.current_model == first["model"]
    assert ModelRegistry(home, open_store(home)).active_id() == first["model"]["model_id"]


def test_training_waits_for_a_hundred_source_decisions(traffic, home):
    assert train(traffic(99))["status"] == "waiting"
    assert not home.exists(), "waiting writes nothing"


def test_weights_count_as_source_decisions(traffic):
    rows = [{**row, "weight": 4.0} for row in traffic(30)]
    assert train(rows)["status"] in ("deployed", "rejected")
    assert train([{**row, "weight": 3.0} for row in rows])["status"] == "waiting"


def test_one_long_session_waits_for_more(traffic):
    result = train(traffic(150, per_session=150))
    assert result["status"] == "waiting"
    assert "1 independent session" in result["reason"]


def test_a_student_is_never_a_teacher(traffic):
    rows = [{**row, "source": "student"} for row in traffic(150)]
    assert train(rows)["status"] == "waiting"


def test_training_twice_on_the_same_data_gives_the_same_model(traffic, home):
    rows = traffic(120)
    assert train(rows)["model"]["model_id"] == train(rows)["model"]["model_id"]
    assert len([path for path in (home / "models").iterdir() if path.is_dir()]) == 1


def test_the_loop_goes_on_while_a_student_is_fitted(traffic):
    async def both() -> int:
        task = asyncio.create_task(ModelTrainerAgent().execute({"training_data": traffic(150)}))
        beats = 0
        while not task.done():
            await asyncio.sleep(0.005)
            beats += 1
        return beats

    assert asyncio.run(both()) >= 5


def test_the_machine_has_a_price_if_one_is_given(traffic):
    metrics = train(traffic(120), ModelTrainerAgent(machine_usd_per_hour=3.6))["model"]["metrics"]
    assert metrics["cost_per_request_usd"] == pytest.approx(metrics["latency_ms"] * 1e-6)


def test_a_stricter_target_needs_more_data(traffic):
    result = train(traffic(100), ModelTrainerAgent(target=0.99))
    assert result["status"] == "rejected"
    assert result["certificate"]["more_units"] > 100


@pytest.mark.parametrize("data", [None, "rows", 7, {"raw": []}])
def test_unusable_input_is_named(data):
    with pytest.raises(ConfigurationError, match="training_data"):
        train(data)


def test_rows_of_two_teachers_are_refused(traffic):
    rows = [{**row, "teacher_model": f"gpt-{i % 2}"} for i, row in enumerate(traffic(120))]
    with pytest.raises(DataError, match="teacher_model"):
        train(rows)


@pytest.mark.parametrize("options", [{"target": 1.0}, {"target": 0.0}, {"machine_usd_per_hour": -1.0}])
def test_unusable_options_are_refused(options):
    with pytest.raises(ConfigurationError):
        ModelTrainerAgent(**options)
