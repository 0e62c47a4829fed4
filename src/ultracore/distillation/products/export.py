"""Rows of a product as a file, whole or not at all, with the fact of it in the log: erasure must know of copies.

What this file does not know: how rows are made.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec

from ultracore.distillation.errors import MissingExtraError, ProductError
from ultracore.distillation.events import ProductExportedEvent
from ultracore.distillation.events.moment import Moment
from ultracore.distillation.products.contract import Contract
from ultracore.distillation.products.filters import condition_of
from ultracore.distillation.products.fine_tuning import FORMS, example_of
from ultracore.distillation.products.product import DataProduct
from ultracore.distillation.products.sql import Limits, prepared

__all__ = ["FORMATS", "Exported", "export"]

OPTIONS = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": "FORMAT csv, HEADER",
    "jsonl": "FORMAT json",
}
FORMATS = (*OPTIONS, "arrow", *FORMS)
BATCH = 100_000


class Exported(NamedTuple):
    """What was written.

    Attributes:
        file: Where.
        format: Of `FORMATS`.
        rows: How many rows, or examples.
        skipped: Decisions that say too little for an example.
        sha256: Of the file, in hex.
    """

    file: Path
    format: str
    rows: int
    skipped: int
    sha256: str


def export(
    product: DataProduct,
    target: Path,
    format: str | None = None,  # noqa: A002 - what users call it
    *,
    filters: Mapping[str, Any] | None = None,
    personal: bool = False,
    as_of: Moment | None = None,
) -> Exported:
    """Write the rows that pass to a file.

    Args:
        product: Whose rows.
        target: The file; it appears when everything is in it.
        format: Of `FORMATS`; by default the file's ending. `openai` and `trl` are for training data and always hold
            personal columns.
        filters: See `filters.condition_of`.
        personal: Also the personal columns.
        as_of: A position or a time: what was known then.

    Raises:
        ProductError: The format is unknown, or not one of this product, or the file cannot be written.
        MissingExtraError: Arrow needs a package that is not installed.
    """
    chosen = format or target.suffix.removeprefix(".")
    if chosen not in FORMATS:
        raise ProductError(f"there is no format {chosen!r}; there are: {', '.join(FORMATS)}")
    skipped = 0
    with _whole_file(target, private=personal or chosen in FORMS) as draft:
        if chosen in FORMS:
            rows, skipped = _examples(product, draft, chosen, filters, as_of)
        elif personal or as_of is not None:
            rows = _row_by_row(product, draft, chosen, filters, personal, as_of)
        else:
            rows = _at_once(product, draft, chosen, filters)
        digest = _sha256(draft)
        # before the file is there: an erasure must know of every copy
        _tell(product, target, chosen, rows, digest, personal=personal or chosen in FORMS, filters=filters)
    return Exported(target, chosen, rows, skipped, digest)


def _at_once(product: DataProduct, draft: Path, chosen: str, filters: Mapping[str, Any] | None) -> int:
    """DuckDB reads, filters and writes."""
    contract = product.contract
    condition = condition_of(filters, contract)
    query = f"SELECT * FROM {contract.product_id} WHERE true{condition.sql} ORDER BY {contract.plain[0]}"
    with prepared(product.rows, product.tenant, Limits()) as connection:
        return _write(connection, query, condition.values, draft, chosen)


def _row_by_row(
    product: DataProduct,
    draft: Path,
    chosen: str,
    filters: Mapping[str, Any] | None,
    personal: bool,
    as_of: Moment | None,
) -> int:
    """Personal columns are in the log, the past is projected: rows come singly, and DuckDB writes the form."""
    lines = draft.with_name(f"{draft.name}.lines")
    names = [*product.contract.plain, *(product.contract.personal if personal else ())]
    with lines.open("wb") as file:
        for row in product.every(filters, personal=personal, as_of=as_of):
            file.write(msgspec.json.encode(row) + b"\n")
    with duckdb.connect(config={"threads": 1}) as connection:
        query = f"SELECT * FROM read_json(?, format = 'newline_delimited', columns = {_shape(product.contract, names)})"
        return _write(connection, query, (str(lines),), draft, chosen)


def _write(connection: duckdb.DuckDBPyConnection, query: str, values: tuple[Any, ...], draft: Path, chosen: str) -> int:
    if chosen == "arrow":
        return _arrow(connection, query, values, draft)
    told = connection.execute(f"COPY ({query}) TO '{_quoted(draft)}' ({OPTIONS[chosen]})", values).fetchone()
    return int(told[0]) if told else 0


def _arrow(connection: duckdb.DuckDBPyConnection, query: str, values: tuple[Any, ...], draft: Path) -> int:
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError("an Arrow file", "arrow") from None
    reader: Any = connection.sql(query, params=values).to_arrow_reader(BATCH)
    rows = 0
    with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
        for batch in reader:
            rows += batch.num_rows
            writer.write_batch(batch)
    return rows


def _examples(
    product: DataProduct, draft: Path, form: str, filters: Mapping[str, Any] | None, as_of: Moment | None
) -> tuple[int, int]:
    """Training decisions with a weight, in the order of their use; each once, whatever its weight."""
    if product.product_id != "distillation_training_data":
        raise ProductError(f"{form} is a form of distillation_training_data, not of {product.product_id}")
    wanted = {"part": "train", "weight": {"gt": 0}, **(filters or {})}
    written = skipped = 0
    with draft.open("wb") as file:
        for row in product.every(wanted, as_of=as_of):
            event = product.decision(row["event_id"])
            example = None if event is None else example_of(event, form)
            if example is None:
                skipped += 1
            else:
                written += file.write(msgspec.json.encode(example) + b"\n") > 0
    return written, skipped


def _tell(
    product: DataProduct,
    target: Path,
    chosen: str,
    rows: int,
    digest: str,
    *,
    personal: bool,
    filters: Mapping[str, Any] | None,
) -> None:
    dataset = (filters or {}).get("dataset_id")
    told = ProductExportedEvent.record(
        product_id=product.product_id,
        file=str(target.absolute()),
        format=chosen,
        rows=rows,
        sha256=digest,
        until=product.rows.refresh(),
        holds_personal=personal,
        dataset_id=dataset if isinstance(dataset, str) else None,
        tenant_id=product.tenant,
    )
    product.rows.log.append([told])


def _shape(contract: Contract, names: list[str]) -> str:
    kinds = (f"'{name}': '{contract.columns[name].physical_type}'" for name in names)
    return "{" + ", ".join(kinds) + "}"


@contextmanager
def _whole_file(target: Path, *, private: bool) -> Iterator[Path]:
    """A draft in a folder that is nobody else's; `private`: nor is the file that it becomes."""
    if not target.parent.is_dir():
        raise ProductError(f"there is no folder {target.parent}; make it first")
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    draft = folder / target.name
    try:
        yield draft
        if private:
            draft.chmod(0o600)
        draft.replace(target)
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise ProductError(f"{target} could not be written: {reason}; check the space on its disk") from error
    finally:
        shutil.rmtree(folder)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
