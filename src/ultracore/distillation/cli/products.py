"""`distill products list | show | query | sql | export | quality`: data products without asking anybody.

What this file does not know: what is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import home_option, settings_at
from ultracore.distillation.cli.log import open_log
from ultracore.distillation.cli.tables import print_rows, print_table

__all__ = ["products_group"]


@click.group(
    "products",
    epilog=examples(
        "distill products list",
        "distill products query agent_decision_history --where agent_id=support",
        'distill products sql "SELECT agent_id, count(*) FROM agent_decision_history GROUP BY 1"',
    ),
)
def products_group() -> None:
    """Look into the data products: decision history, training data, model metrics."""


def of_tenant(command: Any) -> Any:
    """The options that say whose rows."""
    return home_option(click.option("--tenant", help="Whose rows.  [default: the tenant of the settings]")(command))


where = click.option("--where", multiple=True, help="Such as agent_id=support, or timestamp.gte=2026-11-01.")
as_of = click.option("--as-of", help="As it was known at a position or a time.")
personal = click.option("--personal", is_flag=True, help="Also the personal columns, as far as their keys exist.")
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")


@products_group.command("list", epilog=examples("distill products list"))
@as_json
def list_command(as_json: bool) -> None:
    """List the products with owner, domain and purpose."""
    from ultracore.distillation.products.catalogue import catalogue

    names = ("product_id", "version", "domain", "owner", "purpose")
    print_rows(names, ([entry[name] for name in names] for entry in catalogue()), as_json=as_json)


@products_group.command("show", epilog=examples("distill products show agent_decision_history --contract"))
@click.argument("product")
@click.option("--contract", is_flag=True, help="The contract whole, as ODCS YAML.")
@of_tenant
def show_command(product: str, contract: bool, home: Path | None, tenant: str | None) -> None:
    """Print the columns of PRODUCT, its figures and whether its rows keep the contract."""
    from ultracore.distillation.products.contract import contract_of

    promised = contract_of(product)
    if contract:
        click.echo(promised.text, nl=False)
        return
    names = ("name", "logical_type", "classification", "description")
    print_table(names, ([getattr(c, name) for name in names] for c in promised.columns.values()))
    opened = _product(product, home, tenant)
    refreshed, checked = opened.refresh(), opened.validate()
    click.echo(f"{refreshed['rows']:,} rows up to position {refreshed['position']:,}")
    for violation in checked["violations"]:
        click.echo(f"breaks its contract: {violation}")
    if checked["valid"]:
        click.echo("The rows keep the contract.")


@products_group.command(
    "query",
    epilog=examples(
        "distill products query agent_decision_history --where success=false --limit 20",
        "distill products query distillation_training_data --where dataset_id=ab12 --json",
    ),
)
@click.argument("product")
@where
@click.option("--limit", type=int, default=20, show_default=True)
@click.option("--offset", type=int, default=0)
@click.option("--column", "columns", multiple=True, help="Only these columns.")
@personal
@as_of
@as_json
@of_tenant
def query_command(
    product: str,
    where: Sequence[str],
    limit: int,
    offset: int,
    columns: Sequence[str],
    personal: bool,
    as_of: str | None,
    as_json: bool,
    home: Path | None,
    tenant: str | None,
) -> None:
    """Print rows of PRODUCT that pass every --where."""
    from ultracore.distillation.events.moment import parse_moment

    opened = _product(product, home, tenant)
    names = [opened.contract.column(name).name for name in columns]
    found = opened.query(
        _filters(where, opened), limit=limit, offset=offset, personal=personal, as_of=parse_moment(as_of)
    )
    names = names or [*opened.contract.plain, *(opened.contract.personal if personal else ())]
    print_rows(names, ([row.get(name) for name in names] for row in found), as_json=as_json)


SQL = "SELECT agent_id, avg(success::INT) FROM agent_decision_history GROUP BY 1"


@products_group.command("sql", epilog=examples(f'distill products sql "{SQL}"'))
@click.argument("query")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="Then the query is stopped.")
@as_json
@of_tenant
def sql_command(query: str, seconds: float, as_json: bool, home: Path | None, tenant: str | None) -> None:
    """Ask all products in SQL (DuckDB), joined as you like; nothing can be changed, no file read."""
    from ultracore.distillation.products.sql import Limits, open_session

    opened = _product("agent_decision_history", home, tenant)
    session = open_session(opened.rows, opened.tenant, Limits(seconds=seconds))
    answer = session.ask(query)
    print_rows(answer.columns, answer.rows, as_json=as_json)
    session.close()


@products_group.command(
    "export",
    epilog=examples(
        "distill products export agent_decision_history --to history.parquet --where timestamp.gte=2026-11-01",
        "distill products export distillation_training_data --to sft.jsonl --format openai",
    ),
)
@click.argument("product")
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="The file.")
@click.option("--format", "form", help="parquet, csv, jsonl, arrow, openai or trl.  [default: the file's ending]")
@where
@personal
@as_of
@of_tenant
def export_command(
    product: str,
    target: Path,
    form: str | None,
    where: Sequence[str],
    personal: bool,
    as_of: str | None,
    home: Path | None,
    tenant: str | None,
) -> None:
    """Write rows of PRODUCT to a file; the log remembers it, so that an erasure can name the copy."""
    from ultracore.distillation.events.moment import parse_moment
    from ultracore.distillation.products.export import export

    opened = _product(product, home, tenant)
    moment = parse_moment(as_of)
    done = export(opened, target, form, filters=_filters(where, opened), personal=personal, as_of=moment)
    skipped = f", {done.skipped:,} decisions left out that say too little" if done.skipped else ""
    click.echo(f"{done.file}: {done.rows:,} rows as {done.format}{skipped}")


@products_group.command("quality", epilog=examples("distill products quality agent_decision_history"))
@click.argument("product")
@click.option("--history", is_flag=True, help="What was measured before, instead of measuring.")
@as_json
@of_tenant
def quality_command(product: str, history: bool, as_json: bool, home: Path | None, tenant: str | None) -> None:
    """Measure the contract's rules on the rows of PRODUCT; a breach is an alert."""
    opened = _product(product, home, tenant)
    rules = opened.contract.rules
    if history:
        measured = opened.quality_history()
        rows = [[row["timestamp"], row["rows"], *(row["metrics"].get(name) for name in rules)] for row in measured]
        print_rows(("timestamp", "rows", *rules), rows, as_json=as_json)
        return
    found = opened.measure_quality()
    table = [[n, found[n], r.at_least, "breach" if n in found["breaches"] else ""] for n, r in rules.items()]
    print_rows(("rule", "measured", "at least", ""), table, as_json=as_json)


def _product(product_id: str, home: Path | None, tenant: str | None) -> Any:
    from ultracore.distillation.products.catalogue import product_class

    made = product_class(product_id)
    store, folder = open_log(home)
    return made(store, home=folder, tenant=tenant or settings_at(folder).tenant)


def _filters(where: Sequence[str], product: Any) -> dict[str, Any]:
    from ultracore.distillation.products.filters import parse_filters

    pairs = [tuple(pair.split("=", 1)) for pair in where]
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        raise click.UsageError(f"--where takes column=value, not {wrong[0][0]!r}")
    return parse_filters(pairs, product.contract)  # type: ignore[arg-type]
