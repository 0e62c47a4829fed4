"""Stage 3: better prompts, measured on examples that no search has seen."""

from ultracore.distillation.optimize.optimizers import CombinedOptimizer, DSPyOptimizer, GEPAOptimizer

__all__ = ["CombinedOptimizer", "DSPyOptimizer", "GEPAOptimizer"]
