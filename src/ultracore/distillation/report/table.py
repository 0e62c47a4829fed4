"""A result in the terminal: the verdict, then the figures behind it.

What this file does not know: the page, which has the curves and the disagreements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ultracore.distillation.report.charts import agreements
from ultracore.distillation.report.result import Level, Result
from ultracore.distillation.report.words import (
    clip,
    count,
    duration,
    interval_text,
    level_name,
    money,
    percent,
    sent_share,
    taught,
    unit,
    verdict,
)

__all__ = ["print_result"]

MAX_TOOLS = 12
COLOURS = {"good": "green", "warn": "yellow", "plain": "cyan"}


def print_result(result: Mapping[str, Any], console: Console) -> None:
    """Print what a run found; whatever is missing is left out.

    Args:
        result: A run's result, as in `report.result.Result`.
        console: Where to print; its width decides how tables wrap.
    """
    run = cast("Result", result)
    for part in (_verdict(run), _levels(run), _comparison(run), _tools(run), _facts(run), _steps(run)):
        if part is not None:
            console.print(part, soft_wrap=isinstance(part, Text))  # text is to be pasted into a shell


def _verdict(result: Result) -> Panel:
    said = verdict(result)
    kind = clip((result.get("data") or {}).get("kind"), 40)
    body = Text(said.headline, style="bold")
    for sentence in said.details:
        body.append(f"\n{sentence}", style="not bold")
    if "synthetic" in kind.lower():
        body.append("\nSynthetic data: not what your agents would save.", style="not bold yellow")
    return Panel(body, title=Text(said.badge), title_align="left", border_style=COLOURS[said.tone], expand=False)


def _levels(result: Result) -> Table | None:
    levels = sorted((result.get("levels") or {}).items(), key=lambda item: float(item[0]))
    if not levels:
        return None
    table = _table(
        "Levels of agreement", ["demanded", "certified", "answered", "agreement", "teacher calls saved", "n"]
    )
    for key, level in levels:
        _row(table, _level(result, float(key), level))
    return table


def _level(result: Result, target: float, level: Level) -> list[str]:
    certified = level.get("certified")
    more = level.get("more_units")
    agreement = level.get("certified_agreement") if certified else None
    figures = [percent(sent_share(level)), percent(level.get("agreement") if agreement is None else agreement)]
    return [
        level_name(target),
        "yes" if certified else f"no, about {count(more)} more {unit(result, more)}" if more else "no",
        *(figures if certified else (f"({figure})" for figure in figures)),
        percent(level.get("calls_saved")) if certified else "none yet",
        count(level.get("n")),
    ]


def _comparison(result: Result) -> Table | None:
    rows = agreements(result)
    if not rows:
        return None
    test = result.get("test") or {}
    n = f" ({count(test.get('n'))} test decisions)" if test.get("n") else ""
    table = _table(f"Agreement with the teacher{n}", ["who", "tool and arguments", "tool alone"])
    for who, tool, whole in rows:
        ends = (test.get("interval") or {}).get("whole_call") if who == "student" else None
        _row(table, [who, f"{percent(whole)} {interval_text(ends)}".strip(), percent(tool)])
    return table


def _tools(result: Result) -> Table | None:
    rows = sorted(result.get("per_tool") or [], key=lambda row: -(row.get("n") or 0))
    if not rows:
        return None
    some = f" ({MAX_TOOLS} of {len(rows)})" if len(rows) > MAX_TOOLS else ""
    table = _table(f"Tools{some}", ["tool", "n", "tool and arguments", "tool alone", "sent", "sent that agree"])
    for row in rows[:MAX_TOOLS]:
        shares = [percent(row.get("whole_call")), percent(row.get("tool_agreement"))]
        sent = [count(row.get("sent")), percent(row.get("sent_agreement"))]
        _row(table, [clip(row.get("tool"), 40), count(row.get("n")), *shares, *sent])
    return table


def _facts(result: Result) -> Table | None:
    data, latency, savings = result.get("data") or {}, result.get("latency_ms") or {}, result.get("savings") or {}
    facts = [
        (
            "data",
            _joined([data.get("id"), *(f"{count(data.get(k))} {k}" for k in ("decisions", "tasks") if k in data)]),
        ),
        ("teacher", taught(data)),
        ("student", clip(result.get("model_id"), 80)),
        ("trained in", duration(result.get("train_seconds")) if "train_seconds" in result else ""),
        ("latency", _latency(latency.get("p50"), latency.get("p99"))),
        ("saves a year", _joined([_sum(savings), savings.get("basis")])),
        ("not used", "; ".join(_problem(p) for p in (result.get("errors") or [])[:3])),
        ("seed", clip(result.get("seed"), 20)),
        ("again", clip(result.get("command"), 400)),
    ]
    table = Table.grid(padding=(0, 2))
    for name, value in facts:
        if value:
            table.add_row(Text(name, style="dim"), Text(value))
    return table if table.row_count else None


def _steps(result: Result) -> Text | None:
    steps = [f"\n  {i}. {clip(step, 300)}" for i, step in enumerate(result.get("next_steps") or [], 1)]
    return Text.assemble(("\nWhat to do next", "bold"), *steps) if steps else None


def _problem(problem: Mapping[str, Any]) -> str:
    return f"{clip(problem.get('reason'), 120)} (lines {clip(problem.get('lines'), 60)})"


def _sum(savings: Mapping[str, Any]) -> str:
    return money(savings["yearly_usd"]) if savings.get("yearly_usd") is not None else ""


def _latency(p50: float | None, p99: float | None) -> str:
    return _joined([f"{value:.3g} ms {name}" for name, value in (("median", p50), ("p99", p99)) if value is not None])


def _joined(parts: Iterable[object]) -> str:
    return ", ".join(clip(part, 120) for part in parts if part)


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 or column == "certified" else "right", overflow="fold")
    return table


def _row(table: Table, cells: Iterable[str]) -> None:
    """Cells as `Text`: a tool's name is never read as markup."""
    table.add_row(*(Text(cell) for cell in cells))
