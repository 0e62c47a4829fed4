"""`distill verify`: read and hash the whole log again; the exit code says whether it is as it was written.

What this file does not know: how it is checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import LOG, find_home, home_option, settings_at
from ultracore.distillation.settings import Settings

if TYPE_CHECKING:
    from ultracore.distillation.events.postgres.ledger import PostgresLedger
    from ultracore.distillation.events.sqlite.ledger import SqliteLedger

__all__ = ["verify_command"]

DAMAGED = 1


@click.command("verify", epilog=examples("distill verify", "distill verify --checkpoints /media/audit/checkpoints"))
@home_option
@click.option("--checkpoints", type=click.Path(path_type=Path), help="Folder of the signed checkpoints.")
@click.pass_context
def verify_command(context: click.Context, home: Path | None, checkpoints: Path | None) -> None:
    """Check every event of the decision log against the hash chain, the index and the signed checkpoints."""
    from ultracore.distillation.events.checkpoints import read_checkpoints
    from ultracore.distillation.events.verify import verify

    settings = settings_at(find_home(home))
    name, ledger = _ledger(settings)
    statements = list(read_checkpoints(checkpoints or settings.checkpoints_path))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=max(1, ledger.index_rows()))
        report = verify(ledger, statements, lambda position: progress.update(task, completed=position))
    ledger.close()
    for finding in report.findings:
        click.echo(str(finding))
    click.echo(f"{name}: {report.events:,} events in {report.blocks:,} blocks, hash {report.hash}")
    if report.findings:
        click.echo(f"NOT as it was written; positions up to {report.intact:,} are intact", err=True)
        context.exit(DAMAGED)
    agreeing = f"{report.checkpoints:,} signed checkpoints agree"
    click.echo(f"as it was written; {agreeing if statements else 'there is no checkpoint outside it to compare with'}")


def _ledger(settings: Settings) -> tuple[str, PostgresLedger | SqliteLedger]:
    """The log of the settings as it lies there, and what it is called."""
    if settings.log_url is None:
        from ultracore.distillation.events.sqlite.ledger import SqliteLedger

        file = settings.home_path / LOG
        return str(file), SqliteLedger(file)
    from ultracore.distillation.events.postgres.connection import name_of
    from ultracore.distillation.events.postgres.ledger import PostgresLedger

    return name_of(settings.log_url), PostgresLedger(settings.log_url)
