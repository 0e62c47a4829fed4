"""`distill log`: look into the decision log; it is read, never changed.

What this file does not know: what the events mean.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home

__all__ = ["log_group"]

WIDTH = 160
HOME = click.option("--home", type=click.Path(path_type=Path), help="Folder of the log, or of a report.")


@click.group("log", epilog=examples("distill log stats", "distill log tail -n 5 --home distill-report"))
def log_group() -> None:
    """Look into the decision log."""


@log_group.command("stats", epilog=examples("distill log stats --home distill-report"))
@HOME
def stats(home: Path | None) -> None:
    """Count the events by type, with the time of the first and the last."""
    store, folder = _open(home)
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for event in store.read():
        name, time = event.event_type, event.metadata.timestamp
        counts[name] += 1
        first.setdefault(name, time)
        last[name] = time
    table = Table("event", "count", "first", "last", box=None, pad_edge=False)
    for name, n in counts.most_common():
        table.add_row(name, f"{n:,}", first[name][:19], last[name][:19])
    console = Console()
    console.print(f"{folder}: {counts.total():,} events", markup=False, highlight=False, soft_wrap=True)
    console.print(table)


@log_group.command("tail", epilog=examples("distill log tail -n 3", "distill log tail --json | jq .data"))
@HOME
@click.option("-n", "count", type=click.IntRange(min=1), default=10, show_default=True, help="How many events.")
@click.option("--json", "as_json", is_flag=True, help="Whole events, one JSON object a line.")
def tail(home: Path | None, count: int, as_json: bool) -> None:
    """Print the newest events."""
    store, _ = _open(home)
    last: int = store.last_position()
    for event in store.read(after=max(0, last - count)):
        value = event.to_dict()
        click.echo(msgspec.json.encode(value).decode() if as_json else _line(value))


def _open(home: Path | None) -> tuple[Any, Path]:
    from ultracore.distillation.events.sqlite import open_store

    folder = find_home(home)
    return open_store(folder), folder


def _line(value: dict[str, Any]) -> str:
    metadata = value["metadata"]
    text = msgspec.json.encode(value["data"]).decode()
    short = text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
    return f"{metadata['position']:>8}  {metadata['timestamp'][:19]}  {metadata['event_type']:<24} {short}"
