"""What every data product can do: refresh, query, describe itself, measure its quality, name its inputs, register.

Results can be used at once or awaited: scripts and coroutines read the same. What this file does not know: what
a particular product counts.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from ultracore.distillation.errors import ProductError
from ultracore.distillation.events import AgentDecisionEvent, EventStore, ProductRegisteredEvent
from ultracore.distillation.events.moment import Moment
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.products import lineage, quality
from ultracore.distillation.products.contract import Contract, contract_of
from ultracore.distillation.products.filters import condition_of
from ultracore.distillation.products.store import VIEWS, ProductStore
from ultracore.distillation.settings import Settings, load_settings

__all__ = ["DataProduct", "Facts", "Row", "Rows"]

Row = dict[str, Any]
MAX_LIMIT = 10_000
PAGE = 2_000


class Rows(list[Row]):
    """A list of rows; awaiting it gives it."""

    def __await__(self) -> Generator[None, None, Rows]:
        yield from ()
        return self


class Facts(dict[str, Any]):
    """A dict of figures; awaiting it gives it."""

    def __await__(self) -> Generator[None, None, Facts]:
        yield from ()
        return self


class DataProduct:
    """A read-only view of the log under a contract; cheap to make, the log is opened when it is first asked.

    Args:
        store: The log; by default the one that the settings name.
        home: The folder for the projected rows; by default that of the log's file, else that of the settings.
        tenant: Whose rows; by default the settings' tenant. Other tenants' rows are never seen.
        rows: Projected rows to share with other products.

    Attributes:
        product_id: Its id.
        domain: The domain that it belongs to.
        owner: The team that answers for it.
    """

    product_id: ClassVar[str] = ""
    order: ClassVar[str] = ""

    def __init__(
        self,
        store: EventStore | None = None,
        *,
        home: Path | str | None = None,
        tenant: str | None = None,
        rows: ProductStore | None = None,
    ) -> None:
        self.settings: Settings = load_settings(home=None if home is None else str(home))
        self.tenant = tenant or self.settings.tenant
        self._store = store
        self._home = None if home is None else Path(home)
        self._rows = rows

    @property
    def contract(self) -> Contract:
        """What is promised."""
        return contract_of(self.product_id)

    @property
    def domain(self) -> str:  # noqa: D102  see the class
        return self.contract.domain

    @property
    def owner(self) -> str:  # noqa: D102  see the class
        return self.contract.owner

    @property
    def rows(self) -> ProductStore:
        """The projected rows."""
        if self._rows is None:
            file = getattr(self._store, "path", None)
            home = self._home or (file.parent if isinstance(file, Path) else self.settings.home_path)
            log = self._store if self._store is not None else open_store(home, self.settings)
            self._rows = ProductStore(log, home)
        return self._rows

    def refresh(self) -> Facts:
        """Take in what is new in the log.

        Returns:
            `position` read up to, and the number of `rows`.
        """
        position = self.rows.refresh()
        return Facts(product_id=self.product_id, position=position, rows=self.count())

    def query(
        self,
        filters: Mapping[str, Any] | None = None,
        *,
        limit: int = 100,
        offset: int = 0,
        personal: bool = False,
        as_of: Moment | None = None,
        **more: Any,
    ) -> Rows:
        """Rows that pass every filter, then `offset` skipped, then at most `limit`.

        Args:
            filters: By column; see `filters.condition_of`.
            limit: How many rows, at most 10,000; for more see `pages` and the exports.
            offset: How many rows of those that pass are left out first.
            personal: Also the personal columns, read from the log; empty where a person was erased.
            as_of: A position or a time: what was known then. Reads the log up to there.
            **more: Further filters by column name.

        Raises:
            ProductError: A column, operator, limit or offset is none.
        """
        _check(limit, offset)
        wanted = {**(filters or {}), **{name: value for name, value in more.items() if value is not None}}
        self.rows.refresh()
        return self._page(wanted, f"{self.order} LIMIT {limit} OFFSET {offset}", personal, as_of)

    def pages(
        self, filters: Mapping[str, Any] | None = None, *, personal: bool = False, as_of: Moment | None = None
    ) -> Iterator[Rows]:
        """All rows that pass, in the order of the log, in pages: of a large result little is in memory."""
        self.rows.refresh()
        key = self.contract.plain[0]
        if as_of is not None:
            yield self._page(filters, key, personal, as_of)
            return
        after = -1
        while page := self._page(filters, f"{key} LIMIT {PAGE}", personal, None, after=after):
            yield page
            after = page[-1][key]

    def every(self, filters: Mapping[str, Any] | None = None, **how: Any) -> Iterator[Row]:
        """As `pages`, row by row."""
        return chain.from_iterable(self.pages(filters, **how))

    def decision(self, event_id: str) -> AgentDecisionEvent | None:
        """A decision of this tenant, whole, from the log."""
        query = "SELECT position FROM decisions WHERE event_id = ? AND tenant_id = ?"
        found = self.rows.tuples(query, (event_id, self.tenant))
        return next(self.rows.decisions([position for (position,) in found]), None)

    def count(self, filters: Mapping[str, Any] | None = None) -> int:
        """How many rows pass."""
        condition = condition_of(filters, self.contract)
        query = f"SELECT count(*) FROM ({VIEWS[self.product_id]}) WHERE tenant_id = ?{condition.sql}"
        return int(self.rows.tuples(query, (self.tenant, *condition.values))[0][0])

    def get_schema(self) -> Facts:
        """Columns with type, meaning and classification, and who answers for them, as the contract says."""
        contract = self.contract
        return Facts(
            product_id=self.product_id,
            domain=contract.domain,
            owner=contract.owner,
            version=contract.version,
            columns=[column._asdict() for column in contract.columns.values()],
            slas=contract.document["slaProperties"],
        )

    def measure_quality(self, *, record: bool = True) -> Facts:
        """Measure each rule of the contract on the rows; a breach raises an alert, once, until it is over.

        Args:
            record: Whether the log is told; the history of what was measured is there.

        Returns:
            By rule its value (0..1, `None` where no row says anything), `breaches`, `rows` and `position`.
        """
        self.rows.refresh()
        measured = quality.measure(self.rows, self.contract, self.tenant)
        if record:
            quality.record(self.rows, self.contract, self.tenant, measured)
        return Facts(**measured.metrics, breaches=measured.breaches, rows=measured.rows, position=measured.position)

    def quality_history(self) -> Rows:
        """What was measured before, the newest first."""
        self.rows.refresh()
        return Rows(quality.history(self.rows, self.product_id, self.tenant))

    def get_lineage(self) -> Facts:
        """Where the rows come from and what was made of them, from the log: `nodes` and `edges`."""
        self.rows.refresh()
        return Facts(lineage.of_product(self.rows, self.product_id, self.tenant))

    def validate(self) -> Facts:
        """Check the contract against the standard's schema, and the rows against the contract.

        Returns:
            `valid`, and the `violations` in words.
        """
        self.rows.refresh()
        found = [*self.contract.violations(), *quality.violations(self.rows, self.contract, self.tenant)]
        return Facts(product_id=self.product_id, valid=not found, violations=found)

    def register(self) -> Facts:
        """Write into the log that the product is offered under this contract; the same contract once only."""
        self.rows.refresh()
        contract = self.contract
        known = self.rows.fetch(
            "SELECT timestamp FROM registrations WHERE tenant_id = ? AND product_id = ? AND contract_hash = ?",
            (self.tenant, self.product_id, contract.hash),
        )
        if not known:
            told = ProductRegisteredEvent.record(
                product_id=self.product_id,
                contract_version=contract.version,
                contract_hash=contract.hash,
                tenant_id=self.tenant,
            )
            self.rows.log.append([told])
        return Facts(product_id=self.product_id, version=contract.version, registered=True, contract_hash=contract.hash)

    def _page(
        self,
        filters: Mapping[str, Any] | None,
        order: str,
        personal: bool,
        as_of: Moment | None,
        after: int | None = None,
    ) -> Rows:
        contract = self.contract
        condition = condition_of(filters, contract)
        query = f"SELECT {', '.join(self._selected)} FROM ({VIEWS[self.product_id]}) WHERE tenant_id = ?"
        values: tuple[Any, ...] = (self.tenant, *condition.values)
        if after is not None:
            query, values = f"{query} AND {contract.plain[0]} > ?", (self.tenant, after, *condition.values)
        found = self.rows.fetch(f"{query}{condition.sql} ORDER BY {order}", values, as_of=as_of)
        return Rows(self._finished(found, personal))

    @property
    def _selected(self) -> list[str]:
        plain = self.contract.plain
        return [*plain, *(("position",) if "position" not in plain and self.contract.personal else ())]

    def _finished(self, found: list[Row], personal: bool) -> list[Row]:
        """Truth values as such; personal columns from the log; nothing that the contract does not name."""
        contract = self.contract
        flags = [c.name for c in contract.columns.values() if c.logical_type == "boolean"]
        for row in found:
            for name in flags:
                if row[name] is not None:
                    row[name] = bool(row[name])
            position = row["position"] if "position" in contract.columns else row.pop("position", None)
            if personal:
                row.update(self._personal(position))
        return found

    def _personal(self, position: int | None) -> Row:
        names = self.contract.personal
        event = next(self.rows.decisions([] if position is None else [position]), None)
        if event is None:
            return dict.fromkeys(names)
        return {name: msgspec.to_builtins(getattr(event, name)) for name in names}


def _check(limit: int, offset: int) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit <= MAX_LIMIT:
        raise ProductError(f"limit must be between 1 and {MAX_LIMIT:,}, not {limit!r}")
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < 2**62:
        raise ProductError(f"offset must be a whole number from 0, not {offset!r}")
