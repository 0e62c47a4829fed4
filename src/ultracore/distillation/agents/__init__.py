"""The four agents, thin: one stage in, one event out.

The names below are resolved when they are first used: importing this package costs no numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultracore.distillation.agents.curator import DataCuratorAgent
    from ultracore.distillation.agents.evaluation import EvaluationAgent
    from ultracore.distillation.agents.optimizer import PromptOptimizerAgent
    from ultracore.distillation.agents.trainer import ModelTrainerAgent

_HOMES = {
    "DataCuratorAgent": "curator",
    "EvaluationAgent": "evaluation",
    "ModelTrainerAgent": "trainer",
    "PromptOptimizerAgent": "optimizer",
}

__all__ = ["DataCuratorAgent", "EvaluationAgent", "ModelTrainerAgent", "PromptOptimizerAgent"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
