"""One optimization under way: its parts, its hard budget, what it was told, and the candidates it accepted.

What this file does not know: how candidates are found, and which of them wins on the test part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ultracore.distillation.optimize.evaluation import Evaluator, Scored
from ultracore.distillation.optimize.examples import Parts
from ultracore.distillation.optimize.figures import mean
from ultracore.distillation.optimize.guard import CopyGuard
from ultracore.distillation.optimize.journal import Journal

__all__ = ["BudgetSpent", "Candidate", "Run"]

LENGTH_PENALTY = 0.001
"""Score that 1,000 added characters must earn: about 250 tokens more to read with each request."""

FLAT_AFTER = 12
"""So many prompts that score alike on everything show that the evaluation does not tell prompts apart."""


class BudgetSpent(Exception):  # noqa: N818  a signal between our own layers, never shown to a user
    """The next evaluations would exceed the budget, or the run was called off."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that was accepted, with its scores on the selection part (0..1).

    Attributes:
        prompt: The text.
        prompt_id: Its version in the log.
        parent_id: The version that it came from.
        scores: Of each example of the selection part.
        reason: How it came about, for a person.
        used: Evaluations spent when it was found.
    """

    prompt: str
    prompt_id: str
    parent_id: str | None
    scores: tuple[float, ...]
    reason: str
    used: int

    @property
    def score(self) -> float:
        """Mean on the selection part."""
        return mean(self.scores)


class Run:
    """What a search works with.

    Args:
        parts: The examples.
        budget: Most (prompt, example) pairs to score, those of the test part included.
        reserved: How many of them are kept back for the test part.
        evaluator: Scores prompts.
        journal: What was told already.
        guard: Takes copied lines out.
        seed: Of everything random.
        say: Told what happens.

    Attributes:
        used: Pairs scored so far.
        failures: How many of them failed, by kind.
        candidates: What was accepted, in order; the first is the initial prompt.
        notes: What a person should know.
        stopped: Set from outside to end the run.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        budget: int,
        reserved: int,
        evaluator: Evaluator,
        journal: Journal,
        guard: CopyGuard,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self.parts = parts
        self.budget = budget
        self.reserved = reserved
        self.journal = journal
        self.guard = guard
        self.seed = seed
        self.say = say
        self.used = 0
        self.failures: Counter[str] = Counter()
        self.candidates: list[Candidate] = []
        self.notes: list[str] = []
        self.stopped = False
        self._evaluator = evaluator
        self._seen: dict[str, set[float]] = {}

    @property
    def left(self) -> int:
        """Pairs that a search may still score."""
        return 0 if self.stopped else self.budget - self.reserved - self.used

    @property
    def is_flat(self) -> bool:
        """Whether everything scored alike so far, over enough prompts to say so."""
        return len(self._seen) >= FLAT_AFTER and len(set().union(*self._seen.values())) == 1

    def score(self, prompt: str, examples: Sequence[Any]) -> list[Scored]:
        """Score a prompt; what the journal knows costs nothing, but counts, so that a run that goes on decides alike.

        Raises:
            BudgetSpent: More would be needed than is left; nothing was scored.
        """
        if len(examples) > self.left:
            raise BudgetSpent
        scored = self.journal.scores(prompt, examples, lambda: self._evaluator.evaluate(prompt, examples))
        self.used += len(examples)
        self.failures.update(s.failure for s in scored if s.failure)
        self._seen.setdefault(prompt, set()).update(s.score for s in scored)
        return scored

    def test(self, prompt: str) -> list[float]:
        """Scores on the test part, for which budget was kept back."""
        self.reserved -= len(self.parts.test)
        return [s.score for s in self.score(prompt, self.parts.test)]

    def accept(
        self, prompt: str, scores: Sequence[float], parent: Candidate | None, method: str, reason: str
    ) -> Candidate:
        """Write down a candidate that was scored on the selection part."""
        known = next((c for c in self.candidates if c.prompt == prompt), None)
        if known is not None:
            return known
        score, parent_id = mean(scores), parent.prompt_id if parent else None
        prompt_id = self.journal.version(prompt, parent_id, method, score, len(scores), reason)
        candidate = Candidate(
            prompt=prompt, prompt_id=prompt_id, parent_id=parent_id, scores=tuple(scores), reason=reason, used=self.used
        )
        self.candidates.append(candidate)
        self.say(f"{self.used}/{self.budget} evaluations: version {prompt_id[:8]} scores {score:.1%} ({reason})")
        return candidate

    def best(self, since: int = 0) -> Candidate:
        """The candidate with the best score on the selection part, less what its length costs."""
        base = len(self.candidates[0].prompt)
        return max(
            self.candidates[since:], key=lambda c: c.score - LENGTH_PENALTY * max(0, len(c.prompt) - base) / 1000
        )
