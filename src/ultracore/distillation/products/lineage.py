"""Lineage as the log tells it: from decisions over the training set, the model and its certificate to served calls.

A graph of things with ids and hashes, and the events that made them. What this file does not know: how it is drawn.
"""

from __future__ import annotations

from typing import Any

from ultracore.distillation.errors import ProductError
from ultracore.distillation.products.store import ProductStore

__all__ = ["of_model", "of_product"]

Graph = dict[str, Any]
INPUTS = {
    "agent_decision_history": ["event_log"],
    "distillation_training_data": ["agent_decision_history"],
    "distilled_model_metrics": ["distillation_training_data", "agent_decision_history"],
}
VERDICTS = ("deployed", "rejected", "revoked", "rolled_back")
DATASETS = "SELECT * FROM datasets WHERE tenant_id = ? AND dataset_id = ?"
SOURCES = """
SELECT coalesce(d.source, 'not in the log') AS source, coalesce(d.agent_id, '') AS agent_id, count(*) AS decisions,
  min(d.position) AS first, max(d.position) AS last, sum(coalesce(d.erased, 0)) AS erased
FROM dataset_rows r LEFT JOIN decisions d ON d.event_id = r.event_id AND d.tenant_id = r.tenant_id
WHERE r.tenant_id = ? AND r.dataset_id = ? GROUP BY 1, 2 ORDER BY 3 DESC
"""
EXPORTS = "SELECT * FROM exports WHERE tenant_id = ? AND product_id = ? ORDER BY position"
SERVED = """
SELECT count(*) AS calls, min(position) AS first, max(position) AS last, count(audit_agrees) AS audited,
  sum(audit_agrees) AS agreed FROM decisions WHERE tenant_id = ? AND model_id = ?
"""


def of_model(rows: ProductStore, model_id: str, tenant: str) -> Graph:
    """What a model was made of, and what it did.

    Returns:
        `nodes`, each with `id`, `kind` and what is known of it, and `edges` from input to output with the event
        that made the output.

    Raises:
        ProductError: The log does not know the model.
    """
    told = rows.fetch(
        "SELECT * FROM measurements WHERE tenant_id = ? AND model_id = ? ORDER BY position", (tenant, model_id)
    )
    if not told:
        raise ProductError(f"the log knows no model {model_id!r}; `distill log models` lists them")
    graph: Graph = {"nodes": [], "edges": []}
    model = _node(graph, "model", model_id)
    for event in told:
        _of_event(graph, rows, tenant, model, event)
    (served,) = rows.fetch(SERVED, (tenant, model_id))
    if served["calls"]:
        node = _node(graph, "served_calls", f"calls of {model_id}", **served)
        source = next((n["id"] for n in reversed(graph["nodes"]) if n["kind"] == "deployment"), model)
        _edge(graph, source, node, None)
    return graph


def of_product(rows: ProductStore, product_id: str, tenant: str) -> Graph:
    """The product's inputs, the versions or models in it, and the exports that were made of it."""
    graph: Graph = {"nodes": [], "edges": []}
    product = _node(graph, "product", product_id)
    for name in INPUTS[product_id]:
        _edge(graph, _node(graph, "log" if name == "event_log" else "product", name), product, None)
    if product_id == "distillation_training_data":
        for row in rows.fetch("SELECT * FROM datasets WHERE tenant_id = ? ORDER BY position", (tenant,)):
            _edge(graph, product, _dataset(graph, rows, tenant, row["dataset_id"]), row["manifest_event_id"])
    if product_id == "distilled_model_metrics":
        found = rows.tuples("SELECT DISTINCT model_id FROM measurements WHERE tenant_id = ? ORDER BY 1", (tenant,))
        for (model_id,) in found:
            part = of_model(rows, model_id, tenant)
            graph["nodes"] += [node for node in part["nodes"] if node not in graph["nodes"]]
            graph["edges"] += [edge for edge in part["edges"] if edge not in graph["edges"]]
            _edge(graph, model_id, product, None)
    for row in rows.fetch(EXPORTS, (tenant, product_id)):
        _edge(graph, product, _node(graph, "export", row["sha256"], **row), None)
    return graph


def _of_event(graph: Graph, rows: ProductStore, tenant: str, model: str, event: dict[str, Any]) -> None:
    kind, event_id = event["kind"], event["event_id"]
    if kind == "trained":
        _edge(graph, _dataset(graph, rows, tenant, event["dataset_id"]), model, event_id)
    elif kind in ("certified", "refused"):
        known = {name: event[name] for name in ("timestamp", "accuracy_vs_teacher", "coverage", "reason")}
        _edge(
            graph,
            model,
            _node(graph, "certificate", event_id, decision=kind, data_id=event["certificate_hash"], **known),
            event_id,
        )
    elif kind in VERDICTS:
        known = {name: event[name] for name in ("timestamp", "reason")}
        node = _node(graph, "deployment" if kind == "deployed" else "verdict", event_id, decision=kind, **known)
        cause = event["causation_id"]
        source = cause if any(n["id"] == cause for n in graph["nodes"]) else model
        _edge(graph, source, node, event_id)
    else:
        known = {name: event[name] for name in ("timestamp", "decisions", "accuracy_vs_teacher")}
        _edge(graph, model, _node(graph, "evaluation", event_id, data_id=event["dataset_id"], **known), event_id)


def _dataset(graph: Graph, rows: ProductStore, tenant: str, dataset_id: str) -> str:
    if any(node["id"] == dataset_id for node in graph["nodes"]):
        return dataset_id
    known = rows.fetch(DATASETS, (tenant, dataset_id))
    names = ("timestamp", "content_hash", "source_event_count", "curated_count", "curation_event_id")
    node = _node(graph, "dataset", dataset_id, **({name: known[0][name] for name in names} if known else {}))
    made = known[0]["manifest_event_id"] if known else None
    for source in rows.fetch(SOURCES, (tenant, dataset_id)):
        origin = f"{source['source']} decisions of {source['agent_id'] or 'unknown agents'}"
        _edge(graph, _node(graph, "decisions", f"{origin} in {dataset_id}", **source), node, made)
    return node


def _node(graph: Graph, kind: str, identity: str, **known: Any) -> str:
    graph["nodes"].append({"id": identity, "kind": kind, **known})
    return identity


def _edge(graph: Graph, source: str, target: str, event_id: str | None) -> None:
    graph["edges"].append({"from": source, "to": target, "event_id": event_id})
