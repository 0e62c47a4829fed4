"""The whole loop as one script: log, curate, train, evaluate, retrain. Needs no network, no key and no service.

A rule stands in for the expensive model. Put your own agent's decisions in its place, and the rest
stays as it is. Run it with `python examples/pipeline.py`; its log and its models go to `$DISTILL_HOME`.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from ultracore.distillation import AgentDecisionLogger, DataCuratorAgent, EvaluationAgent, ModelTrainerAgent

TOOLS = [{"name": "track_order"}, {"name": "cancel_order"}, {"name": "refund_order"}]
REQUESTS = {
    "track_order": ("where is order {}", "has order {} been shipped", "track {} please"),
    "cancel_order": ("cancel order {}", "please stop order {}", "do not ship {}"),
    "refund_order": ("refund order {}", "i want my money back for {}", "order {} arrived broken"),
}
NEW_RULE = {"track_order": "track_order", "cancel_order": "refund_order", "refund_order": "cancel_order"}


async def log_decisions(logger: AgentDecisionLogger, count: int, seed: int) -> None:
    """Log what the teacher decided on some requests."""
    draw = random.Random(seed)  # noqa: S311  a made-up request is no secret
    for number in range(count):
        tool = draw.choice(sorted(REQUESTS))
        order = draw.randrange(1, 9000)
        await logger.log_decision(
            agent_id="support",
            context={"user_query": draw.choice(REQUESTS[tool]).format(order)},
            tools_available=TOOLS,
            tool_selected=tool,
            tool_parameters={"order_id": order},
            reasoning="the request names the action",
            confidence=0.95,
            task=f"request {seed}-{number}",  # known by name, the tasks are divided in the same way every time
        )


async def run_pipeline(decisions: int = 300) -> dict[str, Any]:
    """Log, curate, train and evaluate; then the teacher changes its mind, and a new student is asked for."""
    logger = AgentDecisionLogger()
    await log_decisions(logger, decisions, seed=1)

    curated = await DataCuratorAgent().execute({"raw_decisions": logger.get_history()})
    trainer, evaluation = ModelTrainerAgent(), EvaluationAgent()
    trained = await trainer.execute({"training_data": curated})

    recent = AgentDecisionLogger()
    await log_decisions(recent, 150, seed=2)
    as_before = await evaluation.execute({"recent_decisions": recent.get_history()})

    changed = [{**row, "tool_selected": NEW_RULE[row["tool_selected"]]} for row in recent.get_history()]
    after_change = await evaluation.execute({"recent_decisions": changed})
    if after_change["status"] == "retrain_triggered":  # what the teacher decided before no longer holds
        again = await DataCuratorAgent().execute({"raw_decisions": changed})
        retrained = await trainer.execute({"training_data": again})
    else:
        retrained = None
    return {
        "curated": curated["stats"],
        "trained": trained,
        "as_before": as_before,
        "after_change": after_change,
        "retrained": retrained,
    }


def main() -> None:
    """Run the loop and print what came of each step."""
    result = asyncio.run(run_pipeline())
    trained = result["trained"]
    print(f"curated:   {result['curated']['original_count']} -> {result['curated']['curated_count']} decisions")
    print(f"trained:   {trained['status']} ({trained['level']}), coverage {trained['coverage']:.0%}")
    print(f"           {trained['reason']}")
    print(f"evaluated: {result['as_before']['status']}, {result['as_before']['metrics']}")
    print(f"changed:   {result['after_change']['status']}, {result['after_change']['reasons']}")
    if result["retrained"]:
        print(f"retrained: {result['retrained']['status']}")


if __name__ == "__main__":
    main()
