"""The contract of each product: its columns, owner, quality rules and service levels, as ODCS v3 in YAML.

The YAML files beside this one are what people read and change; nothing else says what a product is. What this file
does not know: rows.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec

from ultracore.distillation.errors import ProductError

__all__ = ["PRODUCT_IDS", "Column", "Contract", "Rule", "contract_of"]

PRODUCT_IDS = ("agent_decision_history", "distillation_training_data", "distilled_model_metrics")
PERSONAL = "personal"


class Column(NamedTuple):
    """A column as the contract promises it; `classification` is `internal`, `restricted` or `personal`."""

    name: str
    logical_type: str
    physical_type: str
    description: str
    classification: str
    required: bool
    unique: bool


class Rule(NamedTuple):
    """A quality rule: one SQL query over the products that gives one number, and the least it must be."""

    name: str
    dimension: str
    description: str
    query: str
    at_least: float
    severity: str


class Contract(NamedTuple):
    """What is promised of a product.

    Attributes:
        text: The YAML, as it is published.
        document: The same, read.
        columns: By name.
        rules: By name.
    """

    text: str
    document: dict[str, Any]
    columns: dict[str, Column]
    rules: dict[str, Rule]

    @property
    def product_id(self) -> str:
        """The product's id."""
        return str(self.document["dataProduct"])

    @property
    def version(self) -> str:
        """The contract's version."""
        return str(self.document["version"])

    @property
    def domain(self) -> str:
        """The domain that the product belongs to."""
        return str(self.document["domain"])

    @property
    def owner(self) -> str:
        """The team that answers for it."""
        return str(self.document["team"]["name"])

    @property
    def hash(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def plain(self) -> tuple[str, ...]:
        """Names of the columns that hold nothing personal, in their order."""
        return tuple(column.name for column in self.columns.values() if column.classification != PERSONAL)

    @property
    def personal(self) -> tuple[str, ...]:
        """Names of the personal columns."""
        return tuple(column.name for column in self.columns.values() if column.classification == PERSONAL)

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            ProductError: There is none.
        """
        if name not in self.columns:
            known = ", ".join(self.columns)
            raise ProductError(f"{self.product_id} has no column {name!r}; it has: {known}")
        return self.columns[name]

    def violations(self) -> list[str]:
        """Where the document departs from the standard's own JSON schema; empty when it keeps it."""
        errors = _standard().iter_errors(self.document)
        return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in errors]


@cache
def contract_of(product_id: str) -> Contract:
    """The contract of a product.

    Raises:
        ProductError: There is no such product.
    """
    if product_id not in PRODUCT_IDS:
        raise ProductError(f"there is no data product {product_id!r}; there are: {', '.join(PRODUCT_IDS)}")
    from open_data_contract_standard.model import OpenDataContractStandard  # pydantic, only where products are used

    text = files(__package__).joinpath("contracts", f"{product_id}.odcs.yaml").read_text(encoding="utf-8")
    model = OpenDataContractStandard.from_string(text)
    document = model.model_dump(exclude_none=True, exclude_defaults=True, by_alias=True)
    table = document["schema"][0]
    columns = [_column(value) for value in table["properties"]]
    rules = [_rule(value) for value in table["quality"]]
    return Contract(text, document, {c.name: c for c in columns}, {r.name: r for r in rules})


def _column(value: dict[str, Any]) -> Column:
    return Column(
        value["name"], value["logicalType"], value["physicalType"], value["description"], value["classification"],
        bool(value.get("required")), bool(value.get("unique")),
    )  # fmt: skip


def _rule(value: dict[str, Any]) -> Rule:
    limit = float(value["mustBeGreaterOrEqualTo"])
    return Rule(
        value["name"], value["dimension"], value["description"], value["query"].strip(), limit, value["severity"]
    )


@cache
def _standard() -> Any:
    schema = files("open_data_contract_standard").joinpath("schema.json").read_bytes()
    return jsonschema_rs.validator_for(msgspec.json.decode(schema))
