"""The prompt optimizer: its name is promised, its work is not part of this release, and it says so.

Nothing is simulated: no prompt is changed and no score is made up. What this file does not know:
how prompts are optimized.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultracore.distillation.agents.base import Agent

__all__ = ["PromptOptimizerAgent"]

REASON = (
    "prompt optimization is not part of this release; the prompt is unchanged. "
    "Go on with ModelTrainerAgent: the student does not need an optimized prompt."
)


class PromptOptimizerAgent(Agent[None, None]):
    """Will optimize prompts; today `await execute({...})` gives `{"status": "unavailable", "reason": ...}`.

    A status rather than an error, so that a pipeline that has this step in its middle goes on.
    """

    name = "prompt_optimizer"
    capabilities = ()

    async def perceive(self, context: Mapping[str, Any]) -> None:
        """Reads nothing."""

    async def decide(self, observation: None) -> None:
        """Decides nothing."""

    async def act(self, plan: None) -> dict[str, Any]:
        """Say that this release has no such step."""
        return {"status": "unavailable", "reason": REASON}
