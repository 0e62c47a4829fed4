"""`distill report`: draw the page again from `result.json`.

What this file does not know: what the page shows.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.files import RESULT, not_a_result, read_result, write_report
from ultracore.distillation.cli.home import DEFAULT_OUT

__all__ = ["report_command"]


@click.command("report", epilog=examples("distill report distill-report"))
@click.argument("folder", type=click.Path(path_type=Path), default=DEFAULT_OUT)
def report_command(folder: Path) -> None:
    """Draw report.html in FOLDER again from its result.json, and print the table."""
    from ultracore.distillation.report.table import print_result

    result = read_result(folder)
    console = Console()
    try:
        page = write_report(result, folder)
        print_result(result, console)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise not_a_result(folder / RESULT, f"{type(error).__name__}: {error}") from error
    console.print(f"\nReport: {page}", markup=False, highlight=False, soft_wrap=True)
