"""What all optimizers have in common: arguments, parts of the examples, a budget, stages in turn, and the event.

Examples are divided by task: one part to learn from, one to choose by, one to report on. The initial prompt and the
best one of each stage meet the test part once; one that is not better there is refused, and the initial one stays.
What this file does not know: which stages there are, and how a prompt is scored.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

from ultracore.distillation.errors import ConfigurationError, MissingExtraError
from ultracore.distillation.events import EventStore, PromptsOptimizedEvent
from ultracore.distillation.events.base import new_event_id
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.optimize import demonstrations as demos
from ultracore.distillation.optimize import dspy_engine, gepa
from ultracore.distillation.optimize.evaluation import EvaluationFunction, Evaluator
from ultracore.distillation.optimize.examples import Parts, divide
from ultracore.distillation.optimize.guard import CopyGuard
from ultracore.distillation.optimize.journal import Journal
from ultracore.distillation.optimize.notes import NotesReflection
from ultracore.distillation.optimize.reflection import Ask, LanguageReflection, Reflection, ask_of
from ultracore.distillation.optimize.result import OptimizationResult, Outcome, Tried, result_of
from ultracore.distillation.optimize.run import BudgetSpent, Candidate, Run
from ultracore.distillation.settings import load_settings

__all__ = ["Optimizer", "Stage"]

TEST_SHARE = 1 / 5
"""Of a budget that was given, at most so much goes to the test part."""

SELECTION_SHARE = 1 / 8
"""Of the same, to score one prompt on the selection part: the larger, the less luck in the choice."""

TIMEOUT = 120.0

Stage: TypeAlias = tuple[str, Callable[[Candidate], None]]
"""An engine's name, and a search that begins with a candidate."""


class Optimizer(ABC):
    """Looks for a better prompt.

    Args:
        teacher_model: Name of the teacher, and of the reflection model where `reflection` is a URL.
        reflection: Writes new prompts: a callable text -> text (sync or async), or the base URL of an
            OpenAI-compatible server; by default notes are mined from the mistakes, without any model.
        budget: Most (prompt, example) pairs to evaluate, the test part included; never exceeded. By default it
            follows from the number of iterations and of examples.
        seed: Of the division and the search.
        timeout: Seconds for one call of the evaluation function.
        concurrency: Async evaluations at a time.
        demonstrations: Most examples shown in a prompt.
        minibatch: Examples that a reflection sees; by default a fifth of the training part, from 3 to 30.
        select: Chooses the examples of the first set of demonstrations, such as a selector of `curate`.
        engine: `auto`, `dspy` or `bootstrap`: whether dspy draws demonstrations and evolves, or our own few lines
            and the package gepa. `auto` takes dspy where it is installed.
        agent_id: Whose prompt it is, for the log.
        key_env: Environment variable with the key of the reflection's server.
        store: The log; by default that of the home folder, opened with the first event.
        tenant: Whose run it is; the settings' by default.
        clock: Tells the time of the events.
        say: Told what happens, a line at a time.

    Raises:
        ConfigurationError: A number is out of range.
        MissingExtraError: dspy was asked for and is not installed.
    """

    method: ClassVar[str]
    looks: ClassVar[int] = 2
    """How often the test part is looked at."""

    def __init__(
        self,
        teacher_model: str = "gpt-4",
        *,
        reflection: Ask | str | None = None,
        budget: int | None = None,
        seed: int = 0,
        timeout: float = TIMEOUT,
        concurrency: int = 8,
        demonstrations: int = demos.DEMONSTRATIONS,
        minibatch: int | None = None,
        select: demos.Select | None = None,
        engine: str = "auto",
        agent_id: str = "",
        key_env: str = "OPENAI_API_KEY",
        store: EventStore | None = None,
        tenant: str | None = None,
        clock: Callable[[], datetime] = utc_now,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        if budget is not None and budget < 6:
            raise ConfigurationError(f"a budget of {budget} evaluations is too small: give at least 6")
        if engine not in ("auto", "dspy", "bootstrap"):
            raise ConfigurationError(f"there is no engine {engine!r}: take 'auto', 'dspy' or 'bootstrap'")
        if engine == "dspy" and not dspy_engine.is_installed():
            raise MissingExtraError("engine='dspy'", "dspy")
        if timeout <= 0 or concurrency < 1 or demonstrations < 0 or (minibatch is not None and minibatch < 1):
            raise ConfigurationError("timeout, concurrency and minibatch must be positive, demonstrations not negative")
        self.teacher_model = teacher_model
        self.reflection = reflection
        self.budget = budget
        self.seed = seed
        self.timeout = timeout
        self.concurrency = concurrency
        self.demonstrations = demonstrations
        self.minibatch = minibatch
        self.select = select
        self.engine = engine
        self.agent_id = agent_id
        self.key_env = key_env
        self.tenant = tenant or load_settings().tenant
        self.clock = clock
        self.say = say
        if store is not None:
            self.store = store

    @cached_property
    def store(self) -> EventStore:
        """The log in the home folder, unless another was given."""
        from ultracore.distillation.events.opening import open_store  # only with the first event

        settings = load_settings()
        return open_store(settings.home_path, settings)

    @abstractmethod
    def _stages(self, run: Run, reflection: Reflection, rounds: int) -> list[Stage]:
        """What is done in turn, by name; each begins with the best candidate so far."""

    @abstractmethod
    def _cost(self, parts: Parts, rounds: int) -> int:
        """Evaluations that so many rounds may take."""

    async def _optimize(
        self,
        initial_prompt: str,
        training_examples: Sequence[Any],
        evaluation_function: EvaluationFunction,
        rounds: int,
        run_id: str | None,
    ) -> OptimizationResult:
        if not isinstance(initial_prompt, str):
            raise ConfigurationError(f"initial_prompt must be text, not {type(initial_prompt).__name__}")
        if not callable(evaluation_function):
            raise ConfigurationError("evaluation_function must be callable: (prompt, examples) -> number from 0 to 1")
        if rounds < 1:
            raise ConfigurationError(f"at least one iteration is needed, not {rounds}")
        parts = self._fitting(divide(training_examples, self.seed))
        loop = asyncio.get_running_loop()
        reflection = self._reflection(parts, loop)
        await asyncio.to_thread(reflection.check)
        cost = len(parts.selection) + self.looks * len(parts.test) + self._cost(parts, rounds)
        evaluator = Evaluator(evaluation_function, loop, self.timeout, self.concurrency)
        run = Run(
            parts,
            budget=self.budget if self.budget is not None else cost,
            reserved=self.looks * len(parts.test),
            evaluator=evaluator,
            journal=await asyncio.to_thread(
                Journal, self.store, run_id or new_event_id(), self.agent_id, self.tenant, self.clock
            ),
            guard=CopyGuard(training_examples, initial_prompt),
            seed=self.seed,
            say=self.say,
        )
        try:
            return await asyncio.to_thread(self._work, run, initial_prompt, reflection, rounds)
        finally:
            run.stopped = True  # a cancelled task leaves no search behind

    def _work(self, run: Run, prompt: str, reflection: Reflection, rounds: int) -> OptimizationResult:
        began = time.perf_counter()
        before = run.test(prompt)
        scores = [s.score for s in run.score(prompt, run.parts.selection)]
        start = run.accept(prompt, scores, None, self.method, "given")
        tried, engines = [Tried(start, before)], []
        for engine, search in self._stages(run, reflection, rounds):
            try:
                search(run.best())
            except BudgetSpent:
                run.notes.append(f"the budget was spent before {engine} was done")
            engines.append(engine)
            best = run.best()
            met = next((t for t in tried if t.candidate is best), None)
            tried.append(met or Tried(best, run.test(best.prompt)))
        outcome = Outcome(run, self.method, before, start, tried[1:], time.perf_counter() - began)
        result = result_of(outcome, ", then ".join(engines))
        self._record(run, result, rounds)
        return result

    def _record(self, run: Run, result: OptimizationResult, rounds: int) -> None:
        texts = {"optimized_prompt", "candidates"}
        event = PromptsOptimizedEvent.record(
            agent_ids=[self.agent_id] if self.agent_id else [],
            optimization_method=self.method,
            iteration=rounds,
            accuracy_before=result["initial_score"],
            accuracy_after=result["final_score"],
            improvement=result["improvement"],
            run_id=run.journal.run_id,
            prompt_id=result["prompt_id"],
            figures={key: value for key, value in result.items() if key not in texts},
            tenant_id=self.tenant,
            correlation_id=run.journal.run_id,
            clock=self.clock,
        )
        self.store.append([event])

    def _demonstrating(self, run: Run, rounds: int, *, to_go_on: bool = False) -> Stage:
        """The demonstrations stage; half of the budget is left to go on."""
        draw = dspy_engine.bootstrap_few_shot if self._by_dspy else demos.spread
        name = dspy_engine.engine_name("BootstrapFewShot") if self._by_dspy else demos.ENGINE
        plan = demos.Plan(self.demonstrations, draw, self.select)
        return name, lambda start: demos.bootstrap(run, start, rounds, plan, run.left // 2 if to_go_on else 0)

    def _evolving(self, run: Run, reflection: Reflection, spare: int = 0) -> Stage:
        """The evolution stage."""
        evolve = dspy_engine.evolve if self._by_dspy else gepa.evolve
        name = dspy_engine.engine_name("GEPA") if self._by_dspy else gepa.engine_name()
        return f"{name} with {reflection.name}", lambda start: evolve(
            run, start, reflection, self._seen(run.parts), spare
        )

    @property
    def _by_dspy(self) -> bool:
        """Whether dspy does the work: where it is installed, or asked for."""
        return self.engine == "dspy" or (self.engine == "auto" and dspy_engine.is_installed())

    def _evolving_cost(self, parts: Parts, rounds: int) -> int:
        return rounds * (2 * self._seen(parts) + len(parts.selection))

    def _reflection(self, parts: Parts, loop: asyncio.AbstractEventLoop) -> Reflection:
        if self.reflection is None:
            return NotesReflection(parts.train)
        ask, name, check = ask_of(self.reflection, self.teacher_model, self.key_env)
        return LanguageReflection(ask, loop, name, check)

    def _fitting(self, parts: Parts) -> Parts:
        """The parts, cut evenly where a given budget could not pay for them."""
        if self.budget is None:
            return parts
        return parts.cut(
            max(1, int(self.budget * SELECTION_SHARE)), max(1, int(self.budget * TEST_SHARE) // self.looks)
        )

    def _seen(self, parts: Parts) -> int:
        """Examples that a reflection sees."""
        return self.minibatch or min(30, max(3, len(parts.train) // 5))


def demonstrating_cost(parts: Parts, rounds: int) -> int:
    """Evaluations that so many sets of demonstrations may take."""
    return (rounds + 1) * 2 * len(parts.selection)
