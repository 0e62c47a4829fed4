"""Who may ask, and how much at once.

With a key every request but the two probes must present it. Without one the server listens on loopback only
(`serve.server`) and answers loopback names only, so that no web page can reach it through a name that
it points there. What this file does not know: what is asked.
"""

from __future__ import annotations

import asyncio
import hmac
import re

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ultracore.distillation.serve.wire import MAX_BODY, RequestError

__all__ = ["Guard", "error_response", "is_loopback", "read_body"]

BODY_SECONDS = 10.0
BODY_BYTES_A_SECOND = 50_000
"""A body has 10 s, and a second more for each 50 kB that have come: a slow line gets 16 MiB through, a trickle ends."""

PROBES = frozenset({"/healthz", "/readyz"})

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|::1)", re.IGNORECASE)


class Guard:
    """ASGI middleware that refuses requests, all but the probes, from those who may not ask.

    Args:
        app: What it guards.
        key: That clients must present as `Authorization: Bearer ...`; `None` for a keyless loopback server.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 401 or 403, as ASGI."""
        error = self._refusal(Headers(scope=scope)) if scope["type"] == "http" and _guarded(scope["path"]) else None
        await (self._app if error is None else error_response(error))(scope, receive, send)

    def _refusal(self, headers: Headers) -> RequestError | None:
        if self._key is None:
            host = headers.get("host", "")
            return None if is_loopback(_host_name(host)) else RequestError(403, "ask by a loopback name", code="host")
        presented = headers.get("authorization", "").encode("latin-1")
        if hmac.compare_digest(presented, f"Bearer {self._key}".encode()):
            return None
        return RequestError(
            401, "a valid key is needed", code="invalid_api_key", headers={"www-authenticate": "Bearer"}
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    return _LOOPBACK.fullmatch(host.strip("[]")) is not None


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        RequestError: 400 the client went away, 408 too slow, 413 larger than `MAX_BODY`, 415 compressed.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RequestError(415, "a compressed body is not accepted", code="unsupported_encoding")
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS) as deadline:
            began = asyncio.get_running_loop().time()
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise _too_large()
                deadline.reschedule(began + BODY_SECONDS + len(body) / BODY_BYTES_A_SECOND)
    except TimeoutError:
        raise RequestError(408, "the body did not arrive in time", code="request_timeout") from None
    except ClientDisconnect:
        raise RequestError(400, "the client went away", code="disconnected") from None
    return bytes(body)


def error_response(error: RequestError) -> Response:
    """The error as a reply."""
    return Response(error.body, error.status, error.headers, media_type="application/json")


def _guarded(path: str) -> bool:
    return path not in PROBES


def _host_name(host: str) -> str:
    return host if host.count(":") > 1 and not host.startswith("[") else re.sub(r":\d*$", "", host)


def _too_large() -> RequestError:
    message = f"the body is larger than {MAX_BODY // 2**20} MiB"
    return RequestError(413, message, code="body_too_large", headers={"connection": "close"})
