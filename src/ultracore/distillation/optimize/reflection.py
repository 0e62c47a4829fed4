"""Reads a prompt's mistakes and writes a better prompt: a language model asked in words, or any callable.

A reflection is a plain function from (prompt, mistakes) to text. One that cannot be reached, or whose answer
holds no prompt, proposes nothing, and is counted. What this file does not know: the search, and scores beyond
those of the mistakes.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from ultracore.distillation.optimize.journal import Journal
from ultracore.distillation.students.prompted.chat import Chat, ChatError

__all__ = ["Ask", "LanguageReflection", "Observation", "Reflection", "ReflectionFailed", "ask_of"]

MAX_PROMPT = 200_000
"""Characters of a prompt that a reflection may propose."""

MOST_SHOWN = 20
MAX_SHOWN = 1500

Ask: TypeAlias = Callable[[str], Any]
"""Text in, text out, sync or async: any language model."""

QUESTION = """You improve the prompt of an assistant that imitates decisions of a stronger model.

The prompt today:
<prompt>
{prompt}
</prompt>

What it did on some inputs, and what was said about it:
{shown}

Find what these mistakes have in common, and write the whole prompt anew so that they would not happen again. Say rules
and facts that hold in general; do not copy the inputs. Keep what works, and keep it short. Answer with the new prompt
between ``` fences and nothing else."""

_FENCED = re.compile(r"```[^\n`]*\n(.*?)\n?```", re.S)


class ReflectionFailed(Exception):  # noqa: N818  a signal between our own layers, counted and shown in the result
    """Nothing came that could be a prompt."""


class Observation(NamedTuple):
    """What a prompt did on one example: the input, the teacher's answer, the score (0..1) and what was said."""

    input: str
    answer: str
    score: float
    feedback: str


class Reflection(Protocol):
    """Proposes a prompt.

    Attributes:
        name: For the result.
    """

    name: str

    def propose(self, prompt: str, seen: Sequence[Observation], journal: Journal) -> str:
        """A new prompt.

        Raises:
            ReflectionFailed: There is none.
        """
        ...

    def check(self) -> None:
        """Whether it can be reached at all, before anything is spent; raises a `DistillationError` if not."""
        ...


class LanguageReflection:
    """Asks a language model.

    Args:
        ask: The model.
        loop: Where a coroutine of it runs.
        name: For the result.
        check: Whether it can be reached.
    """

    def __init__(
        self, ask: Ask, loop: asyncio.AbstractEventLoop, name: str = "callable", check: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self._ask = ask
        self._loop = loop
        self._check = check

    def check(self) -> None:
        """See `Reflection`."""
        if self._check is not None:
            self._check()

    def propose(self, prompt: str, seen: Sequence[Observation], journal: Journal) -> str:
        """See `Reflection`."""
        question = QUESTION.replace("{shown}", _shown(seen)).replace("{prompt}", prompt)
        return _prompt_in(journal.text(question, lambda: self._answer(question)))

    def _answer(self, question: str) -> str:
        try:
            answer = self._ask(question)
            if inspect.isawaitable(answer):
                answer = asyncio.run_coroutine_threadsafe(_awaited(answer), self._loop).result()
        except Exception as error:  # the user's code, or a network
            raise ReflectionFailed(f"{type(error).__name__}: {error}"[:300]) from error
        if not isinstance(answer, str):
            raise ReflectionFailed(f"the answer is {type(answer).__name__}, not text")
        return answer


def ask_of(model: Ask | str, name: str, env_key: str) -> tuple[Ask, str, Callable[[], None] | None]:
    """A model as a callable, its name, and how to check that it is there.

    Args:
        model: A callable, or the base URL of an OpenAI-compatible server.
        name: The model's name at that server.
        env_key: Environment variable with the server's key.
    """
    if not isinstance(model, str):
        return model, getattr(model, "__name__", type(model).__name__), None
    chat = Chat(model, model=name, key_env=env_key)

    def ask(question: str) -> str:
        try:
            return chat.complete([{"role": "user", "content": question}]).text
        except ChatError as error:
            raise ReflectionFailed(str(error)) from error

    return ask, name, chat.check


async def _awaited(answer: Any) -> Any:
    return await answer


def _prompt_in(answer: str) -> str:
    fenced = _FENCED.findall(answer)
    text = max(fenced, key=len) if fenced else ""
    if not text.strip() or len(text) > MAX_PROMPT:
        raise ReflectionFailed("the answer holds no prompt between ``` fences")
    return str(text).strip()


def _shown(seen: Sequence[Observation]) -> str:
    worst = sorted(seen, key=lambda s: s.score)[:MOST_SHOWN]
    return "\n".join(
        f"<input>{s.input[:MAX_SHOWN]}</input>\n<wanted>{s.answer[:MAX_SHOWN]}</wanted>\n"
        f"<score>{s.score:.2f}</score>\n<feedback>{s.feedback[:MAX_SHOWN]}</feedback>\n"
        for s in worst
    )
