"""`distill keys`: who may ask the gateway. A key is shown once; the log knows its hash.

What this file does not know: how a key is checked.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home, home_option, home_or_new
from ultracore.distillation.cli.tables import print_table
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.settings import load_settings

__all__ = ["keys_group"]


@click.group("keys", epilog=examples("distill keys add support --agent support", "distill keys list"))
def keys_group() -> None:
    """Make, list and revoke the gateway's keys."""


@keys_group.command(
    "add",
    epilog=examples(
        "distill keys add support --agent support",
        "distill keys add acme --tenant acme --requests-per-minute 600 --days 90",
        "distill keys add prometheus --scope read-only",
    ),
)
@click.argument("name")
@click.option("--scope", type=click.Choice(["client", "read-only", "admin"]), default="client", show_default=True)
@click.option("--tenant", help="Whose requests are made with it.  [default: the gateway's own tenant]")
@click.option("--agent", help="The agent of every request made with it.")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Most requests, with a minute's burst.")
@click.option("--concurrent", type=click.IntRange(min=1), help="Most requests at once.")
@click.option("--days", type=click.IntRange(1, 36_500), help="Valid for so long.  [default: until it is revoked]")
@home_option
def add(
    name: str,
    scope: str,
    tenant: str | None,
    agent: str | None,
    requests_per_minute: int | None,
    concurrent: int | None,
    days: int | None,
    home: Path | None,
) -> None:
    """Make a key for NAME and print it, this once. Running gateways accept it within a second."""
    from ultracore.distillation.events.facts import utc_now
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.serve.keys import Scope, issue

    new = issue(
        name,
        Scope(scope),
        tenant=tenant or load_settings().tenant,
        agent_id=agent,
        requests_per_minute=requests_per_minute,
        concurrent=concurrent,
        expires_at=None if days is None else utc_now() + timedelta(days=days),
    )
    open_store(home_or_new(home)).append([new.event])
    click.echo(f"key {new.event.key_id} for {name}; it is not shown again:", err=True)
    click.echo(new.secret)


@keys_group.command("list", epilog=examples("distill keys list --home distill-report"))
@home_option
def list_keys(home: Path | None) -> None:
    """List the keys, without their secrets."""
    from ultracore.distillation.events.facts import utc_now
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.serve.keys import key_ring

    rows = []
    for key in key_ring(open_store(find_home(home))):
        state = "revoked" if key.revoked else "expired" if key.expired(utc_now()) else key.expires_at or "valid"
        limits = (key.requests_per_minute, key.concurrent)
        rows.append((key.key_id, key.name, key.tenant, key.scope, key.agent_id, *limits, state))
    print_table(("key", "name", "tenant", "scope", "agent", "per minute", "at once", "state"), rows)


@keys_group.command("revoke", epilog=examples("distill keys revoke 4f1c0a9be77d --reason rotated"))
@click.argument("key_id")
@click.option("--reason", default="", help="For the log.")
@home_option
def revoke(key_id: str, reason: str, home: Path | None) -> None:
    """Revoke a key by its id. Running gateways refuse it within a second."""
    from ultracore.distillation.events import KeyRevokedEvent
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.serve.keys import key_ring

    store = open_store(find_home(home))
    key = next((key for key in key_ring(store) if key.key_id == key_id), None)
    if key is None:
        raise ConfigurationError(f"there is no key {key_id!r}; `distill keys list` shows their ids")
    if not key.revoked:
        store.append([KeyRevokedEvent.record(key_id=key_id, reason=reason, tenant_id=key.tenant)])
    click.echo(f"key {key_id} of {key.name} is revoked")
