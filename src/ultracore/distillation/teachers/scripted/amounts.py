"""How people name sums of money, plain or to be computed, and what they come to.

What this file does not know: whose money it is.
"""

from __future__ import annotations

import re
from random import Random
from typing import NamedTuple

__all__ = ["Amount", "read_amount", "read_value", "say_amount", "say_computed"]

_NUMBER = r"(\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?|\d+(?:\.\d{1,2})?)"
_MONEY = re.compile(rf"(?:€|\beur) ?{_NUMBER}|{_NUMBER} ?(?:€|eur\b|euros?\b)")
_WORDS = {
    "twenty": 20, "fifty": 50, "a hundred": 100, "two hundred": 200, "three hundred": 300, "five hundred": 500,
    "a thousand": 1000,
}  # fmt: skip
_IN_WORDS = re.compile(rf"\b({'|'.join(sorted(_WORDS, key=len, reverse=True))}) euros\b")
_SHARES = {"half": 0.5, "a third": 1 / 3, "a quarter": 0.25, "ten percent": 0.1}
_SHARE = re.compile(rf"\b({'|'.join(_SHARES)}) of (?:what|the (?:money|balance)|my balance|everything)")
_KEEP = re.compile(r"\b(?:everything|all of it|the whole balance|all the money)\b(.*\b(?:but|except|leave)\b)?")


class Amount(NamedTuple):
    """`share` of the balance plus `value`."""

    share: float
    value: float

    def of(self, balance: float) -> float:
        """What it comes to, in whole cents."""
        return round(self.share * balance + self.value, 2)


def say_amount(value: float, rng: Random) -> str:
    """Name a plain sum, in one of the usual ways."""
    for words, known in _WORDS.items():
        if known == value and rng.random() < 0.3:
            return f"{words} euros"
    plain = f"{value:.2f}".removesuffix(".00")
    grouped = f"{value:,.2f}".removesuffix(".00")
    return rng.choice(
        (f"{plain} euros", f"€{plain}", f"{plain} EUR", f"{grouped} euros", f"{value:.2f} EUR", f"EUR {plain}")
    )


def say_computed(rng: Random) -> str:
    """Name a sum that takes arithmetic: a share of the balance, the rest of it, a sum of two."""
    parts = (rng.randrange(20, 200, 5), rng.randrange(5, 60))
    share = f"{rng.choice(tuple(_SHARES))} of {rng.choice(('what is there', 'the balance', 'the money in it'))}"
    options = (share, f"everything except {parts[0]} euros", f"{parts[0]} euros plus {parts[1]} euros for the fee")
    return rng.choice((*options, f"{parts[0]} euros and another {parts[1]} euros"))


def read_amount(text: str) -> Amount | None:
    """The sum that lower-case words name, or `None`.

    Example:
        >>> read_amount("everything except 50 euros").of(120.0)
        70.0
    """
    values = _values(text)
    if match := _SHARE.search(text):
        return Amount(_SHARES[match[1]], 0.0)
    if match := _KEEP.search(text):
        return Amount(1.0, -values[0] if match[1] and values else 0.0)
    if len(values) > 1 and re.search(r"\b(plus|and another)\b", text):
        return Amount(0.0, values[0] + values[1])
    return Amount(0.0, values[0]) if values else None


def read_value(text: str) -> float | None:
    """The first plain sum in lower-case words, or `None`."""
    values = _values(text)
    return values[0] if values else None


def _values(text: str) -> list[float]:
    found = [(m.start(), float((m[1] or m[2]).replace(",", ""))) for m in _MONEY.finditer(text)]
    found += [(m.start(), float(_WORDS[m[1]])) for m in _IN_WORDS.finditer(text)]
    return [value for _, value in sorted(found)]
