"""Learn a teacher model's tool calls into a small local student; take over what it certifiably gets right.

The names below are resolved when they are first used, so that importing the package costs no numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultracore.distillation.agents import (
        DataCuratorAgent,
        EvaluationAgent,
        ModelTrainerAgent,
        PromptOptimizerAgent,
    )
    from ultracore.distillation.curate import AdaptiveCaR, CaR, SemDeDup
    from ultracore.distillation.log import AgentDecisionLogger, DecisionLoggerMixin
    from ultracore.distillation.optimize import CombinedOptimizer, DSPyOptimizer, GEPAOptimizer
    from ultracore.distillation.products import (
        AgentDecisionHistoryProduct,
        DistillationTrainingDataProduct,
        DistilledModelMetricsProduct,
    )

__version__ = "0.1.0"

_HOMES = {
    "AdaptiveCaR": "curate",
    "AgentDecisionHistoryProduct": "products",
    "AgentDecisionLogger": "log",
    "CaR": "curate",
    "CombinedOptimizer": "optimize",
    "DSPyOptimizer": "optimize",
    "GEPAOptimizer": "optimize",
    "DataCuratorAgent": "agents",
    "DecisionLoggerMixin": "log",
    "DistillationTrainingDataProduct": "products",
    "DistilledModelMetricsProduct": "products",
    "EvaluationAgent": "agents",
    "ModelTrainerAgent": "agents",
    "PromptOptimizerAgent": "agents",
    "SemDeDup": "curate",
}

__all__ = [
    "AdaptiveCaR",
    "AgentDecisionHistoryProduct",
    "AgentDecisionLogger",
    "CaR",
    "CombinedOptimizer",
    "DSPyOptimizer",
    "DataCuratorAgent",
    "DecisionLoggerMixin",
    "DistillationTrainingDataProduct",
    "DistilledModelMetricsProduct",
    "EvaluationAgent",
    "GEPAOptimizer",
    "ModelTrainerAgent",
    "PromptOptimizerAgent",
    "SemDeDup",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
