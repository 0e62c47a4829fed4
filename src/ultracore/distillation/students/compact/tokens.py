"""Tokens of what somebody said, and what a tagger may know of each: its spelling, its neighbours, its use.

A `Lexicon` remembers the values that arguments were given, so that a value once seen is recognised in
another sentence, and for another tool whose argument has the same name. What this file does not know:
tools, slots and labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from ultracore.distillation.students.compact.text import shape_of, spans_of

__all__ = ["MAX_TOKENS", "Lexicon", "Token", "describe", "tokens_of"]

MAX_TOKENS = 200
"""Of a long text only the end is read: it is where people ask."""

MAX_PHRASE = 8
"""Tokens of the longest phrase that a lexicon remembers; longer ones hardly ever come again."""

WINDOW = 6
"""How far to either side words count as neighbourhood."""

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")


class Token(NamedTuple):
    """A word, a run of digits or a punctuation mark.

    Attributes:
        text: As it was written.
        start: Offset of its first character.
        end: Offset behind its last.
    """

    text: str
    start: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text; of a long one, the last `MAX_TOKENS`.

    Example:
        >>> [token.text for token in tokens_of("at 9pm, please")]
        ['at', '9', 'pm', ',', 'please']
    """
    tail = max(0, len(text) - 40 * MAX_TOKENS)
    return [Token(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(text, tail)][-MAX_TOKENS:]


class Lexicon:
    """Values that arguments were given, as phrases of lower-case tokens.

    Args:
        phrases: Phrase -> argument name -> how many tasks gave it.

    Attributes:
        words: Word -> argument name -> how many distinct phrases contain it.
    """

    def __init__(self, phrases: Mapping[str, Mapping[str, int]]) -> None:
        self.phrases = {phrase: dict(names) for phrase, names in phrases.items()}

    def matches(self, words: Sequence[str], own: Set[tuple[str, str]]) -> Iterator[tuple[int, int, str, int]]:
        """Every known phrase: first token, length, argument name, number of tasks.

        Args:
            words: Lower-case tokens.
            own: (phrase, name) pairs of which one task is not to be counted: the reader's own.
        """
        for first in range(len(words)):
            phrase = ""
            for length in range(1, min(MAX_PHRASE, len(words) - first) + 1):
                phrase = f"{phrase} {words[first + length - 1]}" if phrase else words[first]
                for name, tasks in self.phrases.get(phrase, {}).items():
                    known = tasks - ((phrase, name) in own)
                    if known > 0:
                        yield first, length, name, known


def describe(text: str, tokens: Sequence[Token], lexicon: Lexicon, own: Set[tuple[str, str]] = frozenset()) -> list[list[str]]:
    """What is known of each token: the names of its features.

    Args:
        text: What was said.
        tokens: Its tokens.
        lexicon: Values seen in training.
        own: While training, the (phrase, argument name) pairs of the text's own task.
    """
    words = [token.text.lower() for token in tokens]
    features = [list(_spelling(token.text)) for token in tokens]
    _add_neighbours(features, words, [_shape(token.text) for token in tokens])
    _add_known(features, words, lexicon, own)
    _add_types(features, text, tokens)
    return features


@lru_cache(maxsize=65536)
def _spelling(text: str) -> tuple[str, ...]:
    word = text.lower()
    shape = _shape(text)
    ends = [f"p{n}={word[:n]}" for n in (1, 2, 3) if len(word) > n] + [f"s{n}={word[-n:]}" for n in (1, 2, 3) if len(word) > n]
    return ("1", f"h={shape}", f"l={min(len(word), 8)}", *ends)


@lru_cache(maxsize=65536)
def _shape(text: str) -> str:
    return shape_of(text)


def _add_neighbours(features: list[list[str]], words: list[str], shapes: list[str]) -> None:
    n = len(words)
    w = ["<<", "<", *words, ">", ">>"]
    h = ["<", *shapes, ">"]
    for i, out in enumerate(features):
        a, b, c, d, e = w[i : i + 5]
        out += (
            f"a={a}", f"b={b}", f"c={c}", f"d={d}", f"e={e}",
            f"ab={a} {b}", f"bc={b} {c}", f"cd={c} {d}", f"de={d} {e}", f"bcd={b} {c} {d}", f"abc={a} {b} {c}", f"cde={c} {d} {e}",
            f"hb={h[i]}", f"hd={h[i + 2]}", f"hh={h[i]} {h[i + 1]} {h[i + 2]}", f"bh={b} {h[i+1]}",
            f"bd={b} {d}",
        )  # fmt: skip
        out += [f"<{word}" for word in set(words[max(0, i - WINDOW) : max(0, i - 1)])]
        out += [f">{word}" for word in set(words[i + 2 : i + 1 + WINDOW])]


def _add_known(features: list[list[str]], words: list[str], lexicon: Lexicon, own: Set[tuple[str, str]]) -> None:
    best: list[dict[str, tuple[int, str]]] = [{} for _ in words]
    for first, length, name, tasks in lexicon.matches(words, own):
        amount = "1" if tasks == 1 else "2" if tasks < 5 else "5"
        for i in range(first, first + length):
            place = "B" if i == first else "I"
            if length > best[i].get(name, (0, ""))[0]:
                best[i][name] = (length, f"{place}{name}{amount}")
    for i, known in enumerate(best):
        out = features[i]
        for length, what in known.values():
            out += (f"k={what}", f"k={what}{min(length, 3)}")
            if i > 0:
                features[i - 1].append(f"kd={what}")
            if i + 1 < len(words):
                features[i + 1].append(f"kb={what}")
        if len(known) > 1:
            out.append("k*=" + " ".join(sorted(known)))


def _add_types(features: list[list[str]], text: str, tokens: Sequence[Token]) -> None:
    pass
