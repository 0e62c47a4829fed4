"""The versions of prompts as a tree, as lines and as one offline page with the curve of their scores.

What this file does not know: how versions come about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ultracore.distillation.optimize.versions import PromptVersion

__all__ = ["prompt_lines", "prompt_page"]

WIDTH, HEIGHT = 640, 200
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
body{color:#222;background:#fff}
li{margin:.3rem 0}pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f4f4;padding:.6rem}small{color:#555}
svg{max-width:100%}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#262626}
small{color:#aaa}}"""


def prompt_lines(versions: Sequence[PromptVersion]) -> list[str]:
    """One line a version, indented below what it came from."""
    return [f"{'  ' * depth}{_words(version)}" for version, depth in _walk(versions)]


def prompt_page(versions: Sequence[PromptVersion]) -> str:
    """An HTML page that loads nothing."""
    items = "".join(
        f'<li style="margin-left:{1.5 * depth}rem"><details><summary>{escape(_words(version))}</summary>'
        f"<pre>{escape(version.text)}</pre></details></li>"
        for version, depth in _walk(versions)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Prompt versions</title>'
        f"<style>{STYLE}</style></head><body><h1>Prompt versions</h1>{_curve(versions)}"
        f'<ul style="list-style:none;padding:0">{items or "<li>There are none yet.</li>"}</ul></body></html>\n'
    )


def _walk(versions: Sequence[PromptVersion]) -> Iterator[tuple[PromptVersion, int]]:
    """Depth first, children in the order of their making; without recursion, as a chain may be long."""
    known = {version.prompt_id for version in versions}
    children: dict[str | None, list[PromptVersion]] = {}
    for version in versions:
        children.setdefault(version.parent_id if version.parent_id in known else None, []).append(version)
    waiting = [(version, 0) for version in reversed(children.get(None, []))]
    while waiting:
        version, depth = waiting.pop()
        yield version, depth
        waiting += [(child, depth + 1) for child in reversed(children.get(version.prompt_id, []))]


def _words(version: PromptVersion) -> str:
    selection = "" if version.score is None else f", {version.score:.1%} on selection"
    test = "" if version.test_score is None else f", {version.test_score:.1%} on test"
    used = ", in use" if version.in_use else ""
    return f"{version.prompt_id[:8]} ({version.reason or version.method}){selection}{test}{used}"


def _curve(versions: Sequence[PromptVersion]) -> str:
    """Selection scores in the order in which the versions came."""
    scores = [version.score for version in versions if version.score is not None]
    if len(scores) < 2:
        return ""
    step = (WIDTH - 60) / (len(scores) - 1)
    points = [(40 + i * step, 10 + (HEIGHT - 40) * (1 - score)) for i, score in enumerate(scores)]
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="currentColor"/>' for x, y in points)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    labels = "".join(
        f'<text x="2" y="{14 + (HEIGHT - 40) * (1 - share):.0f}" font-size="11" fill="currentColor">{share:.0%}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Selection scores">{labels}'
        f'<polyline points="{path}" fill="none" stroke="currentColor"/>{dots}</svg>'
        "<p><small>Scores on the selection part, version by version.</small></p>"
    )
