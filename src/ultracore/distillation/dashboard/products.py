"""The page of the data products: what there is, whose it is, how many rows, and how good they were measured to be.

What this file does not know: what a product holds.
"""

from __future__ import annotations

from typing import Any

from ultracore.distillation.dashboard.pages import Page, Source
from ultracore.distillation.products.catalogue import product_class
from ultracore.distillation.products.contract import PRODUCT_IDS
from ultracore.distillation.products.product import DataProduct
from ultracore.distillation.products.store import ProductStore
from ultracore.distillation.serve.keys import Key

__all__ = ["products_page"]

Table = dict[str, Any]


def products_page(rows: ProductStore) -> Page:
    """The page at `/products`."""

    def read(key: Key, parameters: dict[str, str]) -> dict[str, Any]:
        rows.refresh()
        products = [product_class(product_id)(rows.log, tenant=key.tenant, rows=rows) for product_id in PRODUCT_IDS]
        return {"sections": [_catalogue(products), *map(_quality, products)]}

    return Page("/products", "Data products", Source("/dashboard/products.json", read))


def _catalogue(products: list[DataProduct]) -> Table:
    lines = [
        [
            p.product_id,
            p.contract.version,
            p.domain,
            p.owner,
            f"{p.count():,}",
            p.contract.document["description"]["purpose"],
        ]
        for p in products
    ]
    note = "Columns, filters and SQL: docs/products.md, or GET /v1/products."
    columns = ["product", "contract", "domain", "owner", "rows", "what it is for"]
    return {"title": "Data products", "note": note, "columns": columns, "rows": lines}


def _quality(product: DataProduct) -> Table:
    history = product.quality_history()[:1]
    measured: dict[str, Any] = history[0] if history else {"metrics": {}, "breaches": []}
    lines = [
        [
            name,
            _shown(measured["metrics"].get(name)),
            f"{rule.at_least:g}",
            "breach" if name in measured["breaches"] else "",
            rule.description,
        ]
        for name, rule in product.contract.rules.items()
    ]
    note = f"Measured {history[0]['timestamp'][:19]}." if history else "Not measured yet: `distill products quality`."
    columns = ["rule", "measured", "at least", "", "what is measured"]
    return {"title": f"Quality of {product.product_id}", "note": note, "columns": columns, "rows": lines}


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
