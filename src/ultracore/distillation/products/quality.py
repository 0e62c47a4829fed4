"""The quality of a product, measured from its rows by the rules of its contract; a breach is an alert.

What this file does not know: any rule.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import duckdb
import msgspec

from ultracore.distillation.events import AlertRaisedEvent, AlertResolvedEvent, Event, ProductQualityMeasuredEvent
from ultracore.distillation.products.contract import Contract, Rule
from ultracore.distillation.products.sql import Limits, prepared
from ultracore.distillation.products.store import ProductStore

__all__ = ["Measured", "history", "measure", "record", "violations"]

KEPT = "the rows keep the contract again"
PATIENT = Limits(seconds=60.0)


class Measured(NamedTuple):
    """What was found.

    Attributes:
        metrics: By rule, 0..1; `None` where no row says anything.
        breaches: Rules whose value is less than the contract says.
        rows: How many rows there are.
        position: Up to where the log was read.
    """

    metrics: dict[str, float | None]
    breaches: list[str]
    rows: int
    position: int


def measure(rows: ProductStore, contract: Contract, tenant: str) -> Measured:
    """Measure every rule of a contract."""
    with prepared(rows, tenant, PATIENT) as connection:
        metrics = {name: _number(connection, rule.query) for name, rule in contract.rules.items()}
        count = _number(connection, f"SELECT count(*) FROM {contract.product_id}") or 0
        position = _number(connection, "SELECT position FROM position_of") or 0
    breaches = [name for name, rule in contract.rules.items() if _is_breach(rule, metrics[name])]
    return Measured(metrics, breaches, int(count), int(position))


def record(rows: ProductStore, contract: Contract, tenant: str, measured: Measured) -> None:
    """Write it into the log, with an alert for each new breach, and an end to each that is over."""
    last = history(rows, contract.product_id, tenant)
    before = set(last[0]["breaches"]) if last else set()
    told = ProductQualityMeasuredEvent.record(
        product_id=contract.product_id, contract_version=contract.version, position=measured.position,
        rows=measured.rows, metrics=measured.metrics, breaches=measured.breaches, tenant_id=tenant,
    )  # fmt: skip
    common: dict[str, Any] = {"tenant_id": tenant, "causation_id": told.metadata.event_id}
    changed = sorted(set(measured.breaches) ^ before)
    alerts = [_alert(contract, name, measured, raised=name in measured.breaches, **common) for name in changed]
    rows.log.append([told, *alerts])


def history(rows: ProductStore, product_id: str, tenant: str) -> list[dict[str, Any]]:
    """What was measured before, the newest first."""
    found = rows.fetch(
        "SELECT timestamp, contract_version, until, rows, metrics, breaches FROM quality "
        "WHERE tenant_id = ? AND product_id = ? ORDER BY position DESC",
        (tenant, product_id),
    )
    return [{**row, **{name: msgspec.json.decode(row[name]) for name in ("metrics", "breaches")}} for row in found]


def violations(rows: ProductStore, contract: Contract, tenant: str) -> list[str]:
    """Where rows depart from what the contract says of columns: required and unique, and severe rules."""
    found = []
    with prepared(rows, tenant, PATIENT) as connection:
        for column in contract.columns.values():
            source = f"FROM {contract.product_id} WHERE {column.name}"
            if column.required and (n := _number(connection, f"SELECT count(*) {source} IS NULL")):
                found.append(f"{column.name} is required, and null in {n:,.0f} rows")
            query = f"SELECT count({column.name}) - count(DISTINCT {column.name}) FROM {contract.product_id}"
            if column.unique and (n := _number(connection, query)):
                found.append(f"{column.name} is unique, and repeated in {n:,.0f} rows")
        for rule in contract.rules.values():
            value = _number(connection, rule.query)
            if rule.severity == "error" and _is_breach(rule, value):
                found.append(f"{rule.name} is {value:.4f}, and at least {rule.at_least:g} is promised")
    return found


def _number(connection: duckdb.DuckDBPyConnection, query: str) -> float | None:
    found = connection.execute(query).fetchone()
    return None if found is None or found[0] is None else float(found[0])


def _is_breach(rule: Rule, value: float | None) -> bool:
    return value is not None and value < rule.at_least


def _alert(contract: Contract, name: str, measured: Measured, *, raised: bool, **metadata: Any) -> Event:
    alert_id, value, rule = f"{contract.product_id}.{name}", measured.metrics.get(name), contract.rules.get(name)
    if not raised or rule is None:
        return AlertResolvedEvent.record(alert_id=alert_id, reason=KEPT, value=value, **metadata)
    return AlertRaisedEvent.record(
        alert_id=alert_id,
        name="product_quality",
        severity="page" if rule.severity == "error" else "warning",
        message=f"{contract.product_id}: {name} is {value:.4f}, and at least {rule.at_least:g} is promised",
        value=value,
        limit=rule.at_least,
        **metadata,
    )
