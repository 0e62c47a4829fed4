"""Whose key opens what, and what a browser is told about each page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from benchmarks.traffic import traffic

from ultracore.distillation.dashboard.overview import Overview
from ultracore.distillation.dashboard.pages import Page, Source, page_endpoints
from ultracore.distillation.events import EventStore
from ultracore.distillation.serve.app import create_app
from ultracore.distillation.serve.keys import Key, Scope, issue
from ultracore.distillation.settings import Settings

from .conftest import NOW

CATALOGUE = Page(
    "/dashboard/catalogue",
    "Catalogue",
    Source(
        "/dashboard/catalogue.json", lambda key, _: {"sections": [{"title": key.tenant, "columns": [], "rows": []}]}
    ),
)


@pytest.fixture
def ask(store: EventStore, tmp_path: Path) -> Callable[..., Any]:
    """Asks the app for a path."""
    settings = Settings(home=str(tmp_path / "home"))
    pages = [Overview(store, settings, lambda: NOW).page(), CATALOGUE]

    def asking(path: str, key: str | None = None, host: str = "127.0.0.1") -> Any:
        app = create_app(store=store, upstream=None, gate=None, settings=settings, more=page_endpoints(pages), env={})
        return asyncio.run(_get(app, path, key, host))

    return asking


async def _get(app: Any, path: str, key: str | None, host: str) -> Any:
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as it,
    ):
        return await it.get(path, headers={"authorization": f"Bearer {key}"} if key else {})


def test_pages_are_open_and_figures_are_not(store: EventStore, ask: Callable[..., Any]) -> None:
    keys = {scope: issue(scope, scope) for scope in Scope}
    store.append([key.event for key in keys.values()])
    for path in ("/", "/dashboard/catalogue"):
        assert ask(path).status_code == 200
    for path in ("/dashboard/figures.json", "/dashboard/catalogue.json"):
        found = {scope: ask(path, key.secret).status_code for scope, key in keys.items()}
        assert found == {Scope.CLIENT: 403, Scope.READ: 200, Scope.ADMIN: 200}
        assert ask(path).status_code == 401
        assert ask(f"{path}?key={keys[Scope.ADMIN].secret}").status_code == 401


def test_a_key_sees_its_tenants_rows_only(store: EventStore, ask: Callable[..., Any]) -> None:
    key = issue("r", Scope.READ, tenant="acme")
    store.append([key.event])
    hour = timedelta(hours=1)
    store.append(e for group in traffic(7, NOW - hour, hour) for e in group)
    store.append(e for group in traffic(3, NOW - hour, hour, seed=1, tenant="acme") for e in group)
    assert ask("/dashboard/figures.json", key.secret).json()["totals"]["decisions"] == 3
    assert ask("/dashboard/figures.json?tenant=default", key.secret).json()["totals"]["decisions"] == 3
    assert ask("/dashboard/catalogue.json", key.secret).json()["sections"][0]["title"] == "acme"


def test_without_keys_only_loopback_names_are_answered(ask: Callable[..., Any]) -> None:
    assert ask("/dashboard/figures.json").status_code == 200
    assert ask("/dashboard/figures.json", host="evil.example").status_code == 403


def test_a_page_may_load_nothing_and_be_framed_by_nobody(ask: Callable[..., Any]) -> None:
    reply = ask("/")
    policy = dict(part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert len(reply.content) < 60_000
    assert 'href="/dashboard/catalogue"' in reply.text


def test_a_window_that_is_none_is_refused(ask: Callable[..., Any]) -> None:
    reply = ask("/dashboard/figures.json?window=99y")
    assert reply.status_code == 400
    assert "24h" in reply.json()["error"]["message"]


def test_json_is_never_kept(ask: Callable[..., Any]) -> None:
    assert ask("/dashboard/figures.json").headers["cache-control"] == "no-store"


def test_a_source_is_told_the_key() -> None:
    assert CATALOGUE.source.read(Key(key_id="k", tenant="t", scope=Scope.READ), {})["sections"][0]["title"] == "t"


def test_figures_that_cannot_be_read_say_what_to_do(ask: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "home" / "projections" / "live.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not a database, but long enough to be looked at" * 100)
    reply = ask("/dashboard/figures.json")
    assert reply.status_code == 503
    assert "delete it" in reply.json()["error"]["message"]
