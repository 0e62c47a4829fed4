"""The gateway: an OpenAI-compatible server in which a certified student answers what it may.

Everything is put together here, and every route says whose keys may use it. What this file does not
know: what the endpoints do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import EventStore
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.serve.control import PAUSE_EVENTS, Control, PeriodicThread, Switch
from ultracore.distillation.serve.decider import Decider
from ultracore.distillation.serve.deployment import DEPLOYMENT_EVENTS, Deployment
from ultracore.distillation.serve.dialect import CHAT
from ultracore.distillation.serve.direct import Direct
from ultracore.distillation.serve.gate import Gate
from ultracore.distillation.serve.gateway import Gateway
from ultracore.distillation.serve.guard import Guard, allowing, error_response
from ultracore.distillation.serve.keys import KEY_EVENTS, KeyRing, Scope
from ultracore.distillation.serve.messages import MESSAGES
from ultracore.distillation.serve.operations import Operations
from ultracore.distillation.serve.recall import Heads, Recall
from ultracore.distillation.serve.responses import RESPONSES
from ultracore.distillation.serve.sampling import SHARE_EVENTS, AuditShares
from ultracore.distillation.serve.spill import Spill
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.whole import Front
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.settings import Settings

__all__ = ["READERS", "Endpoint", "create_app", "endpoints"]

CLIENTS = frozenset({Scope.CLIENT, Scope.ADMIN})
READERS = frozenset({Scope.READ, Scope.ADMIN})
EVERYBODY = frozenset(Scope)
ADMINS = frozenset({Scope.ADMIN})
DIALECTS = (CHAT, RESPONSES, MESSAGES)


class Endpoint(NamedTuple):
    """A route: where, how, what, and the scopes of the keys that may use it; `None` where none is needed."""

    path: str
    methods: tuple[str, ...]
    call: Callable[[Request], Awaitable[Response | ASGIApp]]
    scopes: frozenset[Scope] | None


def endpoints(gateway: Gateway, operations: Operations) -> list[Endpoint]:
    """Every route there is, first match first."""
    return [
        Endpoint("/healthz", ("GET",), operations.health, None),
        Endpoint("/readyz", ("GET",), operations.ready, None),
        Endpoint("/metrics", ("GET",), operations.metrics, READERS),
        Endpoint("/openapi.json", ("GET",), operations.openapi, EVERYBODY),
        Endpoint("/admin/pause", ("POST",), operations.pause, ADMINS),
        Endpoint("/admin/resume", ("POST",), operations.resume, ADMINS),
        *(Endpoint(f"/v1/{d.path}", ("POST",), partial(gateway.decide, d), CLIENTS) for d in DIALECTS),
        Endpoint("/v1/feedback", ("POST",), gateway.feedback, CLIENTS),
        Endpoint("/v1/models", ("GET",), gateway.models, EVERYBODY),
        Endpoint("/v1/{path:path}", ("GET", "POST", "DELETE"), gateway.other, CLIENTS),
    ]


def create_app(
    *,
    store: EventStore,
    upstream: Upstream | None,
    gate: Gate | None,
    settings: Settings,
    clock: Callable[[], datetime] = utc_now,
    decider: Decider | None = None,
    spill: Spill | None = None,
    deployment: Deployment | None = None,
    more: Sequence[Endpoint] = (),
    env: Mapping[str, str] = os.environ,
) -> Starlette:
    """Build the gateway.

    Args:
        store: The decision log; stays the caller's to close.
        upstream: The teacher's server, closed with the app; without one, what the student may not
            answer gets status 503.
        gate: Who decides; `None` relays everything. `app.state.gateway.gate` may be replaced while serving.
        settings: See `Settings`.
        clock: Tells the time.
        decider: Where the gate runs; a thread of its own by default.
        deployment: Keeps the gate as the log wants it, while serving; instead of `gate`.
        spill: Where events wait while the log is down; closed with the app. Without one they are lost, and counted.
        more: Routes beside the gateway's own, such as pages; `guard.caller_of` tells them whose request it is.
        env: Where the operator's own key is looked up.

    Raises:
        ConfigurationError: Clients' keys are to be passed on to the teacher, but they are the gateway's.
    """
    ring, switch = KeyRing(env.get(settings.gateway_key_env) or None, settings.tenant), Switch()
    shares = AuditShares(settings, possible=upstream is not None)
    looks = [ring.apply, switch.apply, shares.apply] + ([] if deployment is None else [deployment.apply])
    control = Control(store, (*KEY_EVENTS, *PAUSE_EVENTS, *DEPLOYMENT_EVENTS, *SHARE_EVENTS), looks)
    control.look()
    if ring.required and upstream is not None and upstream.pass_authorization:
        raise ConfigurationError("with a gateway key the client's authorization is not the teacher's: set its own key")
    gate = gate if deployment is None else deployment.gate
    decider = decider or Decider(queue_seconds=settings.student_wait_ms / 1000)
    gateway = Gateway(
        store, upstream, gate, settings, clock=clock, decider=decider, switch=switch, shares=shares, spill=spill
    )
    decider.on_disabled = gateway.disabled
    routes = [*more, *endpoints(gateway, Operations(gateway, control, clock))]  # the last one relays what is left
    open_paths = [endpoint.path for endpoint in routes if endpoint.scopes is None]
    posts, refused = _hot(routes), gateway.metrics.refused

    def fronted(router: ASGIApp) -> ASGIApp:
        direct = Direct(router, posts, partial(_on_request_error, gateway))
        guard = Guard(direct, ring, control, clock, settings.tenant, refused, open_paths, settings.max_requests)
        by_path = {f"/v1/{dialect.path}": dialect for dialect in DIALECTS}
        app.state.front = Front(guard, posts, Recall(guard, gateway, by_path, CLIENTS), Heads())
        return guard

    app = Starlette(
        routes=[_route(endpoint) for endpoint in routes],
        middleware=[Middleware(fronted)],
        exception_handlers={
            RequestError: partial(_on_request_error, gateway),
            HTTPException: _on_http_error,
            500: _on_bug,
        },
        lifespan=partial(_lifespan, gateway, _threads(gateway, control, store, spill, deployment), spill),
    )
    app.router.redirect_slashes = False
    app.state.gateway = gateway
    app.state.ring = ring
    return app


def _threads(
    gateway: Gateway, control: Control, store: EventStore, spill: Spill | None, deployment: Deployment | None
) -> list[PeriodicThread]:
    """A thread for each, so that neither a stuck log nor a large model keeps a pause from being heard."""
    calls = [control.look]
    if spill is not None:
        calls.append(partial(spill.drain, store))
    if deployment is not None:
        calls.append(partial(_settle, deployment, gateway))
    return [PeriodicThread(call) for call in calls]


def _settle(deployment: Deployment, gateway: Gateway) -> None:
    deployment.settle(partial(setattr, gateway, "gate"))
    gateway.canary = deployment.canary


@asynccontextmanager
async def _lifespan(
    gateway: Gateway, threads: list[PeriodicThread], spill: Spill | None, app: Starlette
) -> AsyncIterator[None]:
    """Run what runs in the background, and finish it when the server stops."""
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        await gateway.aclose()
        for thread in threads:
            await asyncio.to_thread(thread.close)
        if spill is not None:
            spill.close()


def _route(endpoint: Endpoint) -> Route:
    return Route(endpoint.path, _guarded(endpoint), methods=endpoint.methods)


def _guarded(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response | ASGIApp]]:
    return endpoint.call if endpoint.scopes is None else allowing(endpoint.scopes, endpoint.call)


def _hot(routes: Sequence[Endpoint]) -> dict[str, Callable[[Request], Awaitable[Response | ASGIApp]]]:
    """The endpoints that hold decisions, by path."""
    paths = {f"/v1/{dialect.path}" for dialect in DIALECTS}
    return {endpoint.path: _guarded(endpoint) for endpoint in routes if endpoint.path in paths}


async def _on_request_error(gateway: Gateway, request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        return await _on_bug(request, error)
    gateway.metrics.refused(error.status)
    return error_response(error, request.scope["path"])


async def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = {404: "no such path", 405: "this path does not take this method"}.get(status, "the request is refused")
    return error_response(RequestError(status, message, headers=headers), request.scope["path"])


async def _on_bug(request: Request, error: Exception) -> Response:
    failed = RequestError(500, "the gateway failed; its log says more", code="internal_error")
    return error_response(failed, request.scope["path"])
