"""The catalogue: which data products there are, for programs and for people, from their contracts.

What this file does not know: rows.
"""

from __future__ import annotations

from typing import Any

from ultracore.distillation.products.contract import PRODUCT_IDS, Contract, contract_of

__all__ = ["catalogue", "page_of", "product_class"]

WRITTEN = "Written from its contract by `python -m ultracore.distillation.products docs/products`; do not edit."


def catalogue() -> list[dict[str, Any]]:
    """Each product with what its contract says of it, and where it is found."""
    return [_entry(contract_of(product_id)) for product_id in PRODUCT_IDS]


def product_class(product_id: str) -> Any:
    """The class of a product.

    Raises:
        ProductError: There is no such product.
    """
    from ultracore.distillation import products

    contract_of(product_id)
    classes = (getattr(products, name) for name in products.__all__)
    return next(cls for cls in classes if cls.product_id == product_id)


def page_of(contract: Contract) -> str:
    """The product's page in Markdown: purpose, columns, rules, service levels."""
    document = contract.document
    table = document["schema"][0]
    about = document["description"]
    columns = [
        f"| `{c.name}` | {c.logical_type} | {c.classification} | {_marks(c.required, c.unique)}{c.description} |"
        for c in contract.columns.values()
    ]
    rules = [f"| {r.name} | {r.at_least:g} | {r.severity} | {r.description} |" for r in contract.rules.values()]
    where = f"`{contract.product_id}`, version {contract.version}, domain {contract.domain}, owner {contract.owner}"
    levels = [f"* {s['property']}: {s['value']} {s['unit']}. {s['description']}" for s in document["slaProperties"]]
    return "\n".join(
        [
            f"# {document['name']}",
            "",
            f"{where}. {WRITTEN}",
            "",
            f"{about['purpose']} {about['usage']}",
            "",
            about["limitations"],
            "",
            "## Columns",
            "",
            table["dataGranularityDescription"],
            "",
            "| column | type | class | what it is |",
            "| --- | --- | --- | --- |",
            *columns,
            "",
            "## Quality",
            "",
            "| rule | at least | severity | what is measured |",
            "| --- | --- | --- | --- |",
            *rules,
            "",
            "## Service levels",
            "",
            *levels,
            "",
        ]
    )


def _entry(contract: Contract) -> dict[str, Any]:
    document = contract.document
    return {
        "product_id": contract.product_id,
        "name": document["name"],
        "version": contract.version,
        "status": document["status"],
        "domain": contract.domain,
        "owner": contract.owner,
        "purpose": document["description"]["purpose"],
        "columns": len(contract.columns),
        "personal_columns": list(contract.personal),
        "path": f"/v1/products/{contract.product_id}",
    }


def _marks(required: bool, unique: bool) -> str:
    marks = [word for word, holds in (("required", required), ("unique", unique)) if holds]
    return f"({', '.join(marks)}) " if marks else ""
