"""`distill log`: look into the decision log; it is read, never changed.

What this file does not know: what the events mean (`log.words`), and how they hang together (`log.lineage`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import LOG, find_home, home_option, refuse_postgres
from ultracore.distillation.cli.tables import print_table

if TYPE_CHECKING:
    from ultracore.distillation.events import Event, EventStore
    from ultracore.distillation.log.lineage import Link
    from ultracore.distillation.students.models import ModelState

__all__ = ["log_group"]

STYLES = {
    "ALERT_RAISED": "bold red",
    "CERTIFICATE_REVOKED": "bold red",
    "DRIFT_DETECTED": "red",
    "MODEL_ROLLED_BACK": "bold red",
    "MODEL_REJECTED": "yellow",
    "MODEL_DEPLOYED": "green",
    "ALERT_RESOLVED": "green",
}
FIRST_SPAN = 200
"""Events to look at first for the newest; eight times as many where that is too few."""

Command = Callable[..., None]


def filters(command: Command) -> Command:
    """The options that say which events."""
    for option in (
        click.option("--since", help="Only events of this time or later (ISO 8601)."),
        click.option("--tenant", help="Only this tenant's events."),
        click.option("--agent", help="Only this agent's events."),
        click.option("--type", "types", multiple=True, help="Only events of this type; may be given several times."),
    ):
        command = option(command)
    return command


at_moment = click.option("--as-of", help="As it was then: a position, or a time (ISO 8601).")
"""The option that goes back."""


@click.group("log", epilog=examples("distill log stats", "distill log tail -f", "distill log show 17 --trace"))
def log_group() -> None:
    """Look into the decision log."""


@log_group.command("tail", epilog=examples("distill log tail -n 3", "distill log tail -f --type ALERT_RAISED"))
@home_option
@filters
@click.option("-n", "count", type=click.IntRange(min=0), default=10, show_default=True, help="How many events.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new events as they come, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Whole events, one JSON object a line.")
def tail(home: Path | None, count: int, follow: bool, as_json: bool, **chosen: Any) -> None:
    """Print the newest events in words, one a line."""
    store, _ = open_log(home)
    wanted = wanted_of(chosen)
    last = store.last_position()
    show = _printer(as_json)
    for event in newest(store, count, last, wanted):
        show(event)
    if follow:
        for event in _coming(store, last, wanted):
            show(event)


@log_group.command("show", epilog=examples("distill log show 17", "distill log show 17 --trace"))
@click.argument("event")
@home_option
@click.option("--trace", is_flag=True, help="What led to it, and what came of it.")
@click.option("--json", "as_json", is_flag=True, help="The event alone, as one line of JSON.")
def show(event: str, home: Path | None, trace: bool, as_json: bool) -> None:
    """Print EVENT, a position or an event id, whole."""
    from ultracore.distillation.log.lineage import causes, effects, find_event

    store, _ = open_log(home)
    found = find_event(store, event)
    if as_json:
        click.echo(_json(found))
        return
    console = Console()
    console.print(line_of(found), soft_wrap=True)
    if trace:
        _chain(console, "because of", causes(store, found))
        _chain(console, "and then", effects(store, found))
        return
    text = msgspec.json.format(_json(found)).encode("utf-8", "backslashreplace").decode()
    click.echo("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text))


@log_group.command("models", epilog=examples("distill log models", "distill log models --as-of 2026-11-01"))
@home_option
@at_moment
@click.option("--tenant", help="Only this tenant's models.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a model.")
def models(home: Path | None, as_of: str | None, tenant: str | None, as_json: bool) -> None:
    """List the models and say which one answers, now or at any past moment."""
    from ultracore.distillation.events.moment import parse_moment
    from ultracore.distillation.students.models import model_states

    store, _ = open_log(home)
    found = model_states(store, tenant, parse_moment(as_of))
    if as_json:
        for model in found:
            click.echo(msgspec.json.encode(model._asdict()))
        return
    if not found:
        click.echo("the log knew no model then" if as_of else "the log knows no model")
        return
    names = ("", "model", "tenant", "status", "since", "data set", "decisions", "certified", "why")
    print_table(names, map(_columns, found), right=["decisions"])
    if not any(m.active for m in found):
        click.echo("None of them answers: everything goes to the teacher.")


def _columns(m: ModelState) -> tuple[str, ...]:
    issued = m.target if m.status not in ("trained", "refused", "rejected") else None
    promised = "" if issued is None else f"{100 * issued:g}%, sends {m.coverage or 0:.1%}"
    learned = "" if m.decisions is None else f"{m.decisions:,}"
    state = (m.model_id, m.tenant, m.status, m.since[:19])
    return ("->" if m.active else "", *state, m.dataset_id or "", learned, promised, m.reason)


def open_log(home: Path | None) -> tuple[Any, Path]:
    """The log that a command means, and its home."""
    from ultracore.distillation.events.opening import open_store

    folder = find_home(home)
    return open_store(folder), folder


def log_file(home: Path | None) -> Path:
    """The file of that log.

    Raises:
        ConfigurationError: It is in PostgreSQL.
    """
    refuse_postgres("ask the view distill.log in psql")
    return find_home(home) / LOG


def wanted_of(chosen: dict[str, Any]) -> dict[str, Any]:
    """The filters of `EventStore.read` that the options stand for.

    Raises:
        click.UsageError: There is no such event type.
    """
    from ultracore.distillation.events import EVENT_TYPES

    types = [name.upper().replace("-", "_") for name in chosen.pop("types")]
    if unknown := [name for name in types if name not in EVENT_TYPES]:
        raise click.UsageError(f"no event type {unknown[0]}; there are: {', '.join(sorted(EVENT_TYPES))}")
    return {**chosen, "types": types or None}


def newest(store: EventStore, count: int, last: int, wanted: dict[str, Any]) -> list[Event]:
    """The last events that are wanted, found from the end backwards."""
    found: list[Event] = []
    span = max(count, FIRST_SPAN)
    while count:
        after = max(0, last - span)
        found = list(store.read(after=after, until=last, **wanted))
        if len(found) >= count or after == 0:
            break
        span *= 8
    return found[-count:] if count else []


def _coming(store: EventStore, after: int, wanted: dict[str, Any]) -> Iterator[Event]:
    for event in store.follow(after=after, types=wanted["types"]):
        metadata = event.metadata
        if wanted["tenant"] in (None, metadata.tenant_id) and wanted["agent"] in (
            None,
            getattr(event, "agent_id", None),
        ):
            yield event


def line_of(event: Event) -> Text:
    """An event as one line."""
    from ultracore.distillation.log.words import in_words

    metadata = event.metadata
    tenant = "" if metadata.tenant_id == "default" else f"[{metadata.tenant_id}] "
    line = f"{metadata.position:>8}  {metadata.timestamp[:19]}  {metadata.event_type:<24} {tenant}{in_words(event)}"
    return Text(line, style=STYLES.get(metadata.event_type, ""))


def _printer(as_json: bool) -> Callable[[Event], None]:
    console = Console()
    if as_json:
        return lambda event: click.echo(_json(event))
    return lambda event: console.print(line_of(event), soft_wrap=True)


def _json(event: Event) -> str:
    return msgspec.json.encode(event.to_dict()).decode()


def _chain(console: Console, title: str, links: Iterable[Link]) -> None:
    console.print(title, style="bold")
    found = False
    for link in links:
        found = True
        line = Text("  " * link.depth)
        line.append(line_of(link.event) if link.event else Text(f"{'':>8}  "))
        line.append(f"  {link.note}" if link.note else "")
        console.print(line, soft_wrap=True)
    if not found:
        console.print("  nothing that the log knows", soft_wrap=True)
