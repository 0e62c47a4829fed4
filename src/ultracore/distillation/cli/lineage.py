"""`distill lineage MODEL`: from the decisions that a model was made of to the calls that it sent.

What this file does not know: how the graph is found.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.files import whole_file
from ultracore.distillation.cli.home import home_option, settings_at
from ultracore.distillation.cli.log import open_log

__all__ = ["lineage_command"]

Graph = dict[str, Any]
STYLE = "body{font:16px/1.5 system-ui;margin:2rem;max-width:70rem}li{margin:.3rem 0}code{color:#555}"


@click.command("lineage", epilog=examples("distill lineage 41f94ed63988f6a3", "distill lineage MODEL --html tree.html"))
@click.argument("model")
@click.option("--tenant", help="Whose model.  [default: the tenant of the settings]")
@click.option("--json", "as_json", is_flag=True, help="OpenLineage run events, one a line.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write the tree as a page.")
@home_option
def lineage_command(model: str, tenant: str | None, as_json: bool, page: Path | None, home: Path | None) -> None:
    """Print what MODEL was made of and what came of it, each with the event that says so."""
    from ultracore.distillation.products.lineage import of_model
    from ultracore.distillation.products.open_lineage import run_events
    from ultracore.distillation.products.store import ProductStore

    store, folder = open_log(home)
    tenant = tenant or settings_at(folder).tenant
    rows = ProductStore(store, folder)
    rows.refresh()
    graph = of_model(rows, model, tenant)
    if as_json:
        for event in run_events(graph, f"distill/{tenant}"):
            click.echo(msgspec.json.encode(event))
    elif page is not None:
        with whole_file(page) as draft:
            draft.write_text(_page(graph, model), encoding="utf-8")
        click.echo(f"{page}: {len(graph['nodes'])} things")
    else:
        for depth, node in _tree(graph):
            click.echo(f"{'   ' * depth}{node['kind']} {_words(node)}")


def _tree(graph: Graph) -> Iterator[tuple[int, Graph]]:
    """Depth first from what has no input; what has several inputs is under the first."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    seen: set[str] = set()

    def descend(identity: str, depth: int) -> Iterator[tuple[int, Graph]]:
        if identity not in seen:
            seen.add(identity)
            yield depth, nodes[identity]
            for edge in graph["edges"]:
                if edge["from"] == identity:
                    yield from descend(edge["to"], depth + 1)

    inner = {edge["to"] for edge in graph["edges"]}
    roots = [identity for identity in nodes if identity not in inner]
    for root in sorted(roots, key=lambda identity: nodes[identity]["kind"] != "decisions", reverse=True):
        yield from descend(root, 0)


def _words(node: Graph) -> str:
    known = (f"{name} {value}" for name, value in node.items() if name not in ("id", "kind") and value is not None)
    return ", ".join([node["id"], *known])


def _page(graph: Graph, model: str) -> str:
    lines = []
    before = -1
    for depth, node in _tree(graph):
        lines.append("<ul>" * max(depth - before, 0) + "</ul>" * max(before - depth, 0))
        lines.append(f"<li><b>{html.escape(node['kind'])}</b> <code>{html.escape(_words(node))}</code></li>")
        before = depth
    title = f"Lineage of {html.escape(model)}"
    body = "\n".join(lines) + "</ul>" * (before + 1)
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f"{head}<h1>{title}</h1>{body}</html>\n"
