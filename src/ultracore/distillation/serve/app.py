"""The gateway: an OpenAI-compatible server in which a certified student answers what it may.

Every chat request gets a verdict, an answer and a line in the log: a student's decision is synced
before the first byte of its answer, a teacher's is written when its answer has passed. What this file
does not know: how a student decides, and how answers look on the wire.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ultracore.distillation.errors import ConfigurationError, LogError
from ultracore.distillation.events import EventStore
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.serve.audit import Auditor
from ultracore.distillation.serve.decider import Decider
from ultracore.distillation.serve.dialect import CHAT, Dialect
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.gate import Escalate, Gate
from ultracore.distillation.serve.guard import Guard, error_response, read_body
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.local import LocalAnswer
from ultracore.distillation.serve.offer import read_offer
from ultracore.distillation.serve.relay import Call, Relay
from ultracore.distillation.serve.responses import RESPONSES
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.wire import RequestError, session_of
from ultracore.distillation.settings import Settings

__all__ = ["Gateway", "create_app"]


def create_app(
    *,
    store: EventStore,
    upstream: Upstream | None,
    gate: Gate | None,
    settings: Settings,
    clock: Callable[[], datetime] = utc_now,
    decider: Decider | None = None,
    env: Mapping[str, str] = os.environ,
) -> Starlette:
    """Build the gateway.

    Args:
        store: The decision log; stays the caller's to close.
        upstream: The teacher's server, closed with the app; without one, what the student may not
            answer gets status 503.
        gate: Who decides; `None` relays everything. `app.state.gateway.gate` may be replaced while serving.
        settings: `tenant`, `audit_rate`, `gateway_key_env`.
        clock: Tells the time.
        decider: Where the gate runs; a thread of its own by default.
        env: Where the key that clients must present is looked up.

    Raises:
        ConfigurationError: Clients' keys are to be passed on to the teacher, but they are the gateway's.
    """
    key = env.get(settings.gateway_key_env) or None
    if key and upstream is not None and upstream.pass_authorization:
        raise ConfigurationError("with a gateway key the client's authorization is not the teacher's: set its own key")
    gateway = Gateway(store, upstream, gate, settings, clock, decider or Decider())
    app = Starlette(
        routes=[
            Route("/healthz", gateway.health, methods=["GET"]),
            Route("/readyz", gateway.ready, methods=["GET"]),
            *(Route(f"/v1/{d.path}", partial(gateway.decide, d), methods=["POST"]) for d in (CHAT, RESPONSES)),
            Route("/v1/models", gateway.models, methods=["GET"]),
            Route("/v1/{path:path}", gateway.other, methods=["GET", "POST", "DELETE"]),
        ],
        middleware=[Middleware(Guard, key=key)],
        exception_handlers={RequestError: _on_request_error, HTTPException: _on_http_error, 500: _on_bug},
        lifespan=gateway.lifespan,
    )
    app.router.redirect_slashes = False
    app.state.gateway = gateway
    return app


class Gateway:
    """The endpoints, and what they share.

    Attributes:
        gate: Who decides on the next request; replace it to change models.
        journal: The log's pen; `journal.lost` counts events that could not be written.
    """

    def __init__(
        self,
        store: EventStore,
        upstream: Upstream | None,
        gate: Gate | None,
        settings: Settings,
        clock: Callable[[], datetime],
        decider: Decider,
    ) -> None:
        self.gate = gate
        self.journal = Journal(store)
        self._upstream = upstream
        self._settings = settings
        self._clock = clock
        self._decider = decider
        self._rate = settings.audit_rate if upstream is not None else 0.0
        self._auditor = Auditor(upstream, self.journal, self._rate) if upstream is not None else None

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Finish what runs in the background when the server stops."""
        try:
            yield
        finally:
            if self._auditor is not None:
                await self._auditor.aclose()
            if self._upstream is not None:
                await self._upstream.aclose()
            self._decider.close()

    async def decide(self, dialect: Dialect, request: Request) -> ASGIApp:
        """`POST /v1/chat/completions` and `POST /v1/responses`."""
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise RequestError(415, "send application/json", code="unsupported_media_type")
        exchange = await self._exchange(dialect, request, await read_body(request))
        if isinstance(exchange.verdict, Escalate):
            return self._teacher(request, exchange)
        return await self._student(request, exchange)

    async def models(self, request: Request) -> ASGIApp:
        """`GET /v1/models`: the teacher's list, or the model that the student stands in for."""
        if self._upstream is not None:
            return self._relay(request, "models", b"")
        known = [] if self.gate is None else [self.gate.certificate.teacher or self.gate.student.model_id]
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "distill"} for name in known]
        return _json({"object": "list", "data": models})

    async def other(self, request: Request) -> ASGIApp:
        """Every other path below `/v1`: the teacher's."""
        body = await read_body(request)
        if self._upstream is None:
            raise RequestError(404, "no such path here, and no teacher is configured", code="unknown_path")
        return self._relay(request, request.path_params["path"], body)

    async def health(self, request: Request) -> Response:
        """`GET /healthz`: the process answers."""
        return _json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """`GET /readyz`: 503 while the log cannot be written."""
        healthy = self.journal.healthy
        state = {
            "status": "ok" if healthy else "unavailable",
            "log": "ok" if healthy else "down",
            "events_lost": self.journal.lost,
            "teacher": self._upstream is not None,
            "certified": self.gate is not None and self.gate.certificate.certified and not self.gate.revoked,
        }
        return _json(state, 200 if healthy else 503)

    async def _exchange(self, dialect: Dialect, request: Request, body: bytes) -> Exchange:
        parsed = dialect.parse(body)
        offer = read_offer(parsed.tools)
        gate = self.gate
        session = session_of(parsed.messages, request.headers.get("x-distill-session"))
        started = time.perf_counter()
        forced = request.headers.get("x-distill-force", "").lower() == "teacher"
        return Exchange(
            dialect=dialect,
            request=parsed,
            offer=offer,
            verdict=await self._decider.decide(gate, parsed, session, forced),
            receipt=uuid.uuid4().hex,
            session=session,
            agent_id=request.headers.get("x-distill-agent", "gateway")[:128],
            tenant=self._settings.tenant,
            model_id="" if gate is None else gate.student.model_id,
            certificate_id="" if gate is None else gate.certificate_id,
            started=started,
            clock=self._clock,
        )

    async def _student(self, request: Request, exchange: Exchange) -> ASGIApp:
        try:
            await self.journal.durable(exchange.student_decision(self._rate))
        except LogError:
            self.journal.later(exchange.outcome("error", "the decision log was not available"))
            raise RequestError(
                503,
                "the decision log cannot be written; nothing is answered locally until it can",
                code="log_unavailable",
                headers={"retry-after": "1", **exchange.headers},
            ) from None
        return LocalAnswer(exchange, self.journal, lambda done: self._audit(done, request.headers))

    def _teacher(self, request: Request, exchange: Exchange) -> ASGIApp:
        if self._upstream is not None:
            return self._relay(request, exchange.dialect.path, exchange.request.body, exchange)
        self.journal.later(exchange.outcome("error", "no teacher is configured"))
        raise RequestError(
            503,
            f"this request needs the teacher ({exchange.reason}), and none is configured: set upstream_url",
            code="no_teacher",
            headers=exchange.headers,
        )

    def _audit(self, exchange: Exchange, headers: Mapping[str, str]) -> None:
        if self._auditor is not None:
            self._auditor.consider(exchange, headers)

    def _relay(self, request: Request, path: str, body: bytes, exchange: Exchange | None = None) -> Relay:
        if self._upstream is None:
            raise RequestError(503, "no teacher is configured: set upstream_url", code="no_teacher")
        query = request.url.query
        return Relay(self._upstream, Call(request.method, path, request.headers, body, query), self.journal, exchange)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _on_request_error(request: Request, error: Exception) -> Response:
    return error_response(error) if isinstance(error, RequestError) else await _on_bug(request, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = {404: "no such path", 405: "this path does not take this method"}.get(status, "the request is refused")
    return error_response(RequestError(status, message, headers=headers))


async def _on_bug(request: Request, error: Exception) -> Response:
    return error_response(RequestError(500, "the gateway failed; its log says more", code="internal_error"))
