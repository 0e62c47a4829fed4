"""The package dspy, where it is installed: `BootstrapFewShot` makes sets of demonstrations, `GEPA` evolves the text.

Its programs ask a "model" that recalls what the teacher decided, so that their traces are the teacher's own decisions;
no server is asked, and what a prompt is worth still says the run. The package is an extra with an environment of its
own: it brings litellm and an older openai. What this file does not know: how sets are compared, and when a search ends.
"""

from __future__ import annotations

import importlib.util
import inspect
import random
from collections.abc import Mapping, Sequence
from typing import Any

from ultracore.distillation.optimize.evaluation import Scored
from ultracore.distillation.optimize.examples import Shown, shown
from ultracore.distillation.optimize.gepa import COMPONENT, Search, observed
from ultracore.distillation.optimize.reflection import Observation, Reflection
from ultracore.distillation.optimize.run import Candidate, Run
from ultracore.distillation.students.prompted.prompt import Demonstration

__all__ = ["bootstrap_few_shot", "engine_name", "evolve", "is_installed"]


def is_installed() -> bool:
    """Whether dspy can be imported."""
    return importlib.util.find_spec("dspy") is not None


def engine_name(optimizer: str) -> str:
    """For the result."""
    import dspy

    return f"dspy {dspy.__version__} {optimizer}"


def bootstrap_few_shot(usable: Sequence[Shown], most: int, chance: random.Random) -> list[Demonstration]:
    """One set of at most so many demonstrations."""
    import dspy

    shuffled = chance.sample(usable, len(usable))
    examples = [dspy.Example(input=said.input, answer=said.answer).with_inputs("input") for said in shuffled]
    optimizer = dspy.BootstrapFewShot(
        metric=lambda example, prediction, trace=None: prediction.answer == example.answer,
        max_bootstrapped_demos=most,
        max_labeled_demos=most,
        max_errors=len(examples),
    )
    with dspy.context(lm=_recorded(usable), adapter=dspy.ChatAdapter()):
        compiled = optimizer.compile(dspy.Predict("input -> answer"), trainset=examples)
    return [Demonstration(demo.input, demo.answer) for demo in compiled.demos]


def evolve(run: Run, start: Candidate, reflection: Reflection, minibatch: int, spare: int = 0) -> None:
    """As `gepa.evolve`, by dspy's own GEPA."""
    import dspy

    search = Search(run, start, reflection, needed=2 * minibatch + len(run.parts.selection) + spare)
    bridge = _Bridge(search)
    optimizer = dspy.GEPA(
        metric=bridge.metric,
        max_metric_calls=run.budget,
        reflection_minibatch_size=minibatch,
        instruction_proposer=bridge.propose,
        use_merge=False,
        num_threads=1,  # one after the other: a run that goes on asks the same questions
        seed=run.seed,
        gepa_kwargs={"stop_callbacks": search.is_over, "callbacks": [search]},
    )
    recalled = _recorded([shown(example) for example in (*run.parts.train, *run.parts.selection)])
    with dspy.context(lm=recalled, adapter=dspy.ChatAdapter()):
        optimizer.compile(bridge.program(), trainset=bridge.train, valset=bridge.selection)
    run.notes += search.notes()


class _Bridge:
    """What dspy's GEPA asks, answered by the run: a program that says its prompt, and a metric that scores it."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._run = search.run
        self.train = [_example(example, "train", i) for i, example in enumerate(self._run.parts.train)]
        self.selection = [_example(example, "selection", i) for i, example in enumerate(self._run.parts.selection)]
        self._prompt_of = {_instructions(search.start.prompt): search.start.prompt}
        self._seen: list[Observation] = []
        self._known = {
            (search.start.prompt, "selection", i): Scored(score) for i, score in enumerate(search.start.scores)
        }

    def program(self) -> Any:
        """A program whose only predictor has the prompt as its instructions."""
        import dspy

        class Prompted(dspy.Module):  # type: ignore[misc]  # dspy has no types
            def __init__(self, instructions: str) -> None:
                super().__init__()
                setattr(self, COMPONENT, dspy.Predict(dspy.Signature("input -> answer", instructions)))

            def forward(self, input: str) -> Any:  # noqa: A002  dspy calls it by this name
                predictor = getattr(self, COMPONENT)
                return dspy.Prediction(answer=predictor(input=input).answer, prompt=predictor.signature.instructions)

        return Prompted(_instructions(self._search.start.prompt))

    def metric(self, gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        """The score; for a reflection also the feedback."""
        import dspy

        scored = self._scored(self._prompt_of[pred.prompt], gold.part, gold.place)
        if pred_name is None:
            return scored.score
        self._seen.append(observed(getattr(self._run.parts, gold.part)[gold.place], scored))
        return dspy.Prediction(score=scored.score, feedback=scored.feedback)

    def propose(self, candidate: dict[str, str], reflective_dataset: Any, components_to_update: list[str]) -> Any:
        """A new text, from what the metric was asked about."""
        seen, self._seen = self._seen, []
        text = self._search.propose(self._prompt_of[_instructions(candidate[COMPONENT])], seen)
        self._prompt_of[_instructions(text)] = text
        return {COMPONENT: text}

    def _scored(self, prompt: str, part: str, place: int) -> Scored:
        key = prompt, part, place
        if key not in self._known:
            self._known[key] = self._run.score(prompt, [getattr(self._run.parts, part)[place]])[0]
        return self._known[key]


def _example(example: Any, part: str, place: int) -> Any:
    import dspy

    said = shown(example)
    return dspy.Example(input=said.input, answer=said.answer, part=part, place=place).with_inputs("input")


def _instructions(prompt: str) -> str:
    """As dspy keeps it: it takes indentation away, and an empty text for none."""
    return inspect.cleandoc(prompt) or "-"


def _recorded(said: Sequence[Shown]) -> Any:
    import dspy

    answers = {one.input: one.answer for one in said}
    return dspy.LM("teacher/recorded", engine=_Recorded(answers), cache=False)


class _Recorded:
    """A model that says what the teacher said."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = answers

    def complete(self, request: Any) -> Any:
        """Dspy's contract of a model of one's own since 3.4."""
        from dspy import lm15

        asked = str(request.messages[-1].text)
        said = asked.partition("[[ ## input ## ]]\n")[2].partition("\n\nRespond with")[0]
        answer = self._answers.get(said.strip(), self._answers.get(said, ""))
        text = f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"
        return lm15.Response(
            id=None,
            model="recorded",
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(),
        )
