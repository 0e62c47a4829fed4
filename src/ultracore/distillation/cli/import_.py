"""`distill import`: files of traces into the decision log, with an account of every line left out.

What this file does not know: formats.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.settings import load_settings

__all__ = ["import_command"]

MAX_LINES = 10


@click.command(
    "import", epilog=examples("distill import traces.jsonl", "distill import *.jsonl.gz --agent support-bot")
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--home", type=click.Path(path_type=Path), help="Folder of the log.")
@click.option("--agent", help="Whose decisions these are, where the lines do not say.")
def import_command(files: tuple[Path, ...], home: Path | None, agent: str | None) -> None:
    """Read FILES of OpenAI chat JSONL into the decision log; a second time adds nothing."""
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.log import import_files

    settings = load_settings(home=None if home is None else str(home))
    report = import_files(files, open_store(settings.home_path, settings), tenant=settings.tenant, agent_id=agent)
    console = Console()
    for file in report.files:
        added = f"{file.decisions:,} new decisions in {file.episodes:,} conversations"
        text = f"{file.file}: {added}, {file.duplicates:,} known"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        for reason, lines in file.skipped.items():
            console.print(f"  left out, {reason}: {_lines(lines)}", markup=False, highlight=False, soft_wrap=True)
        for note, n in file.notes.items():
            console.print(f"  noted, {note}: {n:,} lines", markup=False, highlight=False, soft_wrap=True)
    console.print(f"log: {settings.home_path}", markup=False, highlight=False, soft_wrap=True)


def _lines(lines: list[int]) -> str:
    more = f" and {len(lines) - MAX_LINES:,} more" if len(lines) > MAX_LINES else ""
    return f"{len(lines):,} (line {', '.join(map(str, lines[:MAX_LINES]))}{more})"
