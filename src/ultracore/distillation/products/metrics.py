"""Model metrics: what was measured of each student, when, on what, and what was decided about it.

Live figures are counted from the decisions that the model answered. What this file does not know: how a model
is evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from ultracore.distillation.errors import ProductError
from ultracore.distillation.events import ModelEvaluatedEvent
from ultracore.distillation.products.product import DataProduct, Facts, Rows
from ultracore.distillation.products.rows import FIGURES

__all__ = ["DistilledModelMetricsProduct"]

SERVED = "FROM decisions WHERE tenant_id = ?1 AND model_id = ?2"
LIVE = {
    "throughput_rps": f"SELECT max(n) FROM (SELECT count(*) AS n {SERVED} GROUP BY substr(timestamp, 1, 19))",
    "consistency_score": (
        f"WITH alike AS (SELECT context_id, count(*) AS n {SERVED} AND call_id IS NOT NULL "
        "GROUP BY context_id, call_id), "
        "whole AS (SELECT sum(n) AS n FROM alike GROUP BY context_id) SELECT "
        "1.0 * (SELECT sum(n * (n - 1)) FROM alike) / nullif((SELECT sum(n * (n - 1)) FROM whole), 0)"
    ),
    "cost_reduction": (
        "SELECT 1.0 * sum(model_id IS ?2 AND audit_agrees IS NULL) / nullif(count(*), 0) FROM decisions "
        f"WHERE tenant_id = ?1 AND source <> 'import' AND timestamp >= (SELECT min(timestamp) {SERVED})"
    ),
    "live_agreement": f"SELECT avg(audit_agrees) {SERVED}",
    "served": f"SELECT count(*) {SERVED}",
    "audited": f"SELECT count(audit_agrees) {SERVED}",
}
"""Figures of what a model did: the most calls in a second; repeats that agree; requests that no teacher saw."""


class DistilledModelMetricsProduct(DataProduct):
    """One row a measurement of, or verdict on, a model; the newest first.

    Example:
        >>> DistilledModelMetricsProduct().domain
        'ml_ops'
    """

    product_id: ClassVar[str] = "distilled_model_metrics"
    order: ClassVar[str] = "position DESC"

    def query(self, model_id: Any = None, limit: int = 100, **filters: Any) -> Rows:  # type: ignore[override]
        """Measurements of a model, or those that pass filters.

        Args:
            model_id: The model, or a mapping of filters as the other products take it.
            limit: How many rows.
            **filters: See `DataProduct.query`.
        """
        if isinstance(model_id, Mapping):
            return super().query(model_id, limit=limit, **filters)
        return super().query(limit=limit, model_id=model_id, **filters)

    def publish(
        self, model_id: str, metrics: Mapping[str, float | None] | None = None, *, data_id: str = "", decisions: int = 0
    ) -> Facts:
        """Write what was measured of a model into the log; without `metrics`, what its served calls show.

        Args:
            model_id: The model.
            metrics: Figures by name; those named by this product become columns.
            data_id: What it was measured on.
            decisions: How many decisions that were.

        Raises:
            ProductError: A figure is no finite number, or there is none.
        """
        self.rows.refresh()
        if metrics is None:
            live = self._live(model_id)
            metrics, decisions = {name: live[name] for name in FIGURES if live.get(name) is not None}, live["served"]
        _check(metrics)
        event = ModelEvaluatedEvent.record(
            model_id=model_id, data_id=data_id, decisions=decisions, metrics=dict(metrics), tenant_id=self.tenant
        )
        self.rows.log.append([event])
        return Facts(model_id=model_id, event_id=event.metadata.event_id, metrics=dict(metrics))

    def get_latest(self, model_id: str | None = None) -> Facts:
        """The last known value of each figure of a model, by default of the one that was measured last.

        Figures that only traffic can show are those of the calls that it served; `None` where there are none.

        Raises:
            ProductError: The log does not know the model.
        """
        self.rows.refresh()
        query = (
            "SELECT * FROM measurements WHERE tenant_id = ?1 AND (?2 IS NULL OR model_id = ?2) ORDER BY position DESC"
        )
        found = self.rows.fetch(query, (self.tenant, model_id))
        if not found:
            if model_id is None:
                return Facts(model_id=None)
            raise ProductError(f"the log knows no model {model_id!r}; `distill log models` lists them")
        return self._latest(found)

    def _latest(self, found: list[dict[str, Any]]) -> Facts:
        model = found[0]["model_id"]
        of_model = [row for row in found if row["model_id"] == model]
        names = (*FIGURES, "dataset_id", "decisions", "certified")
        figures = {name: next((row[name] for row in of_model if row[name] is not None), None) for name in names}
        live = self._live(model)
        known = {name: live[name] if figures.get(name) is None else figures[name] for name in live}
        certified = None if figures["certified"] is None else bool(figures["certified"])
        state = next(row["kind"] for row in of_model if row["kind"] != "evaluated" or row is of_model[-1])
        about = {"model_id": model, "status": state, "timestamp": of_model[0]["timestamp"]}
        return Facts(about | figures | known | {"certified": certified})

    def _live(self, model_id: str) -> dict[str, Any]:
        return {name: self.rows.tuples(query, (self.tenant, model_id))[0][0] for name, query in LIVE.items()}


def _check(metrics: Mapping[str, Any]) -> None:
    if not metrics:
        raise ProductError("there is nothing to publish: the model has not served a call, and no metrics were given")
    for name, value in metrics.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and math.isfinite(value)):
            raise ProductError(f"{name} must be a finite number, not {value!r}")
