"""Keeps a prompt from being the training data: lines that repeat an example word for word are taken out.

Demonstrations are exempt, because they are examples and are counted. What this file does not know: scores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ultracore.distillation.optimize.examples import shown
from ultracore.distillation.students.prompted.prompt import split_demonstrations

__all__ = ["Cleaned", "CopyGuard"]

RUN = 8
"""So many words in a row, as in an example, are a copy: shorter runs are common phrases."""

_WORD = re.compile(r"\w+")


class Cleaned(NamedTuple):
    """A prompt without its copied lines, and how many those were."""

    text: str
    removed: int


class CopyGuard:
    """Knows the words of the examples.

    Args:
        examples: All that a prompt must not repeat.
        allowed: Text that may be repeated all the same: the user's own prompt.
    """

    def __init__(self, examples: Iterable[Any], allowed: str) -> None:
        said = {run for example in examples for run in _runs(shown(example).input)}
        self._copies = said.difference(_runs(allowed))

    def clean(self, text: str) -> Cleaned:
        """Take out the lines that copy."""
        head, demonstrations = split_demonstrations(text)
        lines = head.splitlines(keepends=True)
        kept = [line for line in lines if self._copies.isdisjoint(_runs(line))]
        return Cleaned("".join(kept) + demonstrations, len(lines) - len(kept))


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words: Sequence[str] = _WORD.findall(text.lower())
    return (tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1))
