"""The prompt optimizer: the agent's prompt, made better on the teacher's decisions, or left as it is with the reason.

Scores come from the user's evaluation function; where none is given, from the offline reader, which only compares
words (`evaluator` says `reader`): no figure for a language model. Rows that a curator held back for a certificate
are not looked at. What this file does not know: how prompts are searched (`optimize`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from ultracore.distillation.agents.base import Agent
from ultracore.distillation.agents.curator import CALIBRATION
from ultracore.distillation.agents.demonstrating import representatives
from ultracore.distillation.agents.rows import is_decision, of_teacher
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.optimize import CombinedOptimizer, DSPyOptimizer, GEPAOptimizer
from ultracore.distillation.optimize.evaluation import EvaluationFunction
from ultracore.distillation.optimize.judging import Judge
from ultracore.distillation.students.prompted.reader import Reader

__all__ = ["OptimizationRequest", "PromptOptimizerAgent"]

AnyOptimizer: TypeAlias = DSPyOptimizer | GEPAOptimizer | CombinedOptimizer

METHODS: dict[str, type[AnyOptimizer]] = {"dspy": DSPyOptimizer, "gepa": GEPAOptimizer, "combined": CombinedOptimizer}
PROMPTS = ("prompts", "current_prompts", "prompt", "current_prompt", "initial_prompt")
DATA = ("training_data", "training_examples", "curated_data")


class OptimizationRequest(NamedTuple):
    """What came in: prompts by agent, the teacher's rows, and who scores; `reason` says why nothing can be done."""

    prompts: dict[str, str]
    rows: list[Any]
    evaluation: EvaluationFunction | None
    evaluator: str
    reason: str = ""


class PromptOptimizerAgent(Agent[OptimizationRequest, OptimizationRequest]):
    """Optimizes prompts: `await execute({"prompt": text, "training_data": rows, "evaluation_function": f})`.

    `prompt` may also be `prompts`, a dict of agent and text, or a list of texts; `training_data` a list or the
    curator's whole result. The result is `"optimized"` where one got better on the test part, else `"unchanged"`,
    with `prompts` (as they came in), `optimized_prompt` (of the first), `results` (by agent, see
    `OptimizationResult`) and `reason`.

    Args:
        agent_id: Its name.
        method: `combined`, `gepa` or `dspy`.
        options: Arguments of the optimizer, such as `reflection` and `budget`.
        **base: See `Agent`.

    Raises:
        ConfigurationError: There is no such method.
    """

    name = "prompt_optimizer"
    capabilities = ("demonstrate", "reflect", "version")

    def __init__(
        self,
        agent_id: str | None = None,
        *,
        method: str = "combined",
        options: Mapping[str, Any] | None = None,
        **base: Any,
    ) -> None:
        super().__init__(agent_id, **base)
        if method not in METHODS:
            raise ConfigurationError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
        self.method = method
        self.options = dict(options or {})

    async def perceive(self, context: Mapping[str, Any]) -> OptimizationRequest:
        """Read prompts and rows."""
        prompts = _prompts(next((context[key] for key in PROMPTS if context.get(key)), None))
        rows = _rows(next((context[key] for key in DATA if context.get(key)), ()))
        given = context.get("evaluation_function")
        if given is not None or not all(map(is_decision, rows)):
            return OptimizationRequest(prompts, rows, given, "given", _missing(prompts, rows, given))
        return OptimizationRequest(prompts, rows, Judge(Reader, rows), "reader", _missing(prompts, rows, Reader))

    async def decide(self, observation: OptimizationRequest) -> OptimizationRequest:
        """Everything was decided by what came in."""
        return observation

    async def act(self, plan: OptimizationRequest) -> dict[str, Any]:
        """Optimize one prompt after the other."""
        results: dict[str, Any] = {}
        if not plan.reason and plan.evaluation is not None:
            for agent, prompt in plan.prompts.items():
                optimizer = METHODS[self.method](**self._options(agent))
                results[agent] = await optimizer.optimize(prompt, plan.rows, plan.evaluation)
        prompts = {
            agent: results[agent]["optimized_prompt"] if results else text for agent, text in plan.prompts.items()
        }
        better = [agent for agent in results if results[agent]["status"] == "optimized"]
        first = next(iter(prompts), None)
        out = {
            "status": "optimized" if better else "unchanged",
            "reason": plan.reason or results[better[0] if better else str(first)]["reason"],
            "evaluator": plan.evaluator,
            "prompts": prompts,
            "optimized_prompt": None if first is None else prompts[first],
            "results": results,
        }
        figures = results.get(str(first), {})
        return {**{key: figures[key] for key in figures if key not in out}, **out}

    def _options(self, agent: str) -> dict[str, Any]:
        base = {"agent_id": agent, "store": self.store, "seed": self.settings.seed, "tenant": self.settings.tenant}
        return {**base, "clock": self.clock, "select": representatives, **self.options}


def _prompts(given: Any) -> dict[str, str]:
    if isinstance(given, str):
        return {"": given}
    if isinstance(given, Mapping):
        given = {str(agent): text for agent, text in given.items()}
    elif isinstance(given, Sequence):
        given = {str(i): text for i, text in enumerate(given)}
    elif given is not None:
        raise ConfigurationError("prompts must be a text, a list of texts or a dict of agent and text")
    if not all(isinstance(text, str) for text in (given or {}).values()):
        raise ConfigurationError("each prompt must be text")
    return given or {}


def _rows(given: Any) -> list[Any]:
    if isinstance(given, Mapping):
        given = given.get("curated_data") or ()
    rows = of_teacher(given, "training_data must be a list of examples or the curator's result")
    return [row for row in rows if not (isinstance(row, Mapping) and row.get("split") == CALIBRATION)]


def _missing(prompts: dict[str, str], rows: list[Any], evaluation: Any) -> str:
    if not prompts:
        return "there is no prompt to optimize: give 'prompt'"
    if not rows:
        return "there is no training_data to optimize on; the prompt stays as it is"
    return "" if evaluation else "give an 'evaluation_function': these examples are no decisions that could be compared"
