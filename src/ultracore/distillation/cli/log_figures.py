"""`distill log stats | export | sql`: the log as figures, as a file, and for those who write SQL.

What this file does not know: what is counted (`log.statistics`).
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import click
import msgspec

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.files import whole_file
from ultracore.distillation.cli.home import home_option
from ultracore.distillation.cli.log import at_moment, filters, log_file, open_log, wanted_of
from ultracore.distillation.cli.tables import print_rows, print_table

__all__ = ["export_command", "sql_command", "stats_command"]


@click.command("stats", epilog=examples("distill log stats", "distill log stats --as-of 5000"))
@home_option
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
    click.echo(f"{folder}: {sum(row.n for row in found):,} events; {store.durability}")
    names = ("event", "how", "count", "first", "last")
    rows = ((row.type, row.detail, f"{row.n:,}", row.first[:19], row.last[:19]) for row in found)
    print_table(names, rows, right=["count"])


@click.command(
    "export",
    epilog=examples("distill log export --to log.jsonl.zst", "distill log export --to x.jsonl --type ALERT_RAISED"),
)
@home_option
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
    with whole_file(target) as draft, _opened(draft, target.suffix) as file:
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
@home_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")
def sql_command(query: str, home: Path | None, as_json: bool) -> None:
    """Ask a log in SQLite in SQL: table `events`, view `log` with each event's `payload`; nothing can be changed."""
    import apsw.ext

    from ultracore.distillation.events.sqlite.sql import sql_connection

    connection = sql_connection(log_file(home))
    try:
        details = apsw.ext.query_info(connection, query)
        if not details.is_readonly or details.query_remaining or not details.description:
            raise click.UsageError("one query that only reads, please: SELECT ...")
        print_rows([name for name, _ in details.description], connection.execute(query), as_json=as_json)
    except apsw.Error as error:
        raise click.UsageError(f"{error}; the table is `events`, the view with payloads `log`") from None
    finally:
        connection.close()


def _opened(draft: Path, suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.open(draft, "wb", compresslevel=6)
    if suffix == ".zst":
        import zstandard

        return zstandard.open(draft, "wb")
    return draft.open("wb")
