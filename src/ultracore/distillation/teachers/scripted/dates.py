"""How people name days and periods, and which days they mean: said by customers, read by the teacher.

What this file does not know: what happens on those days.
"""

# ruff: noqa: E501 - a sentence pattern reads best on one line.

from __future__ import annotations

import re
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

__all__ = [
    "Period",
    "future",
    "past",
    "period",
    "read_birth_date",
    "read_day",
    "read_period",
    "say_birth_date",
    "say_day",
]

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
          "november", "december")  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "ten": 10}

_BIRTH_YEARS_END = 2015

_MONTH = "|".join(MONTHS)
_COUNT = r"(\d{1,2}|" + "|".join(NUMBERS) + r"|a)"
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_DOTTED = re.compile(r"\b(\d{1,2})\.(\d{1,2})\.(\d{4})\b")
_DAY_MONTH = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH})(?:,? (\d{{4}}))?")
_MONTH_DAY = re.compile(rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (\d{{4}}))?")
_IN = re.compile(rf"\bin {_COUNT} (day|week)s?\b")
_AGO = re.compile(rf"\b{_COUNT} (day|week)s? ago\b")
_WEEKDAY = re.compile(rf"\b(?:on|next|last|this|until|since) ({'|'.join(WEEKDAYS)})\b")
_LAST_DAYS = re.compile(rf"\b(?:last|past) {_COUNT} (day|week)s?\b")
_IN_MONTH = re.compile(rf"\b(?:in|for|of|during) ({_MONTH})\b(?! \d)")


class Period(NamedTuple):
    """Days from `first` to `last`, both included; without `last` it runs until today."""

    first: date
    last: date | None


def say_day(day: date, rng: Random) -> str:
    """Name a day by its date, in one of the usual ways."""
    month = MONTHS[day.month - 1].capitalize()
    forms = (f"{day.day} {month}", f"{month} {day.day}", f"the {_ordinal(day.day)} of {month}", day.isoformat())
    return rng.choice((*forms, f"{day.day}.{day.month}.{day.year}"))


def say_birth_date(day: date, rng: Random) -> str:
    """Name a day with its year."""
    month = MONTHS[day.month - 1].capitalize()
    forms = (day.isoformat(), f"{day.day} {month} {day.year}", f"{month} {_ordinal(day.day)}, {day.year}")
    return rng.choice((*forms, f"{day.day:02}.{day.month:02}.{day.year}"))


def future(today: date, rng: Random, hard: bool) -> str:
    """Words for a coming day: a date, or (hard) something to compute."""
    if not hard:
        return "on " + say_day(today + timedelta(rng.randint(2, 40)), rng)
    options = ("tomorrow", "in {n} days", "in two weeks", "next {d}", "on the first of next month")
    words = rng.choice((*options, "at the end of the month", "a week from now"))
    return words.format(n=rng.choice((3, 4, 5, 10, "five", "ten")), d=rng.choice(WEEKDAYS).capitalize())


def past(day: date, today: date, rng: Random, hard: bool) -> str:
    """Words for a day gone by: its date, or (hard) its distance from today."""
    age = (today - day).days
    if not hard or age < 1:
        return "on " + say_day(day, rng)
    if age == 1:
        return "yesterday"
    if age < 7 and rng.random() < 0.5:
        return "last " + WEEKDAYS[day.weekday()].capitalize()
    return f"{age} days ago"


def period(today: date, rng: Random, hard: bool) -> str:
    """Words for a stretch of time that ended by today."""
    if not hard:
        first = today - timedelta(rng.randint(31, 90))
        return f"from {first.isoformat()} to {(first + timedelta(rng.randint(9, 30))).isoformat()}"
    month = MONTHS[(_month_start(today) - timedelta(rng.randint(1, 85))).month - 1].capitalize()
    return rng.choice(("for last month", "of the last month", "for this month", f"in {month}", f"for {month}",
                       f"for the last {rng.choice((30, 60, 90))} days", "of the past two weeks", "since the start of the year"))  # fmt: skip


def read_day(text: str, today: date, *, ahead: bool) -> date | None:
    """The day that lower-case words name; `ahead` says on which side of today an unclear one lies."""
    if days := _all_days(text, today, ahead):
        return days[0]
    fixed = {"day after tomorrow": 2, "tomorrow": 1, "yesterday": -1, "week from now": 7, "today": 0}
    for words, distance in fixed.items():
        if words in text:
            return today + timedelta(distance)
    if "first of next month" in text:
        return _next_month(today)
    if "end of the month" in text:
        return _next_month(today) - timedelta(1)
    return _distance(text, today) or _weekday(text, today, ahead)


def read_period(text: str, today: date) -> Period | None:
    """The period that lower-case words name, or `None`."""
    days = _all_days(text, today, ahead=False)
    if len(days) > 1:
        return Period(min(days), max(days))
    start = _month_start(today)
    if "start of the year" in text or "this year" in text:
        return Period(date(today.year, 1, 1), None)
    if "this month" in text:
        return Period(start, None)
    if "last month" in text:
        return Period(_month_start(start - timedelta(1)), start - timedelta(1))
    if match := _LAST_DAYS.search(text):
        return Period(today - timedelta(_days(match)), None)
    if match := _IN_MONTH.search(text):
        return _calendar_month(MONTHS.index(match[1]) + 1, today)
    day = read_day(text, today, ahead=False)
    return Period(day, None if "since" in text else day) if day else None


def read_birth_date(text: str) -> date | None:
    """A date with its year, before 2015; other dates in a message are not birth dates."""
    days = _dates(text.lower(), date(2025, 1, 1), ahead=False)
    return next((day for day in days if day.year < _BIRTH_YEARS_END), None)


def _all_days(text: str, today: date, ahead: bool) -> list[date]:
    return [day for day in _dates(text, today, ahead) if day.year >= _BIRTH_YEARS_END]


def _dates(text: str, today: date, ahead: bool) -> list[date]:
    found = [_valid(int(m[1]), int(m[2]), int(m[3])) for m in _ISO.finditer(text)]
    found += [_near(m[3], int(m[2]), int(m[1]), today, ahead) for m in _DOTTED.finditer(text)]
    found += [_near(m[3], MONTHS.index(m[2]) + 1, int(m[1]), today, ahead) for m in _DAY_MONTH.finditer(text)]
    found += [_near(m[3], MONTHS.index(m[1]) + 1, int(m[2]), today, ahead) for m in _MONTH_DAY.finditer(text)]
    return [day for day in found if day is not None]


def _near(year: str | None, month: int, day: int, today: date, ahead: bool) -> date | None:
    if year:
        return _valid(int(year), month, day)
    here = _valid(today.year, month, day)
    if here is None or (here >= today if ahead else here <= today):
        return here
    return _valid(today.year + (1 if ahead else -1), month, day)


def _valid(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _distance(text: str, today: date) -> date | None:
    if match := _IN.search(text):
        return today + timedelta(_days(match))
    if match := _AGO.search(text):
        return today - timedelta(_days(match))
    return None


def _days(match: re.Match[str]) -> int:
    count = 1 if match[1] == "a" else NUMBERS.get(match[1]) or int(match[1])
    return count * (7 if match[2] == "week" else 1)


def _weekday(text: str, today: date, ahead: bool) -> date | None:
    match = _WEEKDAY.search(text)
    if match is None:
        return None
    distance = (WEEKDAYS.index(match[1]) - today.weekday()) % 7
    return today + timedelta((distance or 7) if ahead else distance - 7)


def _calendar_month(month: int, today: date) -> Period:
    first = date(today.year if month <= today.month else today.year - 1, month, 1)
    last = _next_month(first) - timedelta(1)
    return Period(first, last if last < today else None)


def _month_start(day: date) -> date:
    return day.replace(day=1)


def _next_month(day: date) -> date:
    return _month_start(_month_start(day) + timedelta(31))


def _ordinal(number: int) -> str:
    if 10 < number < 20:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
