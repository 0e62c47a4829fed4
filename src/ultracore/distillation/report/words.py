"""A result in plain words: the verdict, and how numbers are written; the same for terminal and page.

What this file does not know: colours, tags and columns.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Literal, NamedTuple, TypeGuard

from ultracore.distillation.report.result import Data, Level, Result

__all__ = [
    "Verdict",
    "call_text",
    "calls_of",
    "clean",
    "clip",
    "count",
    "duration",
    "interval_text",
    "level_name",
    "money",
    "percent",
    "primary_level",
    "sent_share",
    "taught",
    "unit",
    "verdict",
]

DEFAULT_LEVEL = 0.93
NOTHING = "–"
MAX_CALLS, MAX_ARGUMENTS = 8, 30
NAME_SIZE, REASON_SIZE, VALUE_SIZE = 120, 1200, 2000

Tone = Literal["good", "warn", "plain"]

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, which a terminal would obey, and the overrides that let text show in another order."""


class Verdict(NamedTuple):
    """What a customer should know first.

    Attributes:
        tone: Whether there is something to take over.
        badge: Two or three words.
        headline: One sentence.
        details: What it means, a sentence each.
        share: The headline's figure (0..1), where there is one.
    """

    tone: Tone
    badge: str
    headline: str
    details: tuple[str, ...]
    share: float | None


def percent(value: object, digits: int = 1) -> str:
    """A fraction as a percentage.

    Example:
        >>> percent(0.934), percent(0.93, 0), percent(None)
        ('93.4%', '93%', '–')
    """
    return f"{100 * value:.{digits}f}%" if _is_number(value) else NOTHING


def level_name(level: float) -> str:
    """A level without needless digits: 0.93 is 93%, 0.995 is 99.5%."""
    return f"{100 * level:.4g}%"


def count(value: object) -> str:
    """A number with thousands separated; integers stay integers."""
    if not _is_number(value):
        return NOTHING
    return f"{value:,.0f}" if float(value) == round(float(value)) else f"{value:,.2f}"


def money(value: object) -> str:
    """US dollars: whole from 100 on, with as many decimals as a small price needs.

    Example:
        >>> money(12345.6), money(0.004), money(2.5)
        ('$12,346', '$0.004', '$2.50')
    """
    if not _is_number(value):
        return NOTHING
    if abs(value) >= 100:
        return f"${value:,.0f}"
    return f"${value:.2f}" if abs(value) >= 0.1 or value == 0 else f"${value:.2g}"


def duration(seconds: object) -> str:
    """Seconds in a unit that a person would choose.

    Example:
        >>> duration(8.24), duration(312), duration(9000)
        ('8.2 s', '5.2 min', '2.5 h')
    """
    if not _is_number(seconds):
        return NOTHING
    for size, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"


def interval_text(interval: Any) -> str:
    """An interval of fractions as `[lo, hi]` in percent; "" where there is none."""
    if not isinstance(interval, list | tuple) or len(interval) != 2 or not all(_is_number(x) for x in interval):
        return ""
    return f"[{percent(interval[0])}, {percent(interval[1])}]"


def clean(value: object) -> str:
    """Text of unknown origin, safe to print: no control characters, no reordering, valid Unicode."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    return _UNPRINTABLE.sub("\ufffd", text)


def taught(data: Data) -> str:
    """The teacher, and how many decisions of others were learned from beside its own."""
    teacher, others = clip(data.get("teacher"), 80), data.get("others")
    return f"{teacher} ({count(others)} decisions of others were learned from, too)" if others else teacher


def clip(value: object, size: int) -> str:
    """The beginning of a cleaned text, marked where it was cut."""
    text = value if isinstance(value, str) else clean(value)
    return clean(text) if len(text) <= size else clean(text[: size - 1]) + "…"


def calls_of(value: Any) -> list[tuple[str, dict[str, str]]] | None:
    """The calls of one side of a disagreement as (name, {argument: JSON}); `None` where it is plain text."""
    if value is None:
        return []
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(c, dict) and "name" in c for c in value):
        return None
    return [(clip(call["name"], NAME_SIZE), _arguments(call.get("arguments"))) for call in value[:MAX_CALLS]]


def call_text(value: Any) -> str:
    """One side of a disagreement on one line."""
    calls = calls_of(value)
    if calls is None:
        return clip(value, VALUE_SIZE) if isinstance(value, str) else _json(value)
    lines = (f"{name}({', '.join(f'{key}={text}' for key, text in args.items())})" for name, args in calls)
    return "; ".join(lines) or "text reply"


def primary_level(result: Result) -> tuple[float, Level] | None:
    """The level that the verdict is about: the certificate's target, else 93%, else the lowest."""
    levels = sorted((float(key), level) for key, level in (result.get("levels") or {}).items())
    if not levels:
        return None
    target = (result.get("certificate") or {}).get("target")
    wanted = float(target) if _is_number(target) else DEFAULT_LEVEL
    return next((pair for pair in levels if math.isclose(pair[0], wanted)), levels[0])


def sent_share(level: Level) -> float:
    """Share of all requests that the student answers: under the certificate where that was measured."""
    certified = level.get("certified_coverage")
    return float(certified if level.get("certified") and certified is not None else level.get("coverage") or 0.0)


def verdict(result: Result) -> Verdict:
    """Say what share can be taken over at which guarantee, or that nothing is certified yet."""
    chosen = primary_level(result)
    if chosen is None:
        return _unjudged(result)
    target, level = chosen
    if not level.get("certified"):
        return _refused(result, target, level)
    return _certified(result, target, level)


def unit(result: Result, number: int | None = None) -> str:
    """What independent evidence is counted in: tasks or episodes."""
    name = clip((result.get("split") or {}).get("by") or "episode", 20).rstrip("s")
    return name if number == 1 else f"{name}s"


def _certified(result: Result, target: float, level: Level) -> Verdict:
    sent = sent_share(level)
    calls = (result.get("data") or {}).get("calls_share")
    of_calls = min(1.0, sent / calls) if calls else None
    share = sent if of_calls is None else of_calls
    what = "requests" if of_calls is None else "tool calls"
    headline = f"The student can take over about {percent(share, 0)} of the teacher's {what}"
    if sent == 0:
        headline = "Certified, but the student was sure enough of none of the test calls"
    only_tool = (result.get("certificate") or {}).get("level") == "tool"
    agree = "name the same tool as" if only_tool else "agree with"
    promise = f"of the calls it sends by itself, at least {level_name(target)} {agree} the teacher"
    details = [
        f"Guaranteed: {promise}{_confidence(result)}.",
        f"It answers {percent(sent)} of all requests; the rest still goes to the teacher, automatically.",
        _measured(level),
        "Arguments were not recorded, so only the choice of the tool is certified." if only_tool else "",
    ]
    return Verdict("good", f"Certified at {level_name(target)}", headline, tuple(filter(None, details)), share)


def _measured(level: Level) -> str:
    agreement = level.get("certified_agreement")
    agreement = level.get("agreement") if agreement is None else agreement
    if agreement is None:
        return ""
    n = level.get("n")
    if not n:
        return f"On test tasks that it never saw, {percent(agreement)} of the calls it sent agreed with the teacher."
    sent = count(round(sent_share(level) * n))
    return (
        f"On test tasks that it never saw ({count(n)} decisions), {percent(agreement)} of the {sent} calls it sent "
        "agreed with the teacher."
    )


def _refused(result: Result, target: float, level: Level) -> Verdict:
    more = level.get("more_units")
    need = f"About {count(more)} more {unit(result, more)} are needed to calibrate on." if more else ""
    coverage, agreement = level.get("coverage"), level.get("agreement")
    details = [
        f"An agreement of {level_name(target)} cannot be guaranteed from this much data. {need}".strip(),
        f"The reason: {clip(level.get('reason'), REASON_SIZE)}." if level.get("reason") else "",
        f"Without a guarantee, on the test tasks: it would answer {percent(coverage)} of the requests, "
        f"and {percent(agreement)} of those answers agree with the teacher."
        if coverage and agreement is not None
        else "",
        _lower_certified(result, target),
    ]
    headline = "Not certified yet: every request still goes to the teacher"
    return Verdict("warn", "Not certified", headline, tuple(filter(None, details)), None)


def _lower_certified(result: Result, target: float) -> str:
    levels = [(float(key), level) for key, level in (result.get("levels") or {}).items() if level.get("certified")]
    lower = [pair for pair in levels if pair[0] < target]
    if not lower:
        return ""
    best, level = max(lower, key=lambda pair: pair[0])
    return f"At {level_name(best)} it is certified, and would answer {percent(sent_share(level))} of all requests."


def _unjudged(result: Result) -> Verdict:
    test = result.get("test") or {}
    agreement = test.get("whole_call")
    headline = "This run did not ask for a certificate"
    if agreement is not None:
        headline = f"The student agrees with the teacher on {percent(agreement)} of the test decisions"
    details = ("Nothing is certified, so every request still goes to the teacher.",)
    return Verdict("plain", "No certificate", headline, details, agreement)


def _confidence(result: Result) -> str:
    delta = (result.get("certificate") or {}).get("delta")
    return f", with {level_name(1 - float(delta))} confidence" if _is_number(delta) else ""


def _arguments(arguments: Any) -> dict[str, str]:
    if arguments is None:
        return {"…": "not recorded"}
    if not isinstance(arguments, dict):
        return {"…": clip(arguments, VALUE_SIZE)}
    items = list(arguments.items())[:MAX_ARGUMENTS]
    return {clip(name, NAME_SIZE): _json(value) for name, value in items}


def _json(value: Any) -> str:
    return clip(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str), VALUE_SIZE)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
