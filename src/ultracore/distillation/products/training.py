"""The training data: which decisions each version of a training set is made of.

What this file does not know: how rows are chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from ultracore.distillation.errors import ProductError
from ultracore.distillation.events import DatasetManifestEvent, Event, TrainingDataCuratedEvent
from ultracore.distillation.products.product import DataProduct, Facts, Row
from ultracore.distillation.tools import canonical_json

__all__ = ["DistillationTrainingDataProduct"]

CHUNK = 10_000
VERSIONS = "SELECT * FROM datasets WHERE tenant_id = ? AND (? IS NULL OR dataset_id = ?) ORDER BY position"
TOTALS = """
SELECT count(*) AS total_examples, sum(weight) AS total_weight, sum(part = 'train' AND weight > 0) AS training_examples,
  sum(part = 'calibration') AS calibration_examples, sum(part = 'test') AS test_examples,
  count(DISTINCT cluster_id) AS unique_clusters, count(DISTINCT agent_id) AS unique_agents,
  count(DISTINCT tool_selected) AS unique_tools
FROM dataset_rows r LEFT JOIN decisions d ON d.event_id = r.event_id AND d.tenant_id = r.tenant_id
WHERE r.tenant_id = ? AND r.dataset_id = ?
"""


class DistillationTrainingDataProduct(DataProduct):
    """One row a decision and version, in the order of use.

    Example:
        >>> "cluster_id" in [column["name"] for column in DistillationTrainingDataProduct().get_schema()["columns"]]
        True
    """

    product_id: ClassVar[str] = "distillation_training_data"
    order: ClassVar[str] = "row_id"

    def publish(self, data: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> Facts:
        """Write a training set into the log as a version: which decisions, their weights, parts and clusters.

        Args:
            data: Rows as `get_history()` or a curator gives them, or a curator's whole result. Each names its
                decision in the log by `event_id`.

        Returns:
            `dataset_id`, which names the content, `rows`, and whether it is `new`.

        Raises:
            ProductError: There are no rows, or one names no decision of the log, or one twice.
        """
        rows = _rows_of(data)
        ids = [row.get("event_id") for row in rows]
        known = self.rows.log.known([i for i in ids if isinstance(i, str)])
        if missing := [number for number, event_id in enumerate(ids) if event_id not in known]:
            raise ProductError(f"row {missing[0]} names no decision of the log by 'event_id'; log the decisions first")
        if len(set(ids)) < len(ids):
            raise ProductError("a decision is in the rows twice; give it once, with a weight")
        listed = [_entry(row) for row in rows]
        dataset_id = hashlib.sha256(canonical_json(listed)).hexdigest()[:16]
        new = not self.versions(dataset_id)
        if new:
            self.rows.log.append(_facts(dataset_id, listed, data, self.tenant))
        return Facts(dataset_id=dataset_id, dataset_version=dataset_id, rows=len(rows), new=new)

    def versions(self, dataset_id: str | None = None) -> list[Row]:
        """The versions there are, the oldest first; or the one of this id."""
        self.rows.refresh()
        return self.rows.fetch(VERSIONS, (self.tenant, dataset_id, dataset_id))

    def get_statistics(self, dataset_version: str | None = None) -> Facts:
        """Figures of a version, the newest by default; `dataset_version` is `None` where there is none.

        Raises:
            ProductError: There is no such version.
        """
        versions = self.versions(dataset_version)
        if not versions:
            if dataset_version is not None:
                raise ProductError(f"there is no training set {dataset_version!r}; `versions()` lists them")
            return Facts(dataset_version=None, total_examples=0, versions=0)
        newest = versions[-1]
        (totals,) = self.rows.fetch(TOTALS, (self.tenant, newest["dataset_id"]))
        names = ("timestamp", "source_event_count", "curated_count", "deduplication_rate", "quality_score")
        told = {name: newest[name] for name in (*names, "content_hash")}
        count = len(self.versions())
        return Facts(dataset_version=newest["dataset_id"], versions=count, **told, **totals)


def _rows_of(data: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    rows = data.get("curated_data") if isinstance(data, Mapping) else data
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes) or not rows:
        raise ProductError("there are no rows to publish: give a list of decisions, or a curator's result")
    if not all(isinstance(row, Mapping) for row in rows):
        raise ProductError("each row must be a dict with an 'event_id'")
    return rows


def _entry(row: Mapping[str, Any]) -> tuple[str, str, float, int]:
    cluster = row.get("cluster_id")
    part = "calibration" if row.get("split") == "calibration" else "train"
    weight = row.get("weight")
    try:
        return row["event_id"], part, 1.0 if weight is None else float(weight), -1 if cluster is None else int(cluster)
    except (TypeError, ValueError):
        raise ProductError(f"row of {row['event_id']}: weight and cluster_id must be numbers") from None


def _facts(dataset_id: str, listed: list[tuple[str, str, float, int]], data: Any, tenant: str) -> list[Event]:
    """The list in chunks, then what is known of its making."""
    entries = iter(listed)
    chunks = list(iter(lambda: list(islice(entries, CHUNK)), []))
    clustered = any(cluster >= 0 for *_, cluster in listed)
    manifests = [
        DatasetManifestEvent.record(
            dataset_id=dataset_id,
            chunk=number,
            chunks=len(chunks),
            event_ids=[entry[0] for entry in chunk],
            parts=[entry[1] for entry in chunk],
            weights=[entry[2] for entry in chunk],
            clusters=[entry[3] for entry in chunk] if clustered else [],
            tenant_id=tenant,
        )
        for number, chunk in enumerate(chunks, start=1)
    ]
    return [*manifests, _curated(dataset_id, listed, data, tenant)]


def _curated(dataset_id: str, listed: list[tuple[str, str, float, int]], data: Any, tenant: str) -> Event:
    """As the curator counted, where its result was given; otherwise a row stands for its weight."""
    stats = data.get("stats", {}) if isinstance(data, Mapping) else {}
    source = int(stats.get("original_count") or round(sum(weight for _, _, weight, _ in listed)))
    return TrainingDataCuratedEvent.record(
        dataset_id=dataset_id,
        source_event_count=source,
        curated_count=len(listed),
        deduplication_rate=stats.get("deduplication_rate", 1 - len(listed) / source if source else 0.0),
        cluster_count=len({cluster for *_, cluster in listed if cluster >= 0}),
        quality_score=stats.get("validation_agreement"),
        parameters={"method": "published"},
        tenant_id=tenant,
    )
