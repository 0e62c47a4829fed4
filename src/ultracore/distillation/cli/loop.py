"""`distill loop`: the four agents, again and again, beside `distill serve`.

What this file does not know: what they do.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import home_option, home_or_new, settings_at
from ultracore.distillation.errors import ConfigurationError

__all__ = ["loop_command"]

FILE = click.Path(path_type=Path)


@click.command(
    "loop",
    epilog=examples(
        "distill serve --upstream https://api.openai.com/v1 & distill loop",
        "distill loop --rules rules.toml --every 60",
        "distill loop --once                        one round, for cron",
    ),
)
@home_option
@click.option("--config", type=FILE, envvar="DISTILL_CONFIG", help="TOML file; see docs/gateway.md.")
@click.option("--rules", type=FILE, help="TOML file: [promotion], [retraining], [limits]; see docs/loop.md.")
@click.option("--every", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds between rounds.")
@click.option("--once", is_flag=True, help="One round, then end.")
def loop_command(home: Path | None, config: Path | None, rules: Path | None, every: float, once: bool) -> None:
    """Watch, decide, train anew, promote and roll back, until told to stop.

    It shares log and models with the gateway. Of several on one log one is the leader, and another takes over when
    it is gone. Each decision is in the log with its reasons: distill log tail --type LOOP_DECIDED.
    """
    from ultracore.distillation.autonomy.running import supervisor_at

    logging.basicConfig(format="distill loop: %(message)s", level=logging.WARNING)
    supervisor = supervisor_at(settings_at(home_or_new(home), config), every_seconds=every, **read_rules(rules))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if once:
        click.echo("one round" if supervisor.round(stop) else "another loop leads", err=True)
        return
    click.echo(f"distill loop, process {os.getpid()}: a round every {every:g} s; Ctrl-C ends it", err=True)
    supervisor.run(stop)


def read_rules(file: Path | None) -> dict[str, Any]:
    """Rules of promotion and of retraining, and limits; what is not named keeps its default.

    Raises:
        ConfigurationError: The file cannot be read, or says something that is not known.
    """
    from ultracore.distillation.autonomy.rules import Limits, PromotionRules, RetrainRules

    kinds = {"promotion": PromotionRules, "retraining": RetrainRules, "limits": Limits}
    try:
        tables = {} if file is None else tomllib.loads(file.read_text(encoding="utf-8"))
        if unknown := tables.keys() - kinds:
            raise ConfigurationError(f"{file}: no such table: {', '.join(sorted(unknown))}; known: {', '.join(kinds)}")
        return {name: msgspec.convert(tables.get(name, {}), kind, strict=False) for name, kind in kinds.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"the rules in {file}: {error}") from None
