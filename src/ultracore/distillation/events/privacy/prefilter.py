"""Which rules may find something in an encoded event: nearly always none, so this is what redaction costs.

A search costs about 1 ns a byte, and a regular expression over all of it ten times as much. So the event
is searched for few things: runs that are long enough for a key, runs of digits, and some words. Only what
stands around a hit is read with expressions. What this file does not know: how finds are replaced.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from ultracore.distillation.events.privacy.rules import Rule

__all__ = ["Prefilter"]

_WORD = (string.ascii_letters + string.digits + "_-").encode()
_TOKENS = bytes(ord("a") if byte in _WORD else ord(" ") for byte in range(256))
_DIGITS = bytes(ord("0") if byte in string.digits.encode() else byte for byte in range(256))
_ESCAPE = ord("\\")
_SPACE = rb"(?:[ -]|\xc2\xa0)"  # what stands between the digits of a card; the last two bytes are a hard space
_CARD_NUMBER = re.compile(
    rb"(?<![\d.,+-])(?:\d{13,19}|(?<!\d{4} )(?<![A-Z]\d\d )\d{4}"
    + (_SPACE + rb"\d{4,6}" + _SPACE + rb"\d{4,5}(?:" + _SPACE + rb"\d{1,7})?)")
)
CARD_DIGITS = 13
_CARD = b"0" * CARD_DIGITS
_SEPARATORS = b" -./()\xc2\xa0"  # what stands between the digits of any other number
_DIGITS_AND_SPACES = bytes(ord("0") if byte in b"0123456789 -\xc2\xa0" else ord(".") for byte in range(256))
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
        self._run = b"a" * min((rule.shortest for rule in self._tokens), default=1)
        self._worded: dict[tuple[bytes, re.Pattern[bytes] | None, re.Pattern[bytes] | None], list[Rule]] = {}
        for rule in rules:
            for needle in rule.needles:
                self._worded.setdefault((needle.encode(), rule.after, rule.around), []).append(rule)
        self._cards = [rule for rule in rules if rule.digits == CARD_DIGITS]
        self._numbers = [rule for rule in rules if rule.digits and rule.digits != CARD_DIGITS]
        self._blind = [rule for rule in rules if not (rule.start or rule.needles or rule.digits)]

    def suspects(self, encoded: bytes) -> list[Rule]:
        """The rules that may find something, in their order."""
        found = list(self._blind)
        if self._tokens and self._has_token(encoded):
            found += self._tokens
        if self._worded:
            folded = encoded.lower()
            for (needle, after, around), rules in self._worded.items():  # in a loop: calls that find nothing cost half
                if needle in folded and (around is None or _near(folded, needle, after, around)):
                    found += rules
        if self._cards and self._has_card(encoded):
            found += self._cards
        if self._numbers:
            digits = encoded.translate(_DIGITS, _SEPARATORS)
            found += [rule for rule in self._numbers if b"0" * rule.digits in digits]
        return [rule for rule in self._rules if rule in found] if found else []

    def _has_token(self, encoded: bytes) -> bool:
        """Whether something long enough begins like a key, or goes on like one after a dash."""
        shape, begins, run, end = encoded.translate(_TOKENS), self._start.match, self._run, 0
        while (place := shape.find(run, end)) >= 0:
            end = shape.find(b" ", place)
            end = len(shape) if end < 0 else end
            place += place > 0 and encoded[place - 1] == _ESCAPE  # the n of an escaped line's end, say
            while place >= 0:
                if begins(encoded, place):
                    return True
                place = encoded.find(b"-", place, end - len(run)) + 1 or -1
        return False

    def _has_card(self, encoded: bytes) -> bool:
        shape, end = encoded.translate(_DIGITS_AND_SPACES), 0
        while (place := shape.find(_CARD, end)) >= 0:
            rest = shape[place:]
            end = len(shape) - len(rest.lstrip(b"0"))
            numbers = [found[0].decode() for found in _CARD_NUMBER.finditer(encoded, place, end)]
            if any(rule.check is None or rule.check(number) for rule in self._cards for number in numbers):
                return True
        return False


def _near(folded: bytes, needle: bytes, after: re.Pattern[bytes] | None, around: re.Pattern[bytes]) -> bool:
    place = folded.find(needle)
    while place >= 0:
        if (after is None or after.match(folded, place)) and around.search(
            folded, max(0, place - _BEFORE), place + _AFTER
        ):
            return True
        place = folded.find(needle, place + 1)
    return False
