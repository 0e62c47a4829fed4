"""Is this message like any that the student has learned from? If not, its confidence means nothing.

A calibrated confidence is right on average over traffic like that of the training. A message in another
language, a heap of a hundred kilobytes or a sentence that demands a tool is not of that traffic, and a student
that only knows clear cases is sure of itself there too. The guard asks how many words of the last message were
ever seen, and demands what almost every message of an unseen task had; it escalates, it never answers. What
this file does not know: the calls that are proposed, and how the demand was measured (`train.familiarity`).
"""

from __future__ import annotations

import re
import zlib
from functools import cached_property

import msgspec

from ultracore.distillation.decisions import State, text_of

__all__ = ["Familiarity", "words_of"]

_WORD = re.compile(r"\d+|[^\W\d_]+|[^\w\s]")
LONGER = 2.0
"""A message may be so many times as long as the longest that was seen."""


class Familiarity(msgspec.Struct, frozen=True, dict=True):
    """The words of the training, and what is demanded of a message.

    Attributes:
        words: Hashes of the words seen.
        least: Least share of known words (0..1); 0 demands nothing.
        longest: Characters of the longest message seen.
    """

    words: list[int] = []
    least: float = 0.0
    longest: int = 0

    def is_familiar(self, state: State) -> bool:
        """Whether the last message is like those seen.

        Example:
            >>> known = Familiarity(sorted(words_of("where is order 17")), least=0.7, longest=20)
            >>> [known.is_familiar(State([{"content": text}], [])) for text in ("Where is order 4?", "Wo bist du?")]
            [True, False]
        """
        text = last_text(state)
        if self.least <= 0.0:
            return True
        return len(text) <= LONGER * self.longest and self.share(text) >= self.least

    def share(self, text: str) -> float:
        """How many of a text's words were seen; of an empty text, whether an empty one was (0..1)."""
        found = words_of(text)
        return sum(word in self._known for word in found) / len(found)

    @cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(self.words)


def last_text(state: State) -> str:
    """What was said last, by whomever."""
    return text_of(state.messages[-1]) if state.messages else ""


def words_of(text: str) -> list[int]:
    """Hashes of the words in a text, all numbers being one; an empty text is a word of its own."""
    found = ("0" if word.isdigit() else word for word in _WORD.findall(text.casefold()))
    return [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in found] or [0]
