"""`distill replay`: rebuild models from the log alone and compare; a difference is a non-zero exit code.

What this file does not know: how anything is rebuilt.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.text import Text

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home, home_option
from ultracore.distillation.cli.tables import print_table
from ultracore.distillation.settings import load_settings

if TYPE_CHECKING:
    from ultracore.distillation.replay import Replay

__all__ = ["replay_command"]

DIFFERENT = 1
STYLES = {"same": "green", "identical decisions": "yellow", "different": "bold red", "not possible": "bold red"}


@click.command("replay", epilog=examples("distill replay", "distill replay --all --home distill-report"))
@click.argument("model", required=False)
@click.option("--all", "every", is_flag=True, help="Every model that the log knows.")
@home_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a model.")
def replay_command(model: str | None, every: bool, home: Path | None, as_json: bool) -> None:
    """Rebuild data set, model, certificate and verdict of MODEL from the log alone, and compare.

    Without MODEL: the one that answers now, else the last that was trained. Ends with 1 where anything
    differs, 0 where all is the same.
    """
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.replay import replay, trainings
    from ultracore.distillation.students.models import active_model

    folder = find_home(home)
    store = open_store(folder)
    wanted = trainings(store, model if model or every else active_model(store, load_settings().tenant))
    wanted = wanted if every or model else wanted[-1:]
    reproduced = True
    for trained in wanted:
        found = replay(store, folder, trained)
        reproduced &= found.reproduced
        click.echo(msgspec.json.encode(found._asdict())) if as_json else _show(found)
    sys.exit(0 if reproduced else DIFFERENT)


def _show(found: Replay) -> None:
    click.echo(f"model {found.model_id}")
    rows = (
        (check.what, check.rebuilt, check.expected, Text(check.verdict, STYLES.get(check.verdict, "")), check.note)
        for check in found.checks
    )
    print_table(("rebuilt", "now", "in the log", "verdict", "note"), rows)
    click.echo(_conclusion(found))


def _conclusion(found: Replay) -> str:
    where = "in another environment" if found.environment else "in the same environment"
    differences = "".join(f"\n  {line}" for line in found.environment)
    if not found.reproduced:
        return f"Not reproduced, {where}.{differences}"
    if any(check.verdict == "identical decisions" for check in found.checks):
        return f"Identical decisions on the calibration tasks, {where}; the bytes differ.{differences}"
    return f"The same bytes, {where}.{differences}"
