"""`distill top`: the dashboard's figures in a terminal.

What this file does not know: how they are counted (`dashboard`).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home, home_option

if TYPE_CHECKING:
    from ultracore.distillation.dashboard.overview import Overview

__all__ = ["top_command"]

ROWS = 8
FOREVER = 1e9
Json = dict[str, Any]


@click.command("top", epilog=examples("distill top", "distill top --window 7d", "distill top --once --json"))
@home_option
@click.option("--tenant", help="Whose figures.  [default: the setting]")
@click.option("--window", type=click.Choice(["1h", "24h", "7d", "30d", "all"]), default="24h", show_default=True)
@click.option("--every", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Seconds between looks.")
@click.option("--once", is_flag=True, help="Look once, at all of the log, and end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a look.")
def top_command(home: Path | None, tenant: str | None, window: str, every: float, once: bool, as_json: bool) -> None:
    """Show what the gateways on a log do now: agreement, coverage, savings, latency, reasons, models, alerts."""
    from ultracore.distillation.cli.home import settings_at
    from ultracore.distillation.dashboard.overview import Overview
    from ultracore.distillation.events.opening import open_store

    folder = find_home(home)
    settings = settings_at(folder)
    store = open_store(folder, settings)
    try:
        view, whose = Overview(store, settings), tenant or settings.tenant
        if once:
            _print(view.read(whose, window, patience=FOREVER), as_json)
        else:
            with contextlib.suppress(KeyboardInterrupt):
                _follow(view, whose, window, every, as_json)
    finally:
        store.close()


def _follow(view: Overview, tenant: str, window: str, every: float, as_json: bool) -> None:
    if as_json:
        while True:
            _print(view.read(tenant, window, patience=every), as_json)
            time.sleep(every)
    with Screen(_screen(view.read(tenant, window)), console=Console(), screen=True, auto_refresh=False) as screen:
        while True:
            time.sleep(every)
            screen.update(_screen(view.read(tenant, window)), refresh=True)


def _print(figures: Json, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(figures))
    else:
        Console().print(_screen(figures))


def _screen(figures: Json) -> RenderableType:
    tables = (_sums(figures), _tools(figures["tools"]), _reasons(figures["reasons"]), _story(figures["timeline"]))
    shown = [Padding(table, (1, 0, 0, 0)) for table in tables if table.row_count]
    alerts = [Text(f"! {_plain(a['name'])}: {_plain(a['message'])}", style="red") for a in _open(figures["alerts"])]
    progress = Padding(Text(_progress(figures["log"]), style="dim"), (1, 0, 0, 0))
    return Group(Text(_headline(figures), style="bold"), *alerts, *shown, progress)


def _headline(figures: Json) -> str:
    model = figures["model"]
    return (
        f"model {_plain(model['model_id'])} answers" if model else "no student answers: everything goes to the teacher"
    )


def _sums(figures: Json) -> Table:
    totals, latency, wanted = figures["totals"], figures["latency"], _percent(figures["floor"])
    table = _table(f"window {figures['window']['name']}", "")
    rows = {
        "true share since deployment": _between(figures["agreement"]),
        "live agreement": f"{_percent(totals['agreement'])} of {totals['labelled']:,} audits, wanted {wanted}",
        "answered here": f"{_percent(totals['coverage'])}, {totals['sent']:,} of {totals['decisions']:,} decisions",
        "teacher calls saved": f"{_percent(totals['calls_saved_share'])}, {totals['calls_saved']:,} net of audits",
        "money saved": _money(totals["dollars_saved"]),
        **{f"{who}, p50 p95 p99": _latency(row) for who, row in sorted(latency.items())},
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _tools(rows: list[Json]) -> Table:
    table = _table("tool", "decisions", "answered here", "audits", "agree", numbers=True)
    for row in rows[:ROWS]:
        cells = (f"{row['decisions']:,}", _percent(row["coverage"]), f"{row['labelled']:,}", _percent(row["agreement"]))
        table.add_row(Text(_plain(row["tool"])), *cells)
    return table


def _reasons(rows: list[Json]) -> Table:
    table = _table("why the teacher", "decisions", "share", numbers=True)
    for row in rows[:ROWS]:
        table.add_row(Text(_plain(row["reason"])), f"{row['n']:,}", _percent(row["share"]))
    return table


def _story(rows: list[Json]) -> Table:
    table = _table("when (UTC)", "what happened")
    for row in rows[:ROWS]:
        table.add_row(row["time"][:19].replace("T", " "), Text(row["words"]))
    return table


def _table(*names: str, numbers: bool = False) -> Table:
    """A table; its first column is words, and the others, on request, are numbers."""
    table = Table(*names, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right" if numbers else "left"
    return table


def _between(found: list[Json] | None) -> str:
    return next((f"{row['lower']:.1%} to {row['upper']:.1%}" for row in found or () if row["labelled"]), "unknown")


def _open(alerts: list[Json]) -> list[Json]:
    return [alert for alert in alerts if alert["resolved"] is None]


def _progress(log: Json) -> str:
    if log["problem"]:
        return f"the figures do not follow the log: {log['problem']}"
    return f"{log['position']:,} of {log['last']:,} events read"


def _latency(row: Json) -> str:
    return "  ".join(f"{row[p]:,.1f} ms" for p in ("p50", "p95", "p99"))


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"${value:,.2f}"


def _plain(text: str) -> str:
    from ultracore.distillation.log.words import plain

    return plain(text, 60)
