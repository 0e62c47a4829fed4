"""The literal promises about logging and agents: names, arguments, keys, statuses, both import styles."""

import asyncio
import importlib.util
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ultracore.distillation as root
import ultracore.distillation.agents as agents
from ultracore.distillation import (
    AgentDecisionLogger,
    DataCuratorAgent,
    DecisionLoggerMixin,
    EvaluationAgent,
    ModelTrainerAgent,
    PromptOptimizerAgent,
)
from ultracore.distillation.events.opening import open_store

AGENTS = ("DataCuratorAgent", "PromptOptimizerAgent", "ModelTrainerAgent", "EvaluationAgent")
ROOT = Path(__file__).parents[1]
TWO = [{"name": "search"}, {"name": "refund"}]
FOUR = [*TWO, {"name": "track"}, {"name": "cancel"}]
VERBS = {
    "search": ("find order {}", "look up order {}"),
    "refund": ("refund order {}", "money back for order {}"),
    "track": ("where is order {}", "track parcel {}"),
    "cancel": ("cancel order {}", "stop order {}"),
}


@pytest.mark.parametrize("name", AGENTS)
def test_both_import_styles_give_the_same_agent(name):
    assert getattr(root, name) is getattr(agents, name)
    assert name in root.__all__
    assert name in agents.__all__
    assert name in dir(agents)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Oracle"):
        _ = agents.Oracle


def test_importing_costs_no_numpy():
    code = (
        "import sys, ultracore.distillation, ultracore.distillation.agents\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'plotly'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", AGENTS)
def test_agents_need_no_argument_and_constructing_one_opens_nothing(name, home):
    agent = getattr(root, name)()
    assert isinstance(agent.agent_id, str)
    assert agent.agent_id
    assert isinstance(agent.capabilities, tuple)
    for step in ("perceive", "decide", "act", "execute"):
        assert asyncio.iscoroutinefunction(getattr(agent, step))
    assert not home.exists()


def test_sessions_outcomes_and_history(home):
    async def script() -> None:
        logger = AgentDecisionLogger()
        session_id = await logger.start_session("support", {"channel": "chat"})
        event_id = await logger.log_decision(
            agent_id="support",
            context={"user_query": "refund order 17"},
            tools_available=TWO,
            tool_selected="refund",
            tool_parameters={"order": 17},
            reasoning="asked for",
            confidence=0.95,
            session_id=session_id,
            teacher_model="gpt-4",
            teacher_confidence=0.9,
            teacher_reasoning="the words say so",
            user_id="u1",
            environment="test",
            tenant_id="default",
        )
        await logger.log_outcome(session_id, event_id, True, 12.5, result={"ok": True}, cost_usd=0.01)
        without = await logger.log_decision(agent_id="support", context={}, tools_available=TWO, tool_selected="search")
        summary = await logger.end_session(session_id)
        expected = {"session_id", "agent_id", "duration_seconds", "decision_count", "successful_decisions"}
        assert expected | {"total_cost_usd"} <= set(summary)
        assert {"average_confidence", "average_execution_time_ms"} <= set(logger.get_session_stats(session_id))
        rows = logger.get_history()
        assert [row["event_id"] for row in rows] == [event_id, without]
        keys = "agent_id context tools_available tool_selected tool_parameters reasoning confidence timestamp event_id"
        assert {*keys.split(), "outcome"} <= set(rows[0])
        assert rows[0]["outcome"]["success"] is True
        assert rows[1]["outcome"] is None
        assert rows[1]["tool_parameters"] is None, "left out means unknown, never {}"

    asyncio.run(script())


def test_a_mixin_needs_no_set_up():
    class SupportAgent(DecisionLoggerMixin):
        def __init__(self) -> None:
            self.busy = False

        async def work(self) -> None:
            await self.log_decision({"user_query": "refund order 17"}, TWO, "refund", "asked for")

    agent = SupportAgent()
    asyncio.run(agent.work())
    (row,) = agent.decision_logger.get_history()
    assert (row["agent_id"], row["tool_selected"]) == ("SupportAgent", "refund")


async def log_traffic(
    n: int, tools: list[dict[str, str]], orders: int, parameters: bool, per_session: int, seed: int = 0
) -> list[dict[str, Any]]:
    draw, logger, session = random.Random(seed), AgentDecisionLogger(), None
    names = [tool["name"] for tool in tools]
    for i in range(n):
        if per_session and i % per_session == 0:
            session = await logger.start_session("support", {})
        tool, order = draw.choice(names), draw.randrange(1, orders)
        known = {"tool_parameters": {"order_id": order}} if parameters else {}
        await logger.log_decision(
            agent_id="support",
            context={"user_query": draw.choice(VERBS[tool]).format(order)},
            tools_available=tools,
            tool_selected=tool,
            reasoning="the words say so",
            confidence=0.95,
            session_id=session,
            task=f"{seed}-{i // max(per_session, 1)}",  # divided the same way in every run
            **known,
        )
    return logger.get_history()


@pytest.mark.parametrize(
    ("tools", "parameters", "orders", "per_session"),
    [
        pytest.param(TWO, True, 5, 0, id="much repetition"),
        pytest.param(FOUR, True, 9000, 0, id="little repetition"),
        pytest.param(TWO, False, 5, 0, id="much repetition, no parameters"),
        pytest.param(FOUR, False, 9000, 0, id="little repetition, no parameters"),
        pytest.param(FOUR, True, 9000, 3, id="sessions of three"),
        pytest.param(TWO, False, 9000, 3, id="sessions of three, no parameters"),
    ],
)
def test_the_pipeline_runs_word_for_word(tools, parameters, orders, per_session):
    async def script() -> None:
        history = await log_traffic(300, tools, orders, parameters, per_session)

        curated = await DataCuratorAgent().execute({"raw_decisions": history})
        assert curated["status"] == "curated"
        assert {"original_count", "curated_count", "deduplication_rate"} <= set(curated["stats"])

        trainer = ModelTrainerAgent()
        trained = await trainer.execute({"training_data": curated})
        assert trained["status"] == "deployed", trained["reason"]
        model = trained["model"]
        assert {"model_id", "metrics", "status"} <= set(model)
        metrics = model["metrics"]
        promised = {"accuracy_vs_teacher", "latency_ms", "cost_per_request_usd", "training_duration_hours"}
        assert promised <= set(metrics)
        assert metrics["accuracy_vs_teacher"] >= 0.90
        assert trained["coverage"] > 0
        assert trained["level"] == ("whole_call" if parameters else "tool")
        assert trainer.current_model == model

        recent = await log_traffic(60, tools, orders, parameters, per_session, seed=1)
        evaluated = await EvaluationAgent().execute({"recent_decisions": recent})
        assert evaluated["status"] == "ok", evaluated
        assert {"accuracy", "latency_ms", "drift_score"} <= set(evaluated["metrics"])

    asyncio.run(script())


def test_few_decisions_are_skipped_and_waited_for():
    async def script() -> None:
        history = await log_traffic(9, TWO, 9000, True, 0)
        curated = await DataCuratorAgent().execute({"raw_decisions": history})
        assert (curated["status"], curated["curated_data"]) == ("skipped", history)
        assert (await ModelTrainerAgent().execute({"training_data": curated}))["status"] == "waiting"
        assert await EvaluationAgent().execute({"recent_decisions": []}) == {
            "status": "ok", "metrics": {}, "reasons": [],
        }  # fmt: skip
        assert (await PromptOptimizerAgent().execute({"prompt": "p"}))["status"] == "unchanged"

    asyncio.run(script())


def test_the_example_pipeline_runs(home, capsys):
    example = load_example("pipeline")
    example.main()
    printed = capsys.readouterr().out
    assert "trained:   deployed (whole_call)" in printed
    assert "evaluated: ok" in printed
    assert "changed:   retrain_triggered" in printed
    assert "retrained: deployed" in printed
    types = [event.event_type for event in open_store(home).read() if event.event_type != "AGENT_TOOL_SELECTED"]
    model = ["MODEL_TRAINED", "MODEL_EVALUATED", "CERTIFICATE_DECIDED", "MODEL_DEPLOYED"]
    trigger = ["MODEL_EVALUATED", "MODEL_EVALUATED", "RETRAIN_TRIGGERED"]
    data = ["DATASET_MANIFEST_RECORDED", "TRAINING_DATA_CURATED"]
    assert types == [*data, *model, *trigger, *data, *model]


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
