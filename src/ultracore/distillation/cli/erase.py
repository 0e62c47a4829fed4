"""`distill erase`: forget a person, a tenant, or what is older than some days; it says first what that means.

What this file does not know: how it is done.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home, home_option, settings_at

if TYPE_CHECKING:
    from ultracore.distillation.erasure import Erasure, Plan

__all__ = ["erase_command"]


@click.command(
    "erase",
    epilog=examples(
        "distill erase --subject user-4711 --dry-run",
        "distill erase --subject user-4711 --tenant acme --yes",
        "distill erase --older-than 400d",
        "distill erase --tenant acme                the whole tenant",
    ),
)
@click.option("--subject", help="A person, by the id that their events name (user_id).")
@click.option("--tenant", help="Whose data.  [default with --subject: the tenant of the settings]")
@click.option("--older-than", metavar="DAYSd", help="All personal data of days further back, such as 400d.")
@click.option("--reason", default="", help="Written into the log; name no person in it.")
@click.option(
    "--keep-files/--drop-files",
    default=None,
    help="Whether models that learned from the data, and report pages, stay.  [default: drop; keep with --older-than]",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
def erase_command(
    subject: str | None,
    tenant: str | None,
    older_than: str | None,
    reason: str,
    keep_files: bool | None,
    dry_run: bool,
    yes: bool,
    home: Path | None,
) -> None:
    """Destroy the keys of personal data, so that nobody can read them again; the log still verifies.

    Models that learned from the data are taken out of service, their files are removed, and they are
    marked for retraining.
    """
    from ultracore.distillation.erasure import erase, plan
    from ultracore.distillation.events.opening import open_store

    folder = find_home(home)
    settings = settings_at(folder)
    store = open_store(folder)
    wanted = _erasure(subject, tenant or (settings.tenant if subject else None), older_than, reason)
    keep = older_than is not None if keep_files is None else keep_files
    planned = plan(store, folder, wanted, settings.tombstones_path)
    _show(planned, keep)
    if planned.is_empty or dry_run:
        click.echo("Nothing was changed." if dry_run else "There is nothing to erase.")
        return
    if not yes:
        click.confirm("This cannot be undone. Erase?", abort=True)
    erase(store, planned, settings.tombstones_path, keep_files=keep)
    click.echo("Erased.")


def _erasure(subject: str | None, tenant: str | None, older_than: str | None, reason: str) -> Erasure:
    from ultracore.distillation.erasure import Erasure
    from ultracore.distillation.events.facts import utc_now

    if older_than is None:
        return Erasure(tenant, subject, None, reason)
    if subject is not None:
        raise click.UsageError("--older-than takes no --subject: a person is erased whole")
    days = re.fullmatch(r"(\d{1,5})d", older_than)
    if days is None:
        raise click.UsageError(f"--older-than takes days, such as 400d, not {older_than!r}")
    return Erasure(tenant, None, (utc_now() - timedelta(days=int(days[1]))).date().isoformat(), reason)


def _show(planned: Plan, keep: bool) -> None:
    what = planned.subject or (f"days before {planned.erasure.before}" if planned.erasure.before else "everything")
    whose = f"of tenant {planned.erasure.tenant}" if planned.erasure.tenant else "of all tenants"
    click.echo(f"{what} {whose}: {len(planned.events):,} events, {planned.keys:,} keys")
    if planned.unfinished:
        click.echo("An earlier erasure of the same was interrupted; it will be finished.")
    for model in sorted(planned.models):
        click.echo(f"model {model} learned from them: {'marked for retraining' if keep else 'revoked, retrain it'}")
    for path in planned.files:
        click.echo(f"{'still holds data' if keep else 'to be removed'}: {path}")
    for copy in planned.copies:
        click.echo(f"exported with personal columns, and not there any more, ask who has it: {copy}")
    if planned.readable:
        click.echo(
            f"{planned.readable:,} events of this person were stored without encryption and CANNOT be erased: "
            "see docs/privacy.md"
        )
