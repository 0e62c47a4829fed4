"""What operators ask a running gateway: is it well, what did it do, and stop or go on.

What this file does not know: requests that hold decisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from ultracore.distillation.errors import LogError
from ultracore.distillation.events import GatewayPausedEvent, GatewayResumedEvent
from ultracore.distillation.serve.control import Control
from ultracore.distillation.serve.guard import caller_of
from ultracore.distillation.serve.openapi import document
from ultracore.distillation.serve.wire import RequestError

if TYPE_CHECKING:
    from ultracore.distillation.serve.gateway import Gateway

__all__ = ["Operations", "json_response"]


class Operations:
    """The endpoints for operators.

    Args:
        gateway: What they ask about.
        control: How it learns what they want.
        clock: Tells the time.
    """

    def __init__(self, gateway: Gateway, control: Control, clock: Callable[[], datetime]) -> None:
        self._gateway = gateway
        self._control = control
        self._clock = clock

    async def health(self, request: Request) -> Response:
        """`GET /healthz`: the process answers."""
        return json_response({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """`GET /readyz`: 503 while the log cannot be written, or read."""
        gateway = self._gateway
        gateway.journal.flush()
        healthy = gateway.journal.healthy and self._control.healthy
        state = {
            "status": "ok" if healthy else "unavailable",
            "log": "ok" if healthy else "down",
            "events_lost": gateway.journal.lost,
            "teacher": gateway.upstream is not None,
            "certified": gateway.gate is not None and gateway.gate.certificate.certified and not gateway.gate.revoked,
            "paused": gateway.switch.paused,
        }
        return json_response(state, 200 if healthy else 503)

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`, in Prometheus' text format."""
        self._gateway.journal.flush()
        return Response(self._gateway.metrics.render(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def openapi(self, request: Request) -> Response:
        """`GET /openapi.json`."""
        return json_response(document())

    async def pause(self, request: Request) -> Response:
        """`POST /admin/pause`: everything goes to the teacher, in every worker process within a second."""
        return await self._say(GatewayPausedEvent, request)

    async def resume(self, request: Request) -> Response:
        """`POST /admin/resume`: the student answers again."""
        return await self._say(GatewayResumedEvent, request)

    async def _say(self, kind: type[GatewayPausedEvent | GatewayResumedEvent], request: Request) -> Response:
        event = kind.record(reason="asked over HTTP", tenant_id=caller_of(request).tenant, clock=self._clock)
        try:
            await self._gateway.journal.durable(event)
        except LogError:
            headers = {"retry-after": "1"}
            message = "the decision log cannot be written, so that nobody would hear"
            raise RequestError(503, message, code="log_unavailable", headers=headers) from None
        await asyncio.to_thread(self._control.look)
        return json_response({"paused": self._gateway.switch.paused})


def json_response(value: object, status: int = 200) -> Response:
    """A JSON reply."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")
