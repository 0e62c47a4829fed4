"""The straight way to the endpoints that are asked most, past the search among routes.

What this file does not know: what the endpoints do. They are the router's own, and it answers everything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ultracore.distillation.serve.wire import RequestError

__all__ = ["Direct"]

Endpoint = Callable[[Request], Awaitable[Response | ASGIApp]]


class Direct:
    """ASGI middleware that asks some endpoints itself.

    Args:
        app: Who answers all others.
        posts: Path -> what `POST` to it asks.
        on_error: Turns an error of an endpoint into its reply.
    """

    def __init__(
        self,
        app: ASGIApp,
        posts: Mapping[str, Endpoint],
        on_error: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._posts = posts
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on, as ASGI."""
        endpoint = self._posts.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        answer = self._app if endpoint is None else await self._asked(endpoint, Request(scope, receive, send))
        await answer(scope, receive, send)

    async def _asked(self, endpoint: Endpoint, request: Request) -> ASGIApp:
        try:
            return await endpoint(request)
        except RequestError as error:
            return await self._on_error(request, error)
