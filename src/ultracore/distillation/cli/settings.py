"""`distill settings`: what is in force, and which variable changes it.

What this file does not know: what the settings do.
"""

from __future__ import annotations

import click
import msgspec

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.tables import print_table
from ultracore.distillation.settings import PREFIX, load_settings

__all__ = ["settings_command"]


@click.command("settings", epilog=examples("distill settings", "DISTILL_PORT=9000 distill settings --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def settings_command(as_json: bool) -> None:
    """Print the settings in force, and the environment variable of each."""
    values = msgspec.to_builtins(load_settings())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(values), indent=2).decode())
        return
    rows = ((name, value, PREFIX + name.upper()) for name, value in values.items())
    print_table(("setting", "value", "environment variable"), rows)
