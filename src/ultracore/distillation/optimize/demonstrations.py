"""The demonstrations stage: which of the teacher's own decisions to show in the prompt.

Khattab et al. 2023 (arXiv 2310.03714) call it bootstrapping: a trace of the teacher that is verified becomes a
demonstration, and sets of them are compared. The package dspy makes the sets where it is installed
(`dspy_engine`), else they are drawn here. What this file does not know: reflection, and the test part.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from ultracore.distillation.optimize.examples import Shown, shown
from ultracore.distillation.optimize.figures import mean
from ultracore.distillation.optimize.run import Candidate, Run
from ultracore.distillation.students.prompted.prompt import Demonstration, Prompt, render_prompt, split_demonstrations

__all__ = ["ENGINE", "Draw", "bootstrap", "spread", "verified", "with_demonstrations"]

ENGINE = "bootstrap"
DEMONSTRATIONS = 16

Draw: TypeAlias = Callable[[Sequence[Shown], int, random.Random], Sequence[Demonstration]]
"""(verified examples, how many, chance) -> a set of demonstrations."""


def bootstrap(run: Run, start: Candidate, iterations: int, demonstrations: int, draw: Draw) -> None:
    """Score sets of demonstrations; what beats the prompt without them is in `run.candidates`.

    Args:
        run: Budget, examples and journal.
        start: The prompt that they are added to, scored on the selection part.
        iterations: How many sets.
        demonstrations: Most examples in a set.
        draw: Makes the sets.
    """
    usable = verified(run.parts.train)
    if not usable:
        run.notes.append("no training example says what the teacher answered: there is nothing to demonstrate")
        return
    chance, best = random.Random(run.seed), start.score  # noqa: S311  nothing secret
    for number in range(iterations):
        if run.left < len(run.parts.selection):
            return
        chosen = draw(usable, demonstrations, chance)
        prompt = with_demonstrations(start.prompt, chosen)
        scores = [s.score for s in run.score(prompt, run.parts.selection)]
        if mean(scores) > best:
            best = run.accept(prompt, scores, start, "dspy", f"set {number + 1} of {len(chosen)} demonstrations").score


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
