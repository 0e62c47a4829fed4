"""The demonstrations stage: which of the teacher's own decisions to show in the prompt.

Khattab et al. 2023 (arXiv 2310.03714) call it bootstrapping: a trace of the teacher that is verified becomes a
demonstration, and sets of them are compared. The package dspy makes the sets where it is installed
(`dspy_engine`), else they are drawn here. What this file does not know: reflection, and the test part.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from ultracore.distillation.optimize.examples import Shown, shown
from ultracore.distillation.optimize.figures import mean
from ultracore.distillation.optimize.run import Candidate, Run
from ultracore.distillation.students.prompted.prompt import Demonstration, Prompt, render_prompt, split_demonstrations

__all__ = ["ENGINE", "Draw", "Plan", "Select", "bootstrap", "spread", "verified", "with_demonstrations", "without"]

ENGINE = "bootstrap"
DEMONSTRATIONS = 16
TRIAL_SHARE, LEAST_TRIED = 4, 20
"""A set that is not better on every fourth selection example, of at least so many, is not scored on the others."""

Draw: TypeAlias = Callable[[Sequence[Shown], int, random.Random], Sequence[Demonstration]]
"""(verified examples, how many, chance) -> a set of demonstrations."""

Select: TypeAlias = Callable[[Sequence[Any], int], Sequence[Any]]
"""(examples, how many) -> those that stand for all, as the selectors of `curate` choose them."""


class Plan(NamedTuple):
    """How sets are made.

    Attributes:
        most: Most examples in a set.
        draw: Makes sets.
        select: Makes the first one, where it is given.
    """

    most: int
    draw: Draw
    select: Select | None = None


def bootstrap(run: Run, start: Candidate, iterations: int, plan: Plan, spare: int = 0) -> None:
    """Score sets of demonstrations; what beats the prompt without them is in `run.candidates`.

    Args:
        run: Budget, examples and journal.
        start: The prompt that they are added to, scored on the selection part.
        iterations: How many sets.
        plan: How sets are made.
        spare: Evaluations to leave for what comes after.
    """
    usable = verified(run.parts.train)
    if not usable:
        run.notes.append("no training example says what the teacher answered: there is nothing to demonstrate")
        return
    best = start
    for how, chosen in itertools.islice(_sets(run, usable, plan), iterations):
        if run.left - spare < 2 * len(run.parts.selection):
            return
        prompt = with_demonstrations(start.prompt, chosen)
        scores = _better(run, prompt, best)
        if scores:
            best = run.accept(prompt, scores, start, "dspy", f"{len(chosen)} demonstrations, {how}")


def without(run: Run) -> None:
    """Score the best candidate without its demonstrations: evolved text may do as well alone, and is much shorter."""
    best = run.best()
    head = split_demonstrations(best.prompt)[0].strip()
    if head not in {c.prompt for c in run.candidates} and run.left >= len(run.parts.selection):
        scores = [s.score for s in run.score(head, run.parts.selection)]
        run.accept(head, scores, best, "combined", "the demonstrations taken out")


def _sets(run: Run, usable: Sequence[Shown], plan: Plan) -> Iterator[tuple[str, Sequence[Demonstration]]]:
    """How each set came about, and the set; the selected one first."""
    chance = random.Random(run.seed)  # noqa: S311  nothing secret
    if plan.select is not None:
        selected = verified(plan.select(run.parts.train, plan.most))
        if selected:
            yield "selected", [Demonstration(said.input, said.answer) for said in selected]
    for number in itertools.count(1):
        yield f"draw {number}", plan.draw(usable, plan.most, chance)


def _better(run: Run, prompt: str, best: Candidate) -> list[float]:
    """The prompt's scores on the selection part, where it is better there; else nothing."""
    selection = run.parts.selection
    step = max(1, min(TRIAL_SHARE, len(selection) // LEAST_TRIED))
    if step > 1 and mean([s.score for s in run.score(prompt, selection[::step])]) <= mean(best.scores[::step]):
        return []
    scores = [s.score for s in run.score(prompt, selection)]
    return scores if mean(scores) > best.score else []


def verified(examples: Sequence[Any]) -> list[Shown]:
    """Those that say what the teacher answered, and nothing against it."""
    return [said for said in map(shown, examples) if said.input and said.answer and said.verified]


def with_demonstrations(prompt: str, chosen: Sequence[Demonstration]) -> str:
    """The prompt with these demonstrations instead of its own."""
    head, _ = split_demonstrations(prompt)
    return f"{head.rstrip()}\n\n{render_prompt(Prompt('', {}, list(chosen)))}".lstrip("\n")


def spread(usable: Sequence[Shown], most: int, chance: random.Random) -> list[Demonstration]:
    """Examples drawn at random, round after round one for each answer."""
    shuffled = chance.sample(usable, len(usable))
    return [Demonstration(said.input, said.answer) for said in _rounds(shuffled, most)]


def _rounds(shuffled: Sequence[Shown], most: int) -> Iterator[Shown]:
    of_answer: dict[str, list[Shown]] = {}
    for said in shuffled:
        of_answer.setdefault(said.answer, []).append(said)
    given = 0
    while given < most and any(of_answer.values()):
        for waiting in of_answer.values():
            if waiting and given < most:
                given += 1
                yield waiting.pop()
