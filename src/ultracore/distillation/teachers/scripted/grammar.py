"""Small grammars: one pattern stands for many sentences, the random stream picks one.

`[a|b|]` is a choice (it nests, and an empty branch leaves the words out), `{name}` a slot. What
this file does not know: what the sentences are about.
"""

from __future__ import annotations

import re
from random import Random

__all__ = ["correct", "expand", "misspell", "stream"]

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SPACES = re.compile(r"\s+")
_LOOSE = re.compile(r"\s+([.,!?;:])")

_MISSPELT = {
    "account": "acount", "address": "adress", "amount": "ammount", "and": "adn", "because": "becuase",
    "block": "blcok", "card": "crad", "cancel": "cancle", "could": "coudl", "euros": "euors", "from": "form",
    "have": "hvae", "limit": "limt", "month": "motnh", "payment": "paymnet", "please": "plese",
    "recognise": "recognize", "savings": "savigns", "statement": "statment", "stolen": "stollen", "thanks": "thnaks",
    "the": "teh", "tomorrow": "tommorow", "transfer": "tranfer", "with": "wiht", "yesterday": "yesteday",
}  # fmt: skip
_SPELT = {wrong: right for right, wrong in _MISSPELT.items()}
_WORD = re.compile(r"[a-z]+")


def stream(*parts: object) -> Random:
    """A random stream named by its parts: the same parts give the same stream on every machine.

    Example:
        >>> stream(0, "task", 7).random() == stream(0, "task", 7).random()
        True
    """
    return Random("/".join(map(str, parts)))  # noqa: S311 - examples must be reproducible, not secret


def expand(pattern: str, rng: Random, **slots: object) -> str:
    """Pick one sentence of the pattern and fill its slots; slot values are never expanded.

    Example:
        >>> expand("[block|block] {card} [|]now", stream(0), card="[it]")
        'block [it] now'
    """
    while match := _CHOICE.search(pattern):
        pattern = pattern[: match.start()] + rng.choice(match[1].split("|")) + pattern[match.end() :]
    return _LOOSE.sub(r"\1", _SPACES.sub(" ", pattern)).strip().format(**slots)


def misspell(text: str, rng: Random, rate: float) -> str:
    """Misspell each of some common words with probability `rate`; names and numbers stay."""
    return _WORD.sub(lambda m: _MISSPELT.get(m[0], m[0]) if rng.random() < rate else m[0], text)


def correct(text: str) -> str:
    """Undo `misspell`."""
    return _WORD.sub(lambda m: _SPELT.get(m[0], m[0]), text)
