"""A result as one HTML file that opens anywhere, offline, and asks nothing of any server.

The page's own policy forbids every request, and every script but the three that stand in it. What
this file does not know: what the sections say.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, cast

from plotly.offline import get_plotlyjs

from ultracore.distillation.report.charts import FIGURES
from ultracore.distillation.report.html import Html, el, hashes, join, json_data
from ultracore.distillation.report.result import Result
from ultracore.distillation.report.sections import hero, sections, tiles
from ultracore.distillation.report.words import clip, verdict

__all__ = ["render_page", "write_page"]


def write_page(result: Mapping[str, Any], path: Path) -> None:
    """Write the page; a reader never sees a half-written one.

    Args:
        result: A run's result, as in `report.result.Result`; whatever is missing is left out.
        path: The HTML file; its folder must exist.
    """
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(render_page(result), encoding="utf-8")
    draft.replace(path)


def render_page(result: Mapping[str, Any]) -> str:
    """The page as text, about 5 MB, nearly all of it plotly.js."""
    run = cast("Result", result)
    figures = {name: figure for name, draw in FIGURES.items() if (figure := draw(run)) is not None}
    body = _body(run, figures)
    plotly = get_plotlyjs() if figures else ""
    scripts = [text for text in (plotly, _asset("page.js")) if text]
    ending = join(json_data(figures, "figures"), *(Html(f"<script>{text}</script>") for text in scripts))
    return f"<!doctype html>\n{el('html', _head(run, scripts), el('body', body, ending), lang='en')}\n"


def _head(result: Result, scripts: list[str]) -> Html:
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {hashes(scripts)}"
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=f"{policy}; base-uri 'none'; form-action 'none'"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{verdict(result).headline} – distillation report"),
        Html(f"<style>{_asset('page.css')}</style>"),
    )


def _body(result: Result, figures: dict[str, Any]) -> Html:
    found = sections(result, figures)
    links = [el("li", el("a", name, href=f"#{identity}")) for identity, name, _ in found]
    navigation = el("nav", el("ul", links, class_="wrap"), aria_label="Sections") if links else None
    return join(
        el("a", "Skip to the result", href="#result", class_="skip"),
        _synthetic(result),
        _header(result),
        navigation,
        el("main", hero(result), tiles(result), [section for _, _, section in found], id="result", class_="wrap"),
        el("footer", "This file is complete in itself: it loads nothing and sends nothing.", class_="wrap"),
    )


def _synthetic(result: Result) -> Html | None:
    kind = clip((result.get("data") or {}).get("kind"), 40)
    if "synthetic" not in kind.lower():
        return None
    said = "Synthetic data: this page shows what a report looks like, not what your agents would save."
    return el("div", said, class_="synthetic", role="note")


def _header(result: Result) -> Html:
    data = result.get("data") or {}
    facts = [("teacher", data.get("teacher")), ("data", data.get("id")), ("student", result.get("model_id"))]
    parts = [f"{name} {clip(value, 60)}" for name, value in facts if value]
    name = el("span", "Distillation report", class_="name")
    return el("header", el("p", name, [f" · {part}" for part in parts]), class_="wrap")


def _asset(name: str) -> str:
    return resources.files("ultracore.distillation.report").joinpath("assets", name).read_text(encoding="utf-8")
