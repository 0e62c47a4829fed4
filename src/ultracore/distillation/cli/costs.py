"""`distill costs`: what the gateway's calls cost, and what a correct one cost.

What this file does not know: how costs are added up (`watch.costs`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home, home_option

if TYPE_CHECKING:
    from ultracore.distillation.watch.costs import Costs

__all__ = ["costs_command"]


@click.command("costs", epilog=examples("distill costs", "distill costs --home distill-report --tenant acme"))
@home_option
@click.option("--tenant", help="Only this tenant's.")
def costs_command(home: Path | None, tenant: str | None) -> None:
    """Add up what the teacher's servers were asked by a gateway: answers, retries and audits.

    Prices come from the file that the setting `upstreams` names; a cost without a price is unknown.
    """
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.watch.costs import COST_EVENTS, tally

    store = open_store(find_home(home))
    try:
        costs = tally(store.read(types=COST_EVENTS, tenant=tenant))
    finally:
        store.close()
    Console().print(_asked(costs), _sums(costs))


def _asked(costs: Costs) -> Table:
    table = Table("role", "requests to the teacher", "known cost, USD", "of unknown cost", title="Asked")
    for role in sorted(costs.attempts):
        row = (costs.attempts[role], f"{costs.dollars[role]:.6f}", costs.unknown[role])
        table.add_row(role, *map(str, row))
    return table


def _sums(costs: Costs) -> Table:
    table = Table("what", "value", title="Decisions")
    agreement = "unknown" if costs.agreement is None else f"{costs.agreement:.1%} of {costs.labelled:,} audits"
    rows = {
        "made by the teacher": f"{costs.teacher:,}",
        "calls sent by the student": f"{costs.student:,}",
        "of those agree with the teacher": agreement,
        "audits without a label": f"{costs.unlabelled:,}",
        "cost of a decision, USD": _money(costs.per_decision),
        "cost of a correct decision, USD": _money(costs.per_correct_decision),
    }
    for what, value in rows.items():
        table.add_row(what, value)
    return table


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6f}"
