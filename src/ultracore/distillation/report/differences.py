"""The decisions where student and teacher differ, to browse and to filter.

All text here was written by somebody else: it is clipped, escaped and never interpreted. What this
file does not know: why they differ.
"""

from __future__ import annotations

from typing import Any

from ultracore.distillation.report.html import Html, el, join
from ultracore.distillation.report.result import Disagreement, Result
from ultracore.distillation.report.words import call_text, calls_of, clip, count, percent

__all__ = ["MAX_BYTES", "differences"]

MAX_ITEMS = 300
MAX_BYTES = 700_000
"""Of the list; with the 4.8 MB of plotly.js the page stays well under 6 MB."""

TURNS = 5
TURN_SIZE, CALL_SIZE, LINE_SIZE = 320, 500, 160


def differences(result: Result) -> Html | None:
    """The section with the list, the calls that were sent first and then the surest."""
    rows = (result.get("disagreements") or [])[:MAX_ITEMS]
    if not rows:
        return None
    ordered = sorted(rows, key=lambda row: (not row.get("sent"), -(row.get("confidence") or 0.0)))
    items = _within(MAX_BYTES, [_item(row) for row in ordered])
    left = f" {count(len(rows) - len(items))} more are in result.json." if len(items) < len(rows) else ""
    return el(
        "section",
        el("h2", "Where student and teacher differ", id="differences-title"),
        el("p", f"{count(len(items))} test decisions; those that the gate would have sent come first.{left}"),
        el(
            "div",
            _filters(sorted({_tool(row) for row in ordered})),
            el("p", id="found", class_="found", role="status", aria_live="polite"),
            el("ul", items, id="differences-list", class_="differences"),
            el("button", "Show more", id="show-more", type="button", hidden=True),
            class_="card",
        ),
        id="differences",
        aria_labelledby="differences-title",
    )


def _within(size: int, items: list[Html]) -> list[Html]:
    kept = []
    for item in items:
        size -= len(item.encode())
        if size < 0:
            break
        kept.append(item)
    return kept


def _filters(tools: list[str]) -> Html:
    options = [el("option", "all tools", value=""), *(el("option", clip(tool, 60), value=tool) for tool in tools)]
    sent = [("", "all"), ("yes", "would be sent"), ("no", "kept for the teacher")]
    words = el("input", id="find", type="search", placeholder="any words, ids, arguments …", autocomplete="off")
    least = el("input", id="least", type="range", min=0, max=1, step=0.05, value=0)
    return el(
        "div",
        el("label", "Find", words, class_="wide"),
        el("label", "Teacher's tool", el("select", options, id="tool")),
        el("label", "Student's call", el("select", [el("option", t, value=v) for v, t in sent], id="sent")),
        el("label", el("span", "Confidence at least ", el("output", "0%", id="least-value")), least),
        class_="filters",
    )


def _item(row: Disagreement) -> Html:
    confidence = row.get("confidence")
    lines = [("Teacher", row.get("teacher")), ("Student", row.get("student"))]
    what = el("span", [_line(who, value) for who, value in lines], class_="what")
    flag = join(el("span", "would be sent", class_="flag"), " ") if row.get("sent") else None
    place = f"{clip(row.get('task'), 40)}, step {count(row.get('step'))}, confidence {percent(confidence, 0)}"
    summary = el("summary", what, el("span", flag, place, class_="meta"))
    return el(
        "li",
        el("details", summary, el("div", _sides(row), _reason(row), _turns(row), class_="body")),
        data_tool=_tool(row),
        data_sent="yes" if row.get("sent") else "no",
        data_confidence=confidence,
    )


def _line(who: str, value: Any) -> Html:
    return el("span", el("i", who), " ", el("code", clip(call_text(value), LINE_SIZE)), class_="line")


def _sides(row: Disagreement) -> Html:
    teacher, student = row.get("teacher"), row.get("student")
    return el(
        "div",
        el("div", el("h4", "Teacher"), _call(teacher, student), class_="side"),
        el("div", el("h4", "Student"), _call(student, teacher), class_="side"),
        class_="sides",
    )


def _call(value: Any, other: Any) -> Html:
    """The calls, with every argument marked that the other side does not have in the same place."""
    calls, others = calls_of(value), calls_of(other) or []
    if not calls:
        return el("p", clip(call_text(value), CALL_SIZE), class_="call")
    blocks: list[Html] = []
    for i, (name, arguments) in enumerate(calls):
        there_name, there = others[i] if i < len(others) else ("", {})
        blocks.append(el("span", name if there_name == name else el("mark", name), class_="tool"))
        for key, text in arguments.items():
            line = f"{key}: {clip(text, CALL_SIZE)}"
            same = there_name != name or there.get(key) == text
            blocks.append(el("span", line if same else el("mark", line), class_="arg"))
    return el("div", blocks, class_="call")


def _reason(row: Disagreement) -> Html | None:
    reason = row.get("reason")
    return el("p", "Gate: ", clip(reason, 200)) if reason else None


def _turns(row: Disagreement) -> Html | None:
    turns = (row.get("context") or [])[-TURNS:]
    if not turns:
        return None
    pairs = [[el("dt", clip(t.get("role"), 30)), el("dd", clip(t.get("text"), TURN_SIZE))] for t in turns]
    return join(el("h4", "What both saw last"), el("dl", pairs, class_="turns"))


def _tool(row: Disagreement) -> str:
    calls = calls_of(row.get("teacher"))
    if calls is None:
        return clip(row.get("teacher"), 60).split("(", 1)[0] or "(reply)"
    return clip(calls[0][0], 60) if calls else "(reply)"
