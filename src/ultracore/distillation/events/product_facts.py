"""Facts about data products: that one was registered, what was measured of its rows, and what left the house.

What this file does not know: what a product holds.
"""

from __future__ import annotations

from typing import ClassVar

from ultracore.distillation.events.base import Event

__all__ = ["ProductExportedEvent", "ProductQualityMeasuredEvent", "ProductRegisteredEvent"]


class ProductRegisteredEvent(Event, frozen=True, kw_only=True):
    """A product is offered under a contract; `contract_hash` is the SHA-256 of the contract's text."""

    event_type: ClassVar[str] = "PRODUCT_REGISTERED"
    aggregate_type: ClassVar[str] = "product"
    aggregate_key: ClassVar[str] = "product_id"

    product_id: str
    contract_version: str
    contract_hash: str


class ProductQualityMeasuredEvent(Event, frozen=True, kw_only=True):
    """The rules of a contract were measured on the rows up to `position`.

    `metrics` holds the measured value of each rule, `null` where no row says anything; `breaches` names the
    rules whose value is outside of what the contract says.
    """

    event_type: ClassVar[str] = "PRODUCT_QUALITY_MEASURED"
    aggregate_type: ClassVar[str] = "product"
    aggregate_key: ClassVar[str] = "product_id"

    product_id: str
    contract_version: str
    position: int
    rows: int
    metrics: dict[str, float | None] = {}
    breaches: list[str] = []


class ProductExportedEvent(Event, frozen=True, kw_only=True):
    """Rows of a product were written to a file; `sha256` names its bytes, `until` the position up to which it knows.

    `holds_personal` says whether personal columns are in it: such a copy is beyond the reach of key destruction.
    """

    event_type: ClassVar[str] = "PRODUCT_EXPORTED"
    aggregate_type: ClassVar[str] = "product"
    aggregate_key: ClassVar[str] = "product_id"
    personal: ClassVar[tuple[str, ...]] = ("file",)

    product_id: str
    file: str
    format: str
    rows: int
    sha256: str
    until: int
    holds_personal: bool
    dataset_id: str | None = None
