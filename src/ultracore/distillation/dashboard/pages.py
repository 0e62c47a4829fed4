"""The gateway's pages: each a title, a path, and what to read; the rest is the same for all of them.

A page is an empty shell that anybody may load: no data is in it, and no script but its own may run. Its script asks
for JSON with the reader's key, which stays in the tab (`sessionStorage`) and is never in an address. To add a page,
add a `Page` to the list that `cli.serve` gives to `page_endpoints`. What this file does not know: what is read.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib import resources
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ultracore.distillation.errors import LogError
from ultracore.distillation.report.html import Html, el, hashes, join, json_data
from ultracore.distillation.serve.app import READERS, Endpoint
from ultracore.distillation.serve.guard import caller_of
from ultracore.distillation.serve.keys import Key
from ultracore.distillation.serve.operations import json_response
from ultracore.distillation.serve.wire import RequestError

__all__ = ["Page", "Read", "Source", "page_endpoints"]

Read = Callable[[Key, dict[str, str]], dict[str, Any]]
"""Reads, on a thread, what a key's tenant may see, with the parameters of the address."""

READS_AT_ONCE = 4
"""Threads of their own, so that readers never take those that the gateway's answers need."""

HEADERS = {
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Source(NamedTuple):
    """JSON for pages, for keys that may read."""

    path: str
    read: Read


class Page(NamedTuple):
    """A page.

    Attributes:
        path: Its address.
        title: In the navigation, and above the page.
        source: What it asks for every few seconds. Without a script of its own the answer is
            `{"sections": [{"title", "note", "columns", "rows"}]}`, shown as tables.
        scripts: Files in `assets`; one of them calls `dashboard(render)` of `shell.js`.
        more: What else the script may ask for.
    """

    path: str
    title: str
    source: Source
    scripts: tuple[str, ...] = ("tables.js",)
    more: tuple[Source, ...] = ()


def page_endpoints(pages: Sequence[Page]) -> list[Endpoint]:
    """The routes of the pages and of their JSON."""
    pool = ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="distill-page")
    shells = [Endpoint(page.path, ("GET",), functools.partial(_shell, page, pages), None) for page in pages]
    sources = [source for page in pages for source in (page.source, *page.more)]
    return shells + [Endpoint(s.path, ("GET",), functools.partial(_json, s.read, pool), READERS) for s in sources]


async def _json(read: Read, pool: Executor, request: Request) -> Response:
    asked = caller_of(request), dict(request.query_params)
    try:
        value = await asyncio.get_running_loop().run_in_executor(pool, read, *asked)
    except LogError as error:
        raise RequestError(503, str(error), code="log_unavailable", headers={"retry-after": "1"}) from None
    answer = json_response(value)
    answer.headers.update({"cache-control": "no-store", "x-content-type-options": "nosniff"})
    return answer


async def _shell(page: Page, pages: Sequence[Page], request: Request) -> Response:
    text, policy = _rendered(page, tuple((p.path, p.title) for p in pages))
    return Response(text, headers={**HEADERS, "content-security-policy": policy}, media_type="text/html")


@functools.cache
def _rendered(page: Page, links: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """The shell and its policy: one file, so that one request opens the page."""
    style = asset("page.css", "report") + asset("live.css")
    scripts = [asset(name) for name in ("shell.js", "charts.js", *page.scripts)]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{page.title} – distillation gateway"),
        Html(f"<style>{style}</style>"),
    )
    body = el("body", _frame(page, links), *(Html(f"<script>{script}</script>") for script in scripts))
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n", _policy(style, scripts)


def _frame(page: Page, links: Iterable[tuple[str, str]]) -> Html:
    items = [el("li", el("a", title, href=path, aria_current=path == page.path and "page")) for path, title in links]
    return join(
        el("a", "Skip to the figures", href="#main", class_="skip"),
        el("header", el("p", el("span", "Distillation gateway", class_="name"), el("span", id="tools")), class_="wrap"),
        el("nav", el("ul", items, class_="wrap"), aria_label="Pages"),
        el("main", el("h1", page.title, class_="hidden"), id="main", class_="wrap", tabindex=-1),
        el("footer", el("p", id="state", role="status"), class_="wrap"),
        el(
            "noscript",
            el("p", "This page needs JavaScript; `distill top` shows the same in a terminal.", class_="wrap"),
        ),
        json_data({"source": page.source.path}, "page"),
    )


def _policy(style: str, scripts: Iterable[str]) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {hashes(scripts)}",
            f"style-src {hashes([style])}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def asset(name: str, package: str = "dashboard") -> str:
    """A file that is shipped beside the code."""
    folder = resources.files(f"ultracore.distillation.{package}")
    return folder.joinpath("assets", name).read_text(encoding="utf-8")
