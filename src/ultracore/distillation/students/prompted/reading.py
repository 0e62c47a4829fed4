"""What a reader sees of a state: one text of the newest messages and the calls so far.

What this file does not know: prompts and tools.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from ultracore.distillation.decisions import SYSTEM_ROLES, State, text_of
from ultracore.distillation.tools import canonical_json

__all__ = ["PIECE_MARK", "features", "state_text", "words_of"]

NEWEST = 3
"""Messages that are read whole."""

MOST = 2000
"""Characters of a message."""

PIECE_MARK = "#"
"""Begins a piece of a word among the features; no word begins so."""

PIECE = 0.3
"""Weight of four letters beside a word: they match inflections, and chance."""

_WORD = re.compile(r"[^\W\d_]+|\d+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|_")
_COMMON = frozenset(
    [
        *("a", "an", "the", "of", "to", "and", "in", "for", "on", "is", "are", "i", "my", "me", "it", "this", "that"),
        *("with", "you", "your", "can", "please", "how", "what", "do", "does", "be", "from", "or", "as", "at", "by"),
        *("have", "has", "was", "will", "would", "could", "should", "not"),
    ]
)


def state_text(state: State) -> str:
    r"""The newest messages, and `called NAME` for each call so far.

    Example:
        >>> state_text(State([{"role": "context", "content": {"query": "refund it", "n": 1}}], []))
        'refund it\n1'
    """
    messages = [m for m in state.messages if m.get("role") not in SYSTEM_ROLES]
    called = [f"called {name}" for message in messages for name in _called(message)]
    return "\n".join([*(_said(message)[:MOST] for message in messages[-NEWEST:]), *called]).strip()


def words_of(text: str) -> list[str]:
    """Words in lower case without the commonest ones, names of tools taken apart, endings cut.

    Example:
        >>> words_of("Where is the trackOrder_status?")
        ['where', 'track', 'order', 'statu']
    """
    return [_stem(word) for word in _WORD.findall(_HUMP.sub(" ", text).lower()) if word not in _COMMON]


@lru_cache(maxsize=50_000)
def features(text: str) -> Mapping[str, float]:
    """How often each word, pair of words and piece of a word is in a text, dampened."""
    words = words_of(text)
    counts: Counter[str] = Counter(words)
    counts.update(f"{a} {b}" for a, b in itertools.pairwise(words))
    found = {phrase: 1 + math.log(count) for phrase, count in counts.items()}
    pieces = Counter(piece for word in set(words) for piece in _pieces(f"^{word}$"))
    return found | {f"{PIECE_MARK}{piece}": PIECE * (1 + math.log(count)) for piece, count in pieces.items()}


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    return "\n".join(_leaves(content)) if isinstance(content, Mapping) else text_of(message)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif value is not None:
        yield value if isinstance(value, str) else canonical_json(value).decode()


def _called(message: Mapping[str, Any]) -> Iterator[str]:
    for call in message.get("tool_calls") or ():
        inner = call.get("function", call) if isinstance(call, Mapping) else {}
        yield str(inner.get("name"))


def _pieces(word: str) -> Iterator[str]:
    return (word[i : i + 4] for i in range(len(word) - 3))


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
