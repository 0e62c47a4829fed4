"""`distill backup` and `distill restore`: a copy of the log, its keys, models and checkpoints, and back.

What this file does not know: how it is copied.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home, home_option, refuse_postgres, settings_at
from ultracore.distillation.settings import Settings, load_settings

if TYPE_CHECKING:
    from ultracore.distillation.backup import Places

__all__ = ["backup_command", "restore_command"]

FOLDER = click.Path(path_type=Path)


@click.command(
    "backup",
    epilog=examples("distill backup /media/backup/monday", "distill backup /media/a/monday --keys-to /media/b/monday"),
)
@click.argument("to", type=FOLDER)
@click.option("--keys-to", type=FOLDER, help="Another folder for the keyring, so that neither opens anything alone.")
@home_option
def backup_command(to: Path, keys_to: Path | None, home: Path | None) -> None:
    """Copy the log and what belongs to it to the new folder TO, while it is in use, and verify the copy."""
    from ultracore.distillation.backup import back_up

    manifest = back_up(_places(settings_at(find_home(home))), to, keys_to)
    click.echo(f"{to}: {manifest.events:,} events, hash {manifest.hash}, verified")
    click.echo(
        f"keys in {keys_to}" if keys_to else "keys in the same folder: whoever has it can read all; see --keys-to"
    )


@click.command(
    "restore",
    epilog=examples(
        "distill restore /media/backup/monday",
        "distill restore /media/a/monday --keys-from /media/b/monday --home .distill-restored",
    ),
)
@click.argument("source", metavar="FROM", type=FOLDER)
@click.option("--keys-from", type=FOLDER, help="Folder of the keyring, if it was kept apart.")
@click.option("--home", type=FOLDER, help="Where to put it; there must be no log.  [default: the home of the settings]")
@click.option("--never-erased", is_flag=True, help="Nothing was erased since: go on without a file of erasures.")
def restore_command(source: Path, keys_from: Path | None, home: Path | None, never_erased: bool) -> None:
    """Put the backup FROM back; what was erased after it was made is erased again."""
    from ultracore.distillation.backup import restore

    settings = settings_at(home.absolute()) if home else load_settings()
    places = _places(settings)
    back = restore(source, places, keys_from, never_erased=never_erased)
    click.echo(f"{places.home}: restored and verified")
    for planned in back:
        what = planned.subject or f"days before {planned.erasure.before}"
        click.echo(f"erased again: {what}, {len(planned.events):,} events, {len(planned.models)} models")


def _places(settings: Settings) -> Places:
    refuse_postgres(
        "use pg_dump or the server's own backup, and copy models, keys and checkpoints; see docs/postgres.md"
    )
    from ultracore.distillation.backup import Places

    return Places(settings.home_path, settings.keys_path, settings.checkpoints_path, settings.tombstones_path)
