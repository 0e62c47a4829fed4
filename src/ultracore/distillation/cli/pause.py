"""`distill pause` and `distill resume`: everything to the teacher at once, and back.

What this file does not know: how a running gateway hears of it.
"""

from __future__ import annotations

from pathlib import Path

import click

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import home_option, home_or_new
from ultracore.distillation.settings import load_settings

__all__ = ["pause_command", "resume_command"]

REASON = click.option("--reason", default="", help="For the log.")


@click.command("pause", epilog=examples("distill pause --reason 'incident 12'"))
@REASON
@home_option
def pause_command(reason: str, home: Path | None) -> None:
    """Send everything to the teacher; every gateway on this log obeys within a second."""
    from ultracore.distillation.events import GatewayPausedEvent
    from ultracore.distillation.events.opening import open_store

    event = GatewayPausedEvent.record(reason=reason, tenant_id=load_settings().tenant)
    open_store(home_or_new(home)).append([event])
    click.echo("paused: everything goes to the teacher; `distill resume` ends it")


@click.command("resume", epilog=examples("distill resume"))
@REASON
@home_option
def resume_command(reason: str, home: Path | None) -> None:
    """Let the student answer again what it may."""
    from ultracore.distillation.events import GatewayResumedEvent
    from ultracore.distillation.events.opening import open_store

    event = GatewayResumedEvent.record(reason=reason, tenant_id=load_settings().tenant)
    open_store(home_or_new(home)).append([event])
    click.echo("resumed: the student answers again what it may")
