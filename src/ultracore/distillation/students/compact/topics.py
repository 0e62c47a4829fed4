"""Is an argument spoken of, whatever its value? "With subtitles, please" gives one, "not smoking" another one.

The words of its name and description are looked for in what the user said since the last result, in their last words
and in the reply before these. English negations only. What this file does not know: which values an argument may have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from itertools import takewhile

from ultracore.distillation.students.compact.transcript import USERS, Transcript, Turn

__all__ = ["STEM", "TOPIC_FIGURES", "Talk", "stem", "truth_of"]

TOPIC_FIGURES = 9

STEM = 4
"""Characters by which a word is recognised: `rooms` is `room`."""

REACH = 4
"""Words in front of a topic among which a negation denies it."""

_TOKEN, _ENDS = re.compile(r"[^\W\d_]+|\d+|[,.;:!?](?=\s)"), frozenset(",.;:!?")
"""Words, digits, and what ends a clause: a negation does not reach beyond."""

_NEGATIONS = frozenset({"no", "not", "don", "doesn", "isn", "without", "never", "none", "neither", "nor"})
_TRUTHS = {"true": 1.0, "yes": 1.0, "false": -1.0, "no": -1.0}


def truth_of(key: str) -> float:
    """1 for a value that affirms, -1 for one that denies, else 0, by its text."""
    return _TRUTHS.get(key.lower(), 0.0)


def stem(word: str) -> str:
    """The beginning by which a word is recognised."""
    return word[:STEM]


class Talk:
    """What was said lately.

    Args:
        transcript: The conversation.
    """

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript

    @cached_property
    def turns(self) -> list[Turn]:
        """The user's since the last result."""
        turns = self._transcript.turns
        after = next((n for n in range(len(turns), 0, -1) if turns[n - 1].role == "tool"), 0)
        return [turn for turn in turns[after:] if turn.role in USERS]

    @cached_property
    def words(self) -> frozenset[str]:
        """Theirs."""
        return frozenset(word for turn in self.turns for word in turn.words)

    @cached_property
    def _texts(self) -> tuple[list[str], list[str], list[str]]:
        """Words of the user's last turn, of the reply before it, and of the user since the last result."""
        t = self._transcript
        lately = " ".join(turn.text for turn in self.turns)
        last, reply, recent = (_TOKEN.findall(text.lower()) for text in (t.last_user_text, t.last_reply, lately))
        return last, reply, recent

    @cached_property
    def _stems(self) -> list[frozenset[str]]:
        return [frozenset(map(stem, words)) for words in self._texts]

    def of(self, name: Mapping[str, float], described: Mapping[str, float]) -> tuple[float, ...]:
        """How much of an argument is spoken of.

        Args:
            name: Stems of its name with their weights.
            described: Those that only its description has.

        Returns:
            Shares (0..1) of the name that the user said last, of that in the reply, and of that said since the last
            result; of the description likewise; 1 where the newest mention of the name stands for itself, -1 where it
            is denied, 0 where there is none.
        """
        shares = [_share(words, said) for words in (name, described) for said in self._stems]
        return (*shares, self._sign(name))

    def _sign(self, name: Mapping[str, float]) -> float:
        for words, said in zip(self._texts, self._stems, strict=True):
            if not said.isdisjoint(name):
                at = max(place for place, word in enumerate(words) if stem(word) in name)
                near = takewhile(lambda word: word not in _ENDS, reversed(words[max(0, at - REACH) : at]))
                return 1.0 if _NEGATIONS.isdisjoint(near) else -1.0
        return 0.0


def _share(words: Mapping[str, float], said: frozenset[str]) -> float:
    if said.isdisjoint(words):
        return 0.0
    return sum([weight for word, weight in words.items() if word in said]) / sum(words.values())
