"""`distill log stats | export | sql`: the log as figures, as a file, and for those who write SQL.

What this file does not know: what is counted (`log.statistics`).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.log import at_moment, filters, log_file, of_home, open_log, wanted_of

__all__ = ["export_command", "sql_command", "stats_command"]

MAX_CELL = 200


@click.command("stats", epilog=examples("distill log stats", "distill log stats --as-of 5000"))
@of_home
@at_moment
@click.option("--tenant", help="Only this tenant's events.")
@click.option("--agent", help="Only this agent's decisions and sessions.")
def stats_command(home: Path | None, as_of: str | None, tenant: str | None, agent: str | None) -> None:
    """Count the events by type, decisions by who made them and why, with the time of the first and the last.

    What was counted is kept in the home folder, so that the next time only new events are read.
    """
    from ultracore.distillation.events.moment import parse_moment
    from ultracore.distillation.events.projection import Projector, project
    from ultracore.distillation.log.statistics import Statistics, counts

    store, folder = open_log(home)
    if as_of:
        state = project(store, Statistics(), parse_moment(as_of))
    else:
        projector = Projector(store, Statistics(), folder / "projections" / "statistics.db")
        projector.catch_up()
        state = projector.state
    found = counts(state, tenant, agent)
    table = Table("event", "", "count", "first", "last", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    before = ""
    for row in found:
        name = "" if row.type == before else row.type
        table.add_row(*map(Text, (name, row.detail, f"{row.n:,}", row.first[:19], row.last[:19])))
        before = row.type
    console = Console()
    total = sum(row.n for row in found)
    console.print(f"{folder}: {total:,} events; {store.durability}", markup=False, highlight=False, soft_wrap=True)
    console.print(table)


@click.command(
    "export",
    epilog=examples("distill log export --to log.jsonl.zst", "distill log export --to x.jsonl --type ALERT_RAISED"),
)
@of_home
@filters
@at_moment
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path), help="FILE.jsonl, .jsonl.gz or .jsonl.zst."
)
def export_command(home: Path | None, target: Path, as_of: str | None, **chosen: Any) -> None:
    """Write events to a file, one JSON object a line, whole or not at all."""
    from ultracore.distillation.events.moment import known_at, parse_moment

    store, _ = open_log(home)
    n = 0
    with _whole_file(target) as file:
        for event in store.read(**wanted_of(chosen), **known_at(parse_moment(as_of))):
            file.write(msgspec.json.encode(event.to_dict()) + b"\n")
            n += 1
    click.echo(f"{target}: {n:,} events")


@click.command(
    "sql",
    epilog=examples(
        'distill log sql "SELECT type, count(*) FROM events GROUP BY type"',
        "distill log sql \"SELECT position, payload ->> 'tool_selected' FROM log WHERE type = 'AGENT_TOOL_SELECTED'\"",
    ),
)
@click.argument("query")
@of_home
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")
def sql_command(query: str, home: Path | None, as_json: bool) -> None:
    """Ask a log in SQLite in SQL: table `events`, view `log` with each event's `payload`; nothing can be changed."""
    import apsw.ext

    from ultracore.distillation.events.sqlite.sql import sql_connection

    connection = sql_connection(log_file(home))
    try:
        details = apsw.ext.query_info(connection, query)
        if not details.is_readonly or details.query_remaining:
            raise click.UsageError("one query that only reads, please: SELECT ...")
        _print_rows([name for name, _ in details.description], connection.execute(query), as_json)
    except apsw.Error as error:
        raise click.UsageError(f"{error}; the table is `events`, the view with payloads `log`") from None
    finally:
        connection.close()


def _print_rows(names: list[str], rows: Any, as_json: bool) -> None:
    from ultracore.distillation.log.words import plain

    if as_json:
        for row in rows:
            click.echo(msgspec.json.encode(dict(zip(names, row, strict=True))))
        return
    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(plain("" if cell is None else cell, MAX_CELL)) for cell in row))
    Console().print(table)


@contextmanager
def _whole_file(target: Path) -> Iterator[IO[bytes]]:
    """A file that appears when everything is in it; compressed as its name says."""
    draft = target.with_name(f".{target.name}.draft")
    try:
        with _opened(draft, target.suffix) as file:
            yield file
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _opened(draft: Path, suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.open(draft, "wb", compresslevel=6)
    if suffix == ".zst":
        import zstandard

        return zstandard.open(draft, "wb")
    return draft.open("wb")
