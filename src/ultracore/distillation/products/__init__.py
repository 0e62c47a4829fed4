"""Data products: decision history, training data and model metrics, each with contract, quality and lineage."""

from __future__ import annotations

from ultracore.distillation.products.history import AgentDecisionHistoryProduct
from ultracore.distillation.products.metrics import DistilledModelMetricsProduct
from ultracore.distillation.products.training import DistillationTrainingDataProduct

__all__ = ["AgentDecisionHistoryProduct", "DistillationTrainingDataProduct", "DistilledModelMetricsProduct"]
