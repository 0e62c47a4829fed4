"""Tokens of what somebody said, and what a tagger may know of each: its spelling, its neighbours, its use.

A `Lexicon` remembers the values that arguments were given, so that a value once seen is recognised in
another sentence, and for another tool whose argument has the same name. What this file does not know:
slots and labels.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from ultracore.distillation.students.compact.text import shape_of

__all__ = ["MAX_TOKENS", "Counts", "Lexicon", "Token", "Use", "describe", "phrase_of", "tokens_of"]

MAX_TOKENS = 200
"""Of a long text only the end is read."""

MAX_PHRASE = 8
"""Tokens of the longest phrase that is looked up; longer values hardly ever come again."""

LEAST_SHARE = 0.2
"""A word hints at an argument if at least this share of its uses in values were for that argument."""

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_LONGEST_TAIL = 64 * MAX_TOKENS

Counts = dict[str, dict[str, int]]
"""Phrase or word -> argument name -> number of tasks."""


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


class Use(NamedTuple):
    """A phrase that was the value of an argument.

    Attributes:
        phrase: Its tokens in lower case, joined by spaces.
        name: The argument's own name.
    """

    phrase: str
    name: str


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text; of a long one, the last `MAX_TOKENS`.

    Example:
        >>> [token.text for token in tokens_of("at 9pm, please")]
        ['at', '9', 'pm', ',', 'please']
    """
    return list(_tokens(text))


@lru_cache(maxsize=16384)  # training reads every text once for each fold
def _tokens(text: str) -> tuple[Token, ...]:
    tail = max(0, len(text) - _LONGEST_TAIL)
    return tuple(Token(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(text, tail))[-MAX_TOKENS:]


@lru_cache(maxsize=65536)
def phrase_of(text: str) -> str:
    """A text as the lexicon knows it.

    Example:
        >>> phrase_of("Rock'n'Roll")
        "rock ' n ' roll"
    """
    return " ".join(token.text.lower() for token in tokens_of(text))


class Lexicon:
    """Which phrases, and which words within them, arguments were given as values.

    Args:
        phrases: Phrase -> argument name -> number of tasks.
        words: Word -> argument name -> number of tasks.
        changed: What stands for some of the phrases and of the words instead.
    """

    def __init__(self, phrases: Counts, words: Counts, changed: tuple[Counts, Counts] = ({}, {})) -> None:
        self.phrases = phrases
        self.words = words
        self._changed_phrases, self._changed_words = changed

    @classmethod
    def count(cls, tasks: Iterable[Collection[Use]]) -> Lexicon:
        """Count the uses of each task once."""
        phrases: Counts = {}
        words: Counts = {}
        for uses in tasks:
            for phrase, name in sorted(set(uses)):  # a set's own order differs from process to process
                if phrase.count(" ") < MAX_PHRASE:
                    _add(phrases, phrase, name)
            for word, name in sorted(_words_in(uses)):
                _add(words, word, name)
        return cls(phrases, words)

    def without(self, uses: Collection[Use]) -> Lexicon:
        """The lexicon as it were without one task: what training must see of that task's own values.

        A tagger trained on a lexicon that knows every answer trusts it blindly (65 instead of 83 whole calls
        of 100 right on unseen sentences).
        """
        return Lexicon(self.phrases, self.words, (_less(self.phrases, set(uses)), _less(self.words, _words_in(uses))))

    def matches(self, words: Sequence[str]) -> Iterator[tuple[int, int, str, int]]:
        """Every known phrase: first token, length, argument name, number of tasks."""
        get, changed = self.phrases.get, self._changed_phrases
        for first in range(len(words)):
            phrase = words[first]
            for length in range(1, min(MAX_PHRASE, len(words) - first) + 1):
                if length > 1:
                    phrase = f"{phrase} {words[first + length - 1]}"
                if names := get(phrase):
                    for name, tasks in changed.get(phrase, names).items():
                        yield first, length, name, tasks

    def hints(self, word: str) -> list[str]:
        """The arguments that a word was mostly a part of, each with a quarter of its uses (0..4)."""
        used = self.words.get(word)
        used = used and self._changed_words.get(word, used)
        if not used:
            return ["-"]
        total = sum(used.values())
        return [f"{name}{4 * n // total}" for name, n in used.items() if n >= LEAST_SHARE * total] or ["-"]


def describe(tokens: Sequence[Token], lexicon: Lexicon) -> list[list[str]]:
    """What is known of each token: the names of its features."""
    words = [token.text.lower() for token in tokens]
    features = [list(_spelling(token.text)) for token in tokens]
    _add_neighbours(features, words, [_shape(token.text) for token in tokens])
    _add_phrases(features, words, lexicon)
    _add_hints(features, [lexicon.hints(word) for word in words])
    return features


@lru_cache(maxsize=65536)
def _spelling(text: str) -> tuple[str, ...]:
    word = text.lower()
    lengths = [n for n in (1, 2, 3) if len(word) > n]
    return (f"l={min(len(word), 8)}", *(f"p={word[:n]}" for n in lengths), *(f"s={word[-n:]}" for n in lengths))


@lru_cache(maxsize=65536)
def _shape(text: str) -> str:
    return shape_of(text)


def _add_neighbours(features: list[list[str]], words: list[str], shapes: list[str]) -> None:
    w = ["<<", "<", *words, ">", ">>"]
    h = ["<", *shapes, ">"]
    for i, out in enumerate(features):
        a, b, c, d, e = w[i : i + 5]
        left, own, right = h[i : i + 3]
        out += (f"a={a}", f"b={b}", f"c={c}", f"d={d}", f"e={e}")
        out += (f"ab={a} {b}", f"bc={b} {c}", f"cd={c} {d}", f"de={d} {e}", f"bd={b} {d}")
        out += (f"h={own}", f"hb={left}", f"hd={right}", f"hh={left} {own} {right}", f"bh={b} {own}")


def _add_phrases(features: list[list[str]], words: list[str], lexicon: Lexicon) -> None:
    """For each argument, the longest known phrase over a token: begun or continued, how often, how long."""
    longest: list[dict[str, tuple[int, str]]] = [{} for _ in words]
    for first, length, name, tasks in lexicon.matches(words):
        amount = "1" if tasks == 1 else "2" if tasks < 5 else "5"
        for i in range(first, first + length):
            if length > longest[i].get(name, (0, ""))[0]:
                longest[i][name] = length, f"{'B' if i == first else 'I'}{name}{amount}"
    for i, known in enumerate(longest):
        for length, what in known.values():
            features[i] += (f"k={what}", f"kl={what}{min(length, 3)}")
            _tell_neighbours(features, i, "k", what)
        if len(known) > 1:
            features[i].append("k&=" + " ".join(sorted(known)))


def _add_hints(features: list[list[str]], hints: list[list[str]]) -> None:
    for i, names in enumerate(hints):
        for name in names:
            features[i].append(f"v={name}")
            _tell_neighbours(features, i, "v", name)


def _tell_neighbours(features: list[list[str]], i: int, kind: str, what: str) -> None:
    if i > 0:
        features[i - 1].append(f"{kind}d={what}")
    if i + 1 < len(features):
        features[i + 1].append(f"{kind}b={what}")


def _words_in(uses: Collection[Use]) -> set[tuple[str, str]]:
    return {(word, name) for phrase, name in uses for word in phrase.split(" ")}


def _add(counts: Counts, key: str, name: str) -> None:
    names = counts.setdefault(key, {})
    names[name] = names.get(name, 0) + 1


def _less(counts: Counts, pairs: Collection[tuple[str, str]]) -> Counts:
    changed: Counts = {}
    for key, name in pairs:
        names = changed.setdefault(key, dict(counts.get(key, {})))
        names[name] = names.get(name, 0) - 1
    return {key: {name: n for name, n in names.items() if n > 0} for key, names in changed.items()}
