"""Who may ask, and how much at once.

Once a key exists every request must present one, but for probes and pages that hold no data, and the tenant is
the key's. Without any, the server listens on loopback only (`serve.server`) and answers loopback names only, so
that no web page can reach it through a name that it points there. What this file does not know: what is asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from functools import lru_cache, partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from ultracore.distillation.serve.control import Control
from ultracore.distillation.serve.headers import QuickHeaders, headers_of
from ultracore.distillation.serve.keys import Key, KeyRing, Scope
from ultracore.distillation.serve.limits import Limits
from ultracore.distillation.serve.receiving import Waiting, take
from ultracore.distillation.serve.wire import MAX_BODY, RequestError

__all__ = ["Guard", "allowing", "caller_of", "error_response", "is_loopback", "read_body"]

BODY_SECONDS = 10.0
BODY_BYTES_A_SECOND = 50_000
"""A body has 10 s, and a second more for each 50 kB that have come: a slow line gets 16 MiB through, a trickle ends."""

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|::1)", re.IGNORECASE)


class Guard:
    """ASGI middleware that refuses requests from those who may not ask.

    Args:
        app: What it guards.
        ring: The keys.
        control: Keeps the ring up to date; while it cannot, an unknown key gets 503, for it may be a new one.
        clock: Tells the time.
        tenant: Whose requests are made without a key, on a keyless loopback server.
        refused: Called with the status of each refusal.
        open_paths: What anybody may ask: probes, and pages that hold no data.
        most: Requests of one tenant under way; more are refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        ring: KeyRing,
        control: Control,
        clock: Callable[[], datetime],
        tenant: str,
        refused: Callable[[int], None],
        open_paths: Collection[str] = (),
        most: int = 1000,
    ) -> None:
        self._app = app
        self._ring = ring
        self._control = control
        self._clock = clock
        self._anyone = Key(key_id="", tenant=tenant, scope=Scope.ADMIN)
        self._refused = refused
        self._limits = Limits(most)
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass on, or answer 401, 403, 429 or 503, as ASGI."""
        if scope["type"] != "http" or scope["path"] in self._open:
            return await self._app(scope, receive, send)
        headers = QuickHeaders(scope)
        try:
            key = self.caller(headers)
            self.enter(key, scope["path"])
        except RequestError as error:
            self._refused(error.status)
            return await error_response(error, scope["path"])(scope, receive, send)
        scope["distill.caller"], scope["distill.headers"] = key, headers
        try:
            await self._app(scope, receive, send)
        finally:
            self.leave(key)

    def enter(self, key: Key, path: str) -> None:
        """Begin a request to a path; `leave` ends it.

        Raises:
            RequestError: 429; this key asks too much. 503; its tenant does.
        """
        self._limits.enter(key, always=not path.startswith("/v1/"))

    def leave(self, key: Key) -> None:
        """End a request that `enter` let in."""
        self._limits.leave(key)

    def caller(self, headers: QuickHeaders) -> Key:
        """Whose request it is.

        Raises:
            RequestError: 401, 403 or 503; nobody's who may ask.
        """
        if not self._control.loaded:
            raise _unknown()
        if not self._ring.required:
            if not _asks_loopback(headers.get("host", "")):
                raise RequestError(403, "ask by a loopback name", code="host")
            return self._anyone
        presented = _presented(headers)
        key = self._ring.find(presented, self._clock()) if presented else None
        if key is not None:
            return key
        if not self._control.healthy:
            raise _unknown()
        message = "a valid key is needed; whoever runs this gateway makes one with `distill keys add NAME`"
        raise RequestError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def _unknown() -> RequestError:
    return RequestError(503, "keys cannot be looked up now", code="log_unavailable", headers={"retry-after": "1"})


def caller_of(request: Request) -> Key:
    """The key with which a request was made."""
    key: Key = request.scope["distill.caller"]
    return key


def allowing(
    scopes: frozenset[Scope], endpoint: Callable[[Request], Awaitable[Response | ASGIApp]]
) -> Callable[[Request], Awaitable[Response | ASGIApp]]:
    """An endpoint for keys of these scopes only."""
    return partial(_allowed, scopes, endpoint)


async def _allowed(
    scopes: frozenset[Scope], endpoint: Callable[[Request], Awaitable[Response | ASGIApp]], request: Request
) -> Response | ASGIApp:
    if caller_of(request).scope not in scopes:
        raise RequestError(403, "this key may not do that", code="insufficient_scope")
    return await endpoint(request)


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
    expected, body = _expected(request), bytearray()
    at_once: bytes | None = request.scope.get("distill.body")
    if at_once is not None:  # it came in one piece with its head, see `whole.py`
        return at_once
    first = take(request.receive)
    if not isinstance(first, Waiting) and _adds(first, body):
        return bytes(body)
    try:
        async with asyncio.timeout(BODY_SECONDS) as deadline:
            began = asyncio.get_running_loop().time()
            whole = isinstance(first, Waiting) and _adds(await first.arrived(), body)
            while not whole:
                if len(body) != expected:
                    deadline.reschedule(began + BODY_SECONDS + len(body) / BODY_BYTES_A_SECOND)
                whole = _adds(await request.receive(), body)
    except TimeoutError:
        raise RequestError(408, "the body did not arrive in time", code="request_timeout") from None
    return bytes(body)


def _expected(request: Request) -> int:
    """The length that the client declares, 0 where it does not."""
    headers = headers_of(request)
    if headers.get("content-encoding", "identity") != "identity":
        raise RequestError(415, "a compressed body is not accepted", code="unsupported_encoding")
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or (expected := int(declared[:20])) > MAX_BODY:
        raise _too_large()
    return expected


def _adds(message: Message, body: bytearray) -> bool:
    """Add what a message brought; whether that was the last of it."""
    if message["type"] == "http.disconnect":
        raise RequestError(400, "the client went away", code="disconnected")
    body += message.get("body", b"")
    if len(body) > MAX_BODY:
        raise _too_large()
    return not message.get("more_body", False)


def error_response(error: RequestError, path: str = "") -> Response:
    """The error as a reply to what was asked at a path."""
    body = error.body_at(path.removeprefix("/v1/"))
    return Response(body, error.status, error.headers, media_type="application/json")


def _presented(headers: QuickHeaders) -> str:
    """The key as OpenAI's clients send it, or as Anthropic's do."""
    kind, _, presented = headers.get("authorization", "").partition(" ")
    return presented if kind.lower() == "bearer" else headers.get("x-api-key", "")


@lru_cache(maxsize=256)
def _asks_loopback(host: str) -> bool:
    """Whether a `host` header names this machine; clients send one and the same all day."""
    name = host if host.count(":") > 1 and not host.startswith("[") else re.sub(r":\d*$", "", host)
    return is_loopback(name)


def _too_large() -> RequestError:
    message = f"the body is larger than {MAX_BODY // 2**20} MiB"
    return RequestError(413, message, code="body_too_large")
