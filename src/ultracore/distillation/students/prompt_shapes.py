"""System prompts that a certificate covers although parts of them vary: a ticket, a customer's name.

A shape is a prompt with each line that is one conversation's own replaced by a mark; digits never count.
Another constant line, one more line, one less, or another order is another shape, which nobody
certified. What this file does not know: students, and what the prompts say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.decisions import Decision, mask_digits, system_prompt
from ultracore.distillation.tools import fingerprint

__all__ = ["PromptShapes"]

CONSTANT = 0.1
"""A line of more than this share of the tasks, and of two at least, is constant: a rarer policy is covered as it was
seen only, since no prompt of nothing but varying lines has a shape."""

MIN_TASKS = 5
"""So many tasks must have a shape, most of them with varying lines that no other has: one policy is no variation."""

VARIES = "*"


class _Masked(NamedTuple):
    """A prompt's shape: its lines' fingerprints in order, `VARIES` for those that are not constant; and those."""

    shape: tuple[str, ...]
    varying: tuple[str, ...]

    @property
    def is_mostly_constant(self) -> bool:
        return 0 < 2 * len(self.varying) <= len(self.shape)


class PromptShapes(msgspec.Struct, frozen=True, dict=True):
    r"""The shapes of prompts whose tasks each have their own.

    Attributes:
        lines: Fingerprints of the constant lines.
        shapes: Fingerprints of the shapes.

    Example:
        >>> names = ("Ann", "Bo", "Cy", "Di", "Ed", "Flo", "Gus")
        >>> prompts = [[{"role": "system", "content": f"Be kind.\nGreet {name}."}] for name in names]
        >>> seen = PromptShapes.of_prompts(enumerate(prompts))
        >>> seen.covers([{"role": "system", "content": "Be kind.\nGreet Zoe."}])
        True
        >>> seen.covers([{"role": "system", "content": "Be rude.\nGreet Zoe."}])
        False
    """

    lines: list[str]
    shapes: list[str]

    @classmethod
    def of(cls, decisions: Iterable[Decision]) -> PromptShapes | None:
        """As the decisions' own prompts have them; `None` where none varies in such a way."""
        return cls.of_prompts((decision.task, decision.state.messages) for decision in decisions)

    @classmethod
    def of_prompts(cls, prompts: Iterable[tuple[Any, Sequence[Mapping[str, Any]]]]) -> PromptShapes | None:
        """The same of (task, messages)."""
        seen = {(task, system_prompt(messages)) for task, messages in prompts}
        tasks: defaultdict[str, set[Any]] = defaultdict(set)
        for task, text in seen:
            for line in _prints(text):
                tasks[line].add(task)
        least = max(1.0, CONSTANT * len({task for task, _ in seen}))
        constant = {line for line, of in tasks.items() if len(of) > least}
        shapes: defaultdict[tuple[str, ...], dict[Any, tuple[str, ...]]] = defaultdict(dict)
        for task, text in seen:
            masked = _masked(text, constant)
            if masked.is_mostly_constant:
                shapes[masked.shape][task] = masked.varying
        kept = sorted(fingerprint(shape) for shape, by_task in shapes.items() if _varies(by_task.values()))
        return cls(sorted(constant), kept) if kept else None

    def covers(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the system prompt of a conversation has one of the shapes."""
        masked = _masked(system_prompt(messages), self._constant)
        return masked.is_mostly_constant and fingerprint(masked.shape) in self._shapes

    @cached_property
    def _constant(self) -> frozenset[str]:
        return frozenset(self.lines)

    @cached_property
    def _shapes(self) -> frozenset[str]:
        return frozenset(self.shapes)


def _varies(varying: Iterable[tuple[str, ...]]) -> bool:
    counts = Counter(varying)
    return counts.total() >= MIN_TASKS and 2 * len(counts) > counts.total()


def _masked(text: str, constant: set[str] | frozenset[str]) -> _Masked:
    prints = _prints(text)
    shape = tuple(line if line in constant else VARIES for line in prints)
    return _Masked(shape, tuple(line for line in prints if line not in constant))


def _prints(text: str) -> list[str]:
    return [_print(line) for raw in text.splitlines() if (line := raw.strip())]


@lru_cache(maxsize=8192)
def _print(line: str) -> str:
    return fingerprint(mask_digits(line))
