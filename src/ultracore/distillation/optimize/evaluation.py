"""Scores a prompt on examples by the user's function, whatever that function does.

It may be sync or async, give one number or a score and a sentence for each example. One that raises, gives no
number in 0..1, or does not answer in time costs its example: score 0, the problem as feedback, counted by kind.
One that fails on each of the first examples is an `EvaluationError`. What this file does not know: where prompts
come from, and the budget.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias

from ultracore.distillation.errors import DistillationError

__all__ = ["EvaluationError", "EvaluationFunction", "Evaluator", "Scored", "Scores"]

EvaluationFunction: TypeAlias = Callable[[str, list[Any]], Any | Awaitable[Any]]
"""(prompt, examples) -> a number in 0..1; or `{"scores": [...], "feedback": [...]}`, one for each example."""


FIRST_FAILURES = 3


class EvaluationError(DistillationError):
    """The evaluation function failed on each of the first examples: mend it, then run again."""


class Scored(NamedTuple):
    """One example: its score (0..1), what to say about it, and the kind of failure, "" where there was none."""

    score: float
    feedback: str = ""
    failure: str = ""


class Scores(NamedTuple):
    """A score and a sentence for each example; the rich form that an evaluation function may return."""

    scores: Sequence[float]
    feedback: Sequence[str] = ()


class Evaluator:
    """Calls the user's function from a worker thread; a coroutine runs in the loop that `optimize` was awaited in.

    Args:
        function: The user's.
        loop: Where coroutines run.
        timeout: Seconds for one call.
        concurrency: Coroutines at a time.
    """

    def __init__(
        self,
        function: EvaluationFunction,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
        concurrency: int,
    ) -> None:
        self._function = function
        self._loop = loop
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)
        self._rich: bool | None = None
        self._failed_first = 0

    def evaluate(self, prompt: str, examples: Sequence[Any]) -> list[Scored]:
        """A score for each example.

        Raises:
            EvaluationError: The function has only failed so far.
        """
        scored: list[Scored] = []
        while self._rich is None and len(scored) < len(examples):  # only what it returns tells which form it has
            scored += self._first(prompt, examples[len(scored)])
        return scored + self._ask(prompt, list(examples[len(scored) :]))

    def _first(self, prompt: str, example: Any) -> list[Scored]:
        answer = self._call_all(prompt, [[example]])[0]
        scored = _read(answer, 1)
        if not scored[0].failure:
            self._rich = _is_rich(answer)
            return scored
        self._failed_first += 1
        if self._failed_first >= FIRST_FAILURES:
            raise EvaluationError(
                f"the evaluation function failed on each of the first {self._failed_first} examples: "
                f"{scored[0].feedback}. It is called with (prompt, list of examples) and must give a number from 0 to 1"
            )
        return scored

    def _ask(self, prompt: str, examples: list[Any]) -> list[Scored]:
        if not examples:
            return []
        if self._rich:
            return _read(self._call_all(prompt, [examples])[0], len(examples))
        return [_read(answer, 1)[0] for answer in self._call_all(prompt, [[example] for example in examples])]

    def _call_all(self, prompt: str, batches: list[list[Any]]) -> list[Any]:
        """The answer to each batch, or the `Scored` that stands for a failure."""
        if _is_async(self._function):
            return self._in_loop([self._awaited(self._function, prompt, batch) for batch in batches])
        answers = [self._in_thread(prompt, batch) for batch in batches]
        waiting = [i for i, answer in enumerate(answers) if inspect.isawaitable(answer)]
        for i, answer in zip(waiting, self._in_loop([self._within(answers[i]) for i in waiting]), strict=True):
            answers[i] = answer
        return answers

    def _in_loop(self, coroutines: list[Any]) -> list[Any]:
        async def gathered() -> list[Any]:
            return list(await asyncio.gather(*coroutines))

        return asyncio.run_coroutine_threadsafe(gathered(), self._loop).result() if coroutines else []

    async def _awaited(self, function: Callable[..., Any], prompt: str, batch: list[Any]) -> Any:
        async with self._slots:
            return await self._within(function(prompt, batch))

    async def _within(self, awaitable: Awaitable[Any]) -> Any:
        try:
            return await asyncio.wait_for(awaitable, self._timeout)
        except TimeoutError:
            return self._too_slow()
        except Exception as error:  # noqa: BLE001  the user's code: whatever it raises costs this example only
            return _raised(error)

    def _in_thread(self, prompt: str, batch: list[Any]) -> Any:
        """A thread of its own, left behind where it does not answer: nothing can stop it."""
        answer: Future[Any] = Future()

        def work() -> None:
            try:
                answer.set_result(self._function(prompt, batch))
            except Exception as error:  # noqa: BLE001  as above
                answer.set_result(_raised(error))

        threading.Thread(target=work, daemon=True).start()
        try:
            return answer.result(self._timeout)
        except TimeoutError:
            return self._too_slow()

    def _too_slow(self) -> Scored:
        return Scored(0.0, f"no answer within {self._timeout:g} s", "timed_out")


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _is_rich(answer: Any) -> bool:
    is_scored = isinstance(answer, Scored)
    return not is_scored and (isinstance(answer, Mapping | list | tuple) or hasattr(answer, "scores"))


def _raised(error: Exception) -> Scored:
    return Scored(0.0, f"{type(error).__name__}: {error}"[:500], "raised")


def _read(answer: Any, n: int) -> list[Scored]:
    if isinstance(answer, Scored):
        return [answer] * n
    if not _is_rich(answer):
        return [_checked(answer, "")] * n
    scores, feedback = _columns(answer)
    if len(scores) != n or len(feedback) not in (0, n):
        problem = f"{len(scores)} scores and {len(feedback)} sentences for {n} examples"
        return [Scored(0.0, problem, "not_a_score")] * n
    return [_checked(score, str(said)) for score, said in zip(scores, feedback or [""] * n, strict=True)]


def _columns(answer: Any) -> tuple[list[Any], list[Any]]:
    if isinstance(answer, Mapping):
        return list(answer.get("scores") or ()), list(answer.get("feedback") or ())
    if hasattr(answer, "scores"):
        return list(answer.scores), list(getattr(answer, "feedback", None) or ())
    return list(answer), []


def _checked(score: Any, feedback: str) -> Scored:
    try:
        value = float(score)
    except (TypeError, ValueError):
        return Scored(0.0, f"{type(score).__name__} is not a number from 0 to 1", "not_a_score")
    if not math.isfinite(value) or not 0.0 <= value <= 1.0:
        return Scored(0.0, f"{value:g} is not a number from 0 to 1", "not_a_score")
    return Scored(value, feedback)
