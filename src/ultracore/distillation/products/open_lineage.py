"""Lineage as OpenLineage run events, in JSON: what other tools read.

Each edge of the graph that an event of the log made is a run of a job, with the datasets that went in and came out.
What this file does not know: how the graph is found.
"""

from __future__ import annotations

import uuid
from importlib.metadata import version
from typing import Any

__all__ = ["run_events"]

SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
JOBS = {
    "dataset": "curate",
    "model": "train",
    "certificate": "certify",
    "evaluation": "evaluate",
    "deployment": "deploy",
    "verdict": "decide",
    "served_calls": "serve",
    "export": "export",
}


def run_events(graph: dict[str, Any], namespace: str) -> list[dict[str, Any]]:
    """A COMPLETE event for each thing of the graph that was made of others.

    Args:
        graph: See `lineage`.
        namespace: Whose it is, such as `distill/TENANT`.
    """
    nodes = {node["id"]: node for node in graph["nodes"]}
    made: dict[str, list[dict[str, Any]]] = {}
    for edge in graph["edges"]:
        made.setdefault(edge["to"], []).append(edge)
    return [_run(nodes, nodes[target], edges, namespace) for target, edges in made.items()]


def _run(
    nodes: dict[str, dict[str, Any]], target: dict[str, Any], edges: list[dict[str, Any]], namespace: str
) -> dict[str, Any]:
    """The run id is derived from the event that made it, so that the same fact is the same run."""
    event_id = next((edge["event_id"] for edge in edges if edge["event_id"]), target["id"])
    return {
        "eventType": "COMPLETE",
        "eventTime": target.get("timestamp") or next((nodes[e["from"]].get("timestamp") for e in edges), None),
        "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{namespace}/{event_id}"))},
        "job": {"namespace": namespace, "name": JOBS.get(target["kind"], "project")},
        "inputs": [_dataset(nodes[edge["from"]], namespace) for edge in edges],
        "outputs": [_dataset(target, namespace)],
        "producer": f"https://pypi.org/project/ultracore-distillation/{version('ultracore-distillation')}",
        "schemaURL": SCHEMA_URL,
    }


def _dataset(node: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {"namespace": namespace, "name": f"{node['kind']}/{node['id']}"}
