"""The three optimizers: demonstrations (`dspy`), reflective evolution (`gepa`), and one after the other (`combined`).

What this file does not know: how examples are divided, paid for and reported (`optimizer`), and how candidates are
found (`demonstrations`, `gepa`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ultracore.distillation.optimize.demonstrations import without
from ultracore.distillation.optimize.evaluation import EvaluationFunction
from ultracore.distillation.optimize.examples import Parts
from ultracore.distillation.optimize.optimizer import Optimizer, Stage, demonstrating_cost
from ultracore.distillation.optimize.reflection import Reflection
from ultracore.distillation.optimize.result import OptimizationResult
from ultracore.distillation.optimize.run import Candidate, Run

__all__ = ["CombinedOptimizer", "DSPyOptimizer", "GEPAOptimizer"]


class DSPyOptimizer(Optimizer):
    """Chooses demonstrations: decisions of the teacher, shown in the prompt.

    Example:
        >>> import asyncio, os, tempfile
        >>> os.environ["DISTILL_HOME"] = tempfile.mkdtemp()
        >>> examples = [{"input": f"ticket {n}", "output": "refund"} for n in range(12)]
        >>> async def evaluate(prompt, examples):
        ...     return 1.0 if "refund" in prompt else 0.25
        >>> result = asyncio.run(DSPyOptimizer().optimize(
        ...     initial_prompt="Choose a tool.", training_examples=examples, evaluation_function=evaluate))
        >>> result["method"], result["initial_score"], result["final_score"]
        ('dspy', 0.25, 1.0)
    """

    method = "dspy"

    async def optimize(
        self,
        initial_prompt: str,
        training_examples: Sequence[Any],
        evaluation_function: EvaluationFunction,
        iterations: int = 5,
        run_id: str | None = None,
    ) -> OptimizationResult:
        """Score so many sets of demonstrations and keep the best; see `OptimizationResult` for the keys.

        Args:
            initial_prompt: The prompt today.
            training_examples: Rows of `get_history()`, decisions, or dicts with input and output.
            evaluation_function: (prompt, examples) -> number from 0 to 1, sync or async; or scores and feedback
                for each example.
            iterations: How many sets.
            run_id: Name of the run; one that the log has already goes on where it stopped.

        Raises:
            DataError: There are no examples.
            EvaluationError: The function fails on each of the first examples.
            ConfigurationError: An argument cannot be used.
        """
        return await self._optimize(initial_prompt, training_examples, evaluation_function, iterations, run_id)

    def _cost(self, parts: Parts, rounds: int) -> int:
        return demonstrating_cost(parts, rounds)

    def _stages(self, run: Run, reflection: Reflection, rounds: int) -> list[Stage]:
        return [self._demonstrating(run, rounds)]


class GEPAOptimizer(Optimizer):
    """Evolves the text of the prompt by reflection on its mistakes (Genetic-Pareto)."""

    method = "gepa"

    async def optimize(
        self,
        initial_prompt: str,
        training_examples: Sequence[Any],
        evaluation_function: EvaluationFunction,
        generations: int = 10,
        run_id: str | None = None,
    ) -> OptimizationResult:
        """Evolve for so many generations; arguments, result and errors as of `DSPyOptimizer.optimize`.

        Raises:
            ChatError: The reflection's server cannot be reached; nothing was spent.
        """
        return await self._optimize(initial_prompt, training_examples, evaluation_function, generations, run_id)

    def _cost(self, parts: Parts, rounds: int) -> int:
        return self._evolving_cost(parts, rounds)

    def _stages(self, run: Run, reflection: Reflection, rounds: int) -> list[Stage]:
        return [self._evolving(run, reflection)]


class CombinedOptimizer(Optimizer):
    """Demonstrations first, then evolution of what came out, and at last that without the demonstrations."""

    method = "combined"
    looks = 3  # the prompt between the stages, too

    async def optimize(
        self,
        initial_prompt: str,
        training_examples: Sequence[Any],
        evaluation_function: EvaluationFunction,
        iterations: int = 5,
        generations: int = 10,
        run_id: str | None = None,
    ) -> OptimizationResult:
        """Both stages; arguments, result and errors as of the two optimizers."""
        self._iterations = iterations
        return await self._optimize(initial_prompt, training_examples, evaluation_function, generations, run_id)

    def _cost(self, parts: Parts, rounds: int) -> int:
        return demonstrating_cost(parts, self._iterations) + self._evolving_cost(parts, rounds) + len(parts.selection)

    def _stages(self, run: Run, reflection: Reflection, rounds: int) -> list[Stage]:
        engine, evolve = self._evolving(run, reflection, spare=len(run.parts.selection))

        def shortened(start: Candidate) -> None:
            evolve(start)
            without(run)

        return [self._demonstrating(run, self._iterations, to_go_on=True), (engine, shortened)]
