"""Sets of demonstrations made by the package dspy: its `BootstrapFewShot`, with the teacher's record as the teacher.

The program that dspy bootstraps asks a "model" that recalls what the teacher decided, so its traces are the
teacher's own decisions, verified by dspy's metric; no server is asked. The package is an extra with an environment
of its own: it brings litellm and an older openai. What this file does not know: how sets are compared.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Mapping, Sequence
from typing import Any

from ultracore.distillation.optimize.examples import Shown
from ultracore.distillation.students.prompted.prompt import Demonstration

__all__ = ["bootstrap_few_shot", "engine_name", "is_installed"]


def is_installed() -> bool:
    """Whether dspy can be imported."""
    return importlib.util.find_spec("dspy") is not None


def engine_name() -> str:
    """For the result."""
    import dspy

    return f"dspy {dspy.__version__} BootstrapFewShot"


def bootstrap_few_shot(usable: Sequence[Shown], most: int, chance: random.Random) -> list[Demonstration]:
    """One set of at most so many demonstrations."""
    import dspy

    shuffled = chance.sample(usable, len(usable))
    examples = [dspy.Example(input=said.input, answer=said.answer).with_inputs("input") for said in shuffled]
    recorded = dspy.LM("teacher/recorded", engine=_Recorded({said.input: said.answer for said in usable}), cache=False)
    optimizer = dspy.BootstrapFewShot(
        metric=lambda example, prediction, trace=None: prediction.answer == example.answer,
        max_bootstrapped_demos=most,
        max_labeled_demos=most,
        max_errors=len(examples),
    )
    with dspy.context(lm=recorded, adapter=dspy.ChatAdapter()):
        compiled = optimizer.compile(dspy.Predict("input -> answer"), trainset=examples)
    return [Demonstration(demo.input, demo.answer) for demo in compiled.demos]


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
