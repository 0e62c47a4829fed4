"""The GEPA stage: `gepa.optimize` over our evaluations and reflections, within a hard budget.

Agrawal et al. 2025 (arXiv 2507.19457): prompts mutate by reflection on their mistakes, and the parents of the next
are drawn from the Pareto front over single examples. The package's own budget is soft, so the search ends before an
iteration that might not fit. What this file does not know: parts, and which candidate is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from gepa.api import optimize
from gepa.core.adapter import EvaluationBatch

from ultracore.distillation.optimize.evaluation import Scored
from ultracore.distillation.optimize.examples import shown
from ultracore.distillation.optimize.reflection import Observation, Reflection, ReflectionFailed
from ultracore.distillation.optimize.run import BudgetSpent, Candidate, Run
from ultracore.distillation.students.prompted.prompt import split_demonstrations

__all__ = ["COMPONENT", "Search", "engine_name", "evolve", "observed"]

COMPONENT = "prompt"
FAILED_REFLECTIONS = 5
"""In a row; then the search ends with what it has."""

FRUITLESS = 12
"""Iterations in a row without an accepted candidate; then the search ends."""

logger = logging.getLogger(__name__)


def engine_name() -> str:
    """For the result."""
    return f"gepa {version('gepa')}"


def evolve(run: Run, start: Candidate, reflection: Reflection, minibatch: int, spare: int = 0) -> None:
    """Evolve a prompt; what is accepted is in `run.candidates`.

    Args:
        run: Budget, examples and journal.
        start: The prompt to begin with, scored on the selection part.
        reflection: Writes new prompts.
        minibatch: Examples that a reflection sees.
        spare: Evaluations to leave for what comes after.
    """
    search = Search(run, start, reflection, needed=2 * minibatch + len(run.parts.selection) + spare)
    try:
        optimize(
            seed_candidate={COMPONENT: start.prompt},
            trainset=run.parts.train,
            valset=run.parts.selection,
            adapter=_Adapter(search),  # type: ignore[arg-type]  # a protocol of many optional parts
            reflection_minibatch_size=minibatch,
            stop_callbacks=search.is_over,
            callbacks=[search],  # type: ignore[list-item]
            logger=_Quiet(),
            seed=run.seed,
            track_best_outputs=False,
            raise_on_exception=True,
        )
    except BudgetSpent:
        run.say("the budget is spent")
    run.notes += search.notes()


class Search:
    """When a search ends, what it proposes, and what it accepted.

    Args:
        run: Budget, examples and journal.
        start: The prompt that it begins with.
        reflection: Writes new prompts.
        needed: Evaluations that an iteration may take, and those to leave.
    """

    def __init__(self, run: Run, start: Candidate, reflection: Reflection, needed: int) -> None:
        self.run = run
        self.start = start
        self._reflection = reflection
        self._needed = needed
        self._of_index = [start]
        self._failed: list[str] = []
        self._failed_in_a_row = 0
        self._removed = 0
        self._fruitless = 0

    def is_over(self, gepa_state: Any = None) -> bool:
        """Whether another iteration would only cost, or might cost too much."""
        return (
            self.run.left < self._needed
            or self.run.is_flat
            or self._failed_in_a_row >= FAILED_REFLECTIONS
            or self._fruitless >= FRUITLESS
        )

    def notes(self) -> list[str]:
        """What a person should know of the search."""
        said = []
        if self._failed:
            said.append(f"{len(self._failed)} reflections proposed nothing, the last one: {self._failed[-1]}")
        if self._removed:
            said.append(f"{self._removed} proposed lines repeated training examples and were taken out")
        return said

    def propose(self, prompt: str, seen: Sequence[Observation]) -> str:
        """A new text before the demonstrations, which stay, without the lines that copy examples.

        Raises:
            ReflectionFailed: There is none.
        """
        try:
            head, demonstrations = split_demonstrations(prompt)
            cleaned = self.run.guard.clean(self._reflection.propose(head.rstrip(), seen, self.run.journal))
            text = f"{cleaned.text.rstrip()}\n\n{demonstrations}" if demonstrations else cleaned.text.strip()
            if not cleaned.text.strip() or text == prompt:
                raise ReflectionFailed("the proposal is empty or says nothing new")
        except ReflectionFailed as failed:
            self._failed.append(str(failed))
            self._failed_in_a_row += 1
            raise
        self._failed_in_a_row = 0
        self._removed += cleaned.removed
        return text

    # what gepa tells

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """A candidate was accepted on its minibatch and scored on the selection part."""
        if not event["parent_ids"]:
            return
        parent = self._of_index[event["parent_ids"][0]]
        scores = [event["scores_by_val_id"][i] for i in sorted(event["scores_by_val_id"])]
        reason = f"{self._reflection.name} on the mistakes of {parent.prompt_id[:8]}"
        self._of_index.append(self.run.accept(event["candidate"][COMPONENT], scores, parent, "gepa", reason))

    def on_iteration_end(self, event: Mapping[str, Any]) -> None:
        """Count the iterations that found nothing."""
        self._fruitless = 0 if event["proposal_accepted"] else self._fruitless + 1


class _Adapter:
    """What gepa asks: scores, and new texts."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._run = search.run

    def evaluate(self, batch: list[Any], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Scores of a candidate on a batch."""
        prompt = candidate[COMPONENT]
        if prompt == self._search.start.prompt and batch == self._run.parts.selection:
            scored = self._run.journal.scores(prompt, batch, list)  # known since before the search
        else:
            scored = self._run.score(prompt, batch)
        traces = list(zip(batch, scored, strict=True)) if capture_traces else None
        return EvaluationBatch([s.feedback for s in scored], [s.score for s in scored], traces)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What a reflection sees."""
        seen = [observed(example, scored) for example, scored in eval_batch.trajectories]
        return {COMPONENT: [observation._asdict() for observation in seen]}

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """A new text."""
        seen = [Observation(**record) for record in reflective_dataset[COMPONENT]]
        return {COMPONENT: self._search.propose(candidate[COMPONENT], seen)}


class _Quiet:
    def log(self, message: str) -> None:
        """Only for those who debug."""
        logger.debug("%s", message)


def observed(example: Any, scored: Scored) -> Observation:
    """An example as a reflection sees it."""
    said = shown(example)
    return Observation(said.input, said.answer, scored.score, scored.feedback)
