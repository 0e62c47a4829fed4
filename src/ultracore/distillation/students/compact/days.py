"""Days that are said by their distance from today: "tomorrow", "in three days", "next Wednesday".

English words only. What this file does not know: what today is (`Calendar` says where it is looked for).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

__all__ = ["NUMBERS", "Calendar", "days_of", "offsets_of", "today_in"]

_TWELVE = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NUMBERS = {word: number for number, word in enumerate(_TWELVE, start=1)}
_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAMED = {"today": 0, "tonight": 0, "tomorrow": 1, "day after tomorrow": 2, "yesterday": -1}
_OFFSET = re.compile(
    rf"\b(day after tomorrow|{'|'.join(name for name in _NAMED if ' ' not in name)})\b"
    rf"|\bin (\d{{1,3}}|{'|'.join(NUMBERS)}|an?) (day|week)s?\b|\b(?:(a)|one) week from now\b",
    re.IGNORECASE,
)
_WEEKDAY = re.compile(rf"\b({'|'.join(_WEEK)})\b", re.IGNORECASE)
_ISO_DAY = re.compile(r"\b((?:19|20)\d\d-\d\d-\d\d)(?!\d)")


class Calendar(NamedTuple):
    """What a date means that is not said in full.

    Attributes:
        month: As `2024-05`: of a day without month or year; "" where it is not known.
        today: As `2024-05-07`; "" where it is not known.
    """

    month: str = ""
    today: str = ""


@lru_cache(maxsize=1024)
def today_in(prompt: str) -> str:
    """The latest whole date of a system prompt, "" where there is none: it often says what day it is."""
    return max((day for day in _ISO_DAY.findall(prompt) if _day(day)), default="")


def offsets_of(text: str) -> Iterator[tuple[int, int]]:
    """Distances in days from today, each with where it is said.

    Example:
        >>> list(offsets_of("tomorrow, or in two weeks"))
        [(1, 0), (14, 13)]
    """
    for match in _OFFSET.finditer(text):
        name, count, unit, _ = match.groups()
        if name:
            yield _NAMED[name.lower()], match.start()
        else:
            word = (count or "one").lower()
            number = 1 if word in ("a", "an") else NUMBERS.get(word) or int(word)
            yield number * (1 if (unit or "week").lower() == "day" else 7), match.start()


def days_of(text: str, today: str) -> Iterator[tuple[str, str, int]]:
    """Kind, date and offset of every day of a text; of a weekday, the next one and the one a week later.

    Example:
        >>> [day for _, day, _ in days_of("tomorrow or Monday", "2024-05-07")]
        ['2024-05-08', '2024-05-13', '2024-05-20']
    """
    start = _day(today)
    if start is None:
        return
    for days, at in offsets_of(text):
        yield "relative", (start + timedelta(days)).isoformat(), at
    for match in _WEEKDAY.finditer(text):
        days = (_WEEK.index(match.group().lower()) - start.weekday() - 1) % 7 + 1
        yield "weekday", (start + timedelta(days)).isoformat(), match.start()
        yield "weekday_later", (start + timedelta(days + 7)).isoformat(), match.start()


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
