"""`distill watch`: one look at the log: agreement and its bounds, drift, figures, alerts, and what follows from them.

What this file does not know: how anything is watched (`watch`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home, home_option, settings_at

if TYPE_CHECKING:
    from ultracore.distillation.watch.watcher import Look

__all__ = ["watch_command"]

NAME, MESSAGE = 60, 400
"""Characters that are shown of a name and of a message."""


@click.command(
    "watch",
    epilog=examples(
        "distill watch",
        "distill watch --json | jq '.agreement[0].upper'",
        "watch -n 60 distill watch --home distill-report",
        "distill watch --tenant acme || page-somebody",
    ),
)
@home_option
@click.option("--tenant", help="Whose decisions; the setting's by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.pass_context
def watch_command(context: click.Context, home: Path | None, tenant: str | None, as_json: bool) -> None:
    """Look at the log once, and append what follows: revoked certificates, drift, alerts.

    Exit code 1 where an alert is open or something was revoked by this look, else 0.
    """
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.watch.notify import notifiers
    from ultracore.distillation.watch.watcher import Watcher

    settings = settings_at(find_home(home), tenant=tenant)
    store = open_store(settings.home_path, settings)
    try:
        look = Watcher(store, settings, notify=notifiers(settings)).look()
    finally:
        store.close()
    if as_json:
        click.echo(_json(look))
    else:
        console = Console()
        console.print(_agreement(look), _figures(look), _drift(look))
        for line in _findings(look):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    context.exit(1 if look.alerts or any(e.event_type == "CERTIFICATE_REVOKED" for e in look.appended) else 0)


def _json(look: Look) -> str:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(look)
    plain["alerts"] = [alert.to_dict() for alert in look.alerts]
    plain["appended"] = [event.to_dict() for event in look.appended]
    return msgspec.json.encode(plain).decode()


def _agreement(look: Look) -> Table:
    from ultracore.distillation.log.words import plain

    said = f"model {look.model_id}" if look.model_id else "no model answers"
    columns = ("of", "audits", "unlabelled", "agreement", "lower", "upper", "floor", "")
    table = Table(*columns, title=Text(f"Live agreement, {said}"))
    for found in look.agreement:
        whose = "all calls" if found.kind == "all" else f"{found.kind} {found.name}"
        bounds = [_share(value) for value in (found.agreement, found.lower, found.upper, found.floor)]
        state = "revoked" if found.revoked else ""
        table.add_row(Text(plain(whose, NAME)), f"{found.labelled:,}", f"{found.unlabelled:,}", *bounds, state)
    return table


def _figures(look: Look) -> Table:
    metrics = look.metrics
    table = Table("what", "value", title="The last 24 hours with decisions")
    rows = {
        "decisions": f"{metrics.decisions:,}",
        "decisions an hour": _number(metrics.decisions_per_hour, ".1f"),
        "student, p50 / p95 / p99 ms": _latency(metrics.student),
        "teacher, p50 / p95 / p99 ms": _latency(metrics.teacher),
        "cost of a request, USD": _number(metrics.cost_per_request_usd, ".6f"),
        "cost of a correct one, USD": _number(metrics.cost_per_correct_usd, ".6f"),
        "left out by the last curation": _share(metrics.curation_efficiency),
    }
    for what, value in rows.items():
        table.add_row(what, value)
    return table


def _drift(look: Look) -> Table:
    from ultracore.distillation.log.words import plain

    table = Table("detector", "score", "threshold", "p", "reference", "recent", "", title="Drift")
    for found in look.drift:
        sizes = f"{found.reference_count:,}", f"{found.recent_count:,}"
        state = "alarm" if found.alarmed else found.detail
        table.add_row(
            Text(found.detector),
            f"{found.score:.3f}",
            f"{found.threshold:.2f}",
            f"{found.p_value:.4f}",
            *sizes,
            Text(plain(state, NAME)),
        )
    return table


def _findings(look: Look) -> list[str]:
    from ultracore.distillation.log.words import in_words, plain

    lines = [f"alert since {alert.metadata.timestamp}: {plain(alert.message, MESSAGE)}" for alert in look.alerts]
    return [*lines, *(f"now in the log: {in_words(event)}" for event in look.appended)] or ["no alert is open"]


def _latency(found: Any) -> str:
    if not found.count:
        return "none"
    return " / ".join(_number(value, ".1f") for value in (found.p50, found.p95, found.p99))


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _number(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)
