"""Words and typed spans of text: what could be an argument if somebody merely said it.

The types are shapes of writing (an e-mail address, a code with digits, a number, a date, capitalised
words, quotations), never words of a domain. What this file does not know: tools and slots.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ultracore.distillation.students.compact.days import Calendar
from ultracore.distillation.students.compact.moments import moments_of

__all__ = ["Span", "shape_of", "spans_of", "trigram_similarity", "words_of"]

UNKNOWN = Calendar()
_WORD = re.compile(r"[^\W\d_]+|\d+")
_DIGIT, _CAPITAL, _MARK = re.compile(r"\d"), re.compile(r"[A-Z]"), re.compile("[\"“'‘]")
_SPANS: tuple[tuple[str, re.Pattern[str], re.Pattern[str]], ...] = (
    ("email", re.compile("@"), re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")),
    ("code", _DIGIT, re.compile(r"#?\b(?=[\w-]*\d)(?=\d*[^\W\d]|0|[\w-]*[-_]|\d{5})\w[\w-]*\w\b")),
    ("upper", _CAPITAL, re.compile(r"\b[A-Z]{2,8}\b")),
    ("number", _DIGIT, re.compile(r"(?<![\w.,-])-?\d[\d,]*(?:\.\d+)?(?![\w-])")),
    ("address", _DIGIT, re.compile(r"\b\d+ [A-Z]\w+(?: [A-Z]\w+)*")),
    ("capitals", _CAPITAL, re.compile(r"\b[A-Z][\w'’-]*(?: [A-Z][\w'’-]*){1,7}")),
    ("capital", _CAPITAL, re.compile(r"\b[A-Z][\w'’-]*")),
    ("labelled", _DIGIT, re.compile(r"\b[A-Z][a-z]+ \d+\b")),
    ("quoted", _MARK, re.compile(r"[\"“]([^\"”\n]{1,80})[\"”]|(?<!\w)['‘]([^'’\n]{2,80})['’](?!\w)")),
)
"""Kind, what no text without holds any of them, and what they look like."""
_CAPITALS, _SMALL, _DIGITS = re.compile(r"[A-Z]+"), re.compile(r"[^\W\dA-Z_]+"), re.compile(r"\d+")


class Span(NamedTuple):
    """A stretch of text that could be a value.

    Attributes:
        kind: Its shape of writing.
        value: What it says, as a string or a number.
        start: Offset of its first character.
    """

    kind: str
    value: str | int | float
    start: int


def words_of(text: str) -> list[str]:
    """Lower-case words and digit runs, in any script.

    Example:
        >>> words_of("Order #W12, bitte!")
        ['order', 'w', '12', 'bitte']
    """
    return _WORD.findall(text.lower())


def spans_of(text: str, calendar: Calendar = UNKNOWN) -> Iterator[Span]:
    """Every typed span of a text; one stretch may be of several types.

    Args:
        text: What somebody said.
        calendar: What a date means that is not said in full; without it such dates are left out.
    """
    there: dict[re.Pattern[str], bool] = {}
    for kind, needed, pattern in _SPANS:
        if needed not in there:
            there[needed] = needed.search(text) is not None
        for match in pattern.finditer(text) if there[needed] else ():
            said = next((group for group in match.groups() if group), match.group(0))
            yield Span(kind, _number(said) if kind == "number" else said, match.start())
    for kind, value, start in moments_of(text, calendar):
        yield Span(kind, value, start)


def shape_of(value: object) -> str:
    """The shape of a value's writing: runs of capitals, small letters and digits folded.

    Example:
        >>> shape_of("AB-1234")
        'A-0'
    """
    return _shape(str(value))


@lru_cache(maxsize=65536)
def _shape(text: str) -> str:
    return _DIGITS.sub("0", _SMALL.sub("a", _CAPITALS.sub("A", text)))[:24]


@lru_cache(maxsize=65536)
def trigram_similarity(a: str, b: str) -> float:
    """Jaccard similarity of two names' letter trigrams (0..1)."""
    left, right = _trigrams(a), _trigrams(b)
    return len(left & right) / len(left | right)


def _trigrams(name: str) -> set[str]:
    plain = name.lower().replace("_", " ")
    return {plain[i : i + 3] for i in range(len(plain) - 2)} or {plain}


def _number(text: str) -> int | float | str:
    plain = text.replace(",", "")
    if len(plain) > 15:
        return text
    try:
        return float(plain) if "." in plain else int(plain)
    except ValueError:
        return text
