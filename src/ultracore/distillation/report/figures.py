"""A figure as the page shows it: what it says, the plot, and the same numbers as a table.

What this file does not know: how a plot is drawn (`charts`, and the page's script).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ultracore.distillation.report import charts
from ultracore.distillation.report.html import Child, Html, el, table
from ultracore.distillation.report.result import Result, Test
from ultracore.distillation.report.words import clip, count, interval_text, percent

__all__ = ["MAX_ROWS", "figure_cards"]

MAX_ROWS = 200
Rows = list[list[Child]]


def figure_cards(result: Result, names: Sequence[str], figures: dict[str, Any]) -> list[Html]:
    """The named figures as cards, those without data left out.

    Args:
        result: The run's result.
        names: Which figures, in order.
        figures: Figures that exist, by name.
    """
    return [_card(result, name) for name in names if name in figures]


def _card(result: Result, name: str) -> Html:
    title, caption, head, rows = CARDS[name](result)
    numbers = table(head, rows[:MAX_ROWS], f"Numbers of: {title}")
    return el(
        "figure",
        el("h3", title),
        el("figcaption", caption),
        el("div", class_="plot", data_figure=name, role="img", aria_label=f"{title}. {caption} The numbers follow."),
        el("details", el("summary", "Show the numbers"), numbers),
        class_="card",
    )


def _risk_coverage(result: Result) -> tuple[str, str, list[str], Rows]:
    curve = result["risk_coverage"]
    step = max(1, len(curve["coverage"]) // 25)
    lower, upper = curve.get("lower") or [], curve.get("upper") or []
    rows: Rows = []
    for i in range(0, len(curve["coverage"]), step):
        ends = interval_text([lower[i], upper[i]]) if i < min(len(lower), len(upper)) else ""
        rows.append([percent(curve["coverage"][i]), percent(curve["agreement"][i]), ends])
    caption = "The student answers what it is surest of first. The further it goes, the more often it differs."
    return "The more it answers, the less it agrees", caption, ["Answered", "Agreement", "95% interval"], rows


def _calibration(result: Result) -> tuple[str, str, list[str], Rows]:
    bins = result["calibration_bins"]
    rows: Rows = [[percent(b.get("confidence")), percent(b.get("agreement")), count(b.get("n"))] for b in bins]
    known = _calibration_error(result.get("test") or {})
    caption = f"On the dotted line, a stated 90% is right 90 times in 100. Larger dots hold more decisions.{known}"
    return "Does it know what it knows?", caption, ["Stated", "Observed", "Decisions"], rows


def _calibration_error(test: Test) -> str:
    if test.get("ece") is None:
        return ""
    said = f" Expected calibration error: {percent(test.get('ece'))}"
    chance = test.get("ece_by_chance")
    if chance is None:
        return f"{said}."
    most = max(chance["upper"], chance.get("upper_by_unit") or 0.0)
    return f"{said}; with a perfect calibration {percent(chance['mean'])} by chance alone, and up to {percent(most)}."


def _comparison(result: Result) -> tuple[str, str, list[str], Rows]:
    rows: Rows = [[who, percent(whole), percent(tool)] for who, tool, whole in charts.agreements(result)]
    test = result.get("test") or {}
    known = [f"On {count(test.get('n'))} test decisions, whether sent or not." if test.get("n") else ""]
    if test.get("normalised") is not None:
        known.append(f"The student reaches {percent(test.get('normalised'))} of the teacher's own consistency.")
    caption = " ".join([*filter(None, known), "Bar: tool and arguments. Mark: tool alone."])
    return "Between simple methods and the teacher itself", caption, ["Who", "Tool and arguments", "Tool alone"], rows


def _per_tool(result: Result) -> tuple[str, str, list[str], Rows]:
    tools = sorted(result["per_tool"], key=lambda row: -(row.get("n") or 0))
    rows: Rows = [
        [
            clip(row.get("tool"), 80),
            count(row.get("n")),
            percent(row.get("whole_call")),
            percent(row.get("tool_agreement")),
            count(row.get("sent")),
            percent(row.get("sent_agreement")),
        ]
        for row in tools
    ]
    some = f" The {charts.MAX_TOOLS} most frequent of {len(tools)} are drawn." if len(tools) > charts.MAX_TOOLS else ""
    caption = f"Test decisions by the tool that the teacher chose, most frequent first.{some}"
    head = ["Tool", "n", "Tool and arguments", "Tool alone", "Sent", "Sent that agree"]
    return "Which tools it has learned", caption, head, rows


def _learning_curve(result: Result) -> tuple[str, str, list[str], Rows]:
    rows: Rows = [
        [
            count(p.get("tasks")),
            count(p.get("decisions")),
            percent(p.get("whole_call")),
            interval_text(p.get("interval")),
        ]
        for p in result["learning_curve"]
    ]
    caption = "Agreement on the same unseen tasks, after learning from more and more of the training tasks."
    head = ["Tasks", "Decisions", "Agreement", "95% interval"]
    return "Would more data help?", caption, head, rows


CARDS = {
    "risk_coverage": _risk_coverage,
    "calibration": _calibration,
    "comparison": _comparison,
    "per_tool": _per_tool,
    "learning_curve": _learning_curve,
}
