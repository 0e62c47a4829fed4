"""Which rules may find something in an encoded event: nearly always none, so this is what redaction costs.

A search costs about 1 ns a byte, and a regular expression over all of it ten times as much. So the event
is searched for few things: runs that are long enough for a key, runs of digits, and some words. Only what
stands around a hit is read with expressions. What this file does not know: how finds are replaced.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence

from ultracore.distillation.events.privacy.rules import Rule

__all__ = ["Prefilter"]

TOKEN = 16
"""Characters of the shortest key, its beginning included."""

_WORD = (string.ascii_letters + string.digits + "_-").encode()
_TOKENS = bytes(ord("a") if byte in _WORD else ord(" ") for byte in range(256))
_DIGITS = bytes(ord("0") if byte in string.digits.encode() else byte for byte in range(256))
_RUN = b"a" * TOKEN
_CARD = b"0" * 13
_SPACES = b" -\xc2\xa0"  # what stands between the digits of a card; the last two are a hard space
_SEPARATORS = _SPACES + b"./()"  # and of any other number
_BEFORE, _AFTER = 64, 48  # bytes read around a needle


class Prefilter:
    """Knows cheaply what cannot be in an event.

    Args:
        rules: All rules; one that says nothing about itself is always tried.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._tokens = [rule for rule in rules if rule.start]
        self._start = re.compile("|".join(f"(?:{rule.start})" for rule in self._tokens).encode() or b"(?!)")
        self._worded: dict[tuple[tuple[bytes, ...], re.Pattern[bytes] | None], list[Rule]] = {}
        for rule in rules:
            if rule.needles:
                key = (tuple(needle.encode() for needle in rule.needles), rule.around)
                self._worded.setdefault(key, []).append(rule)
        self._cards = [rule for rule in rules if rule.digits == len(_CARD)]
        self._numbers = [rule for rule in rules if rule.digits and rule.digits != len(_CARD)]
        self._blind = [rule for rule in rules if not (rule.start or rule.needles or rule.digits)]

    def suspects(self, encoded: bytes) -> list[Rule]:
        """The rules that may find something, in their order."""
        found = list(self._blind)
        if self._tokens and self._has_token(encoded):
            found += self._tokens
        if self._worded:
            folded = encoded.lower()
            for (needles, around), rules in self._worded.items():
                if any(_near(folded, needle, around) for needle in needles):
                    found += rules
        if self._cards and _CARD in encoded.translate(_DIGITS, _SPACES):
            found += self._cards
        if self._numbers:
            digits = encoded.translate(_DIGITS, _SEPARATORS)
            found += [rule for rule in self._numbers if b"0" * rule.digits in digits]
        return [rule for rule in self._rules if rule in found] if found else []

    def _has_token(self, encoded: bytes) -> bool:
        """Whether something long enough begins like a key."""
        shape = encoded.translate(_TOKENS)
        return any(self._start.search(encoded, start, end) for start, end in _runs(shape))


def _runs(shape: bytes) -> Iterator[tuple[int, int]]:
    """Where the long runs lie, from a little before them: a dot may stand within a key's beginning."""
    end = 0
    while (place := shape.find(_RUN, end)) >= 0:
        end = shape.find(b" ", place)
        end = len(shape) if end < 0 else end
        yield max(0, place - 4), end


def _near(folded: bytes, needle: bytes, around: re.Pattern[bytes] | None) -> bool:
    place = folded.find(needle)
    while place >= 0:
        if around is None or around.search(folded, max(0, place - _BEFORE), place + _AFTER):
            return True
        place = folded.find(needle, place + 1)
    return False
