import asyncio

from ultracore.distillation.agents import PromptOptimizerAgent


def test_it_says_that_it_cannot_and_makes_nothing_up():
    agent = PromptOptimizerAgent()
    result = asyncio.run(agent.execute({"prompt": "You are helpful.", "training_data": []}))
    assert result["status"] == "unavailable"
    assert "not part of this release" in result["reason"]
    assert not {"optimized_prompt", "accuracy_after", "improvement", "final_score"} & set(result)


def test_it_writes_nothing(home):
    asyncio.run(PromptOptimizerAgent().execute({}))
    assert not home.exists()
