"""The teacher's server: requests go there as they came, and its bytes come back as they are.

Its address comes from the server's own configuration only, redirects are not followed, and a failure
is told in our own words, so that neither a key nor an address can leak through an exception's text.
What this file does not know: what is in a request, and who else could answer it.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx2

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.settings import Settings

__all__ = ["Upstream", "UpstreamBroken", "chunks", "relayed_headers", "upstream_from_settings"]

TIMEOUT = httpx2.Timeout(connect=5.0, write=30.0, read=120.0, pool=5.0)
"""Seconds per phase; `read` is the longest silence, before the first byte and between two."""

LIMITS = httpx2.Limits(max_connections=256, max_keepalive_connections=64)

FORWARDED = frozenset(
    {"accept", "content-type", "idempotency-key", "openai-beta", "openai-organization", "openai-project"}
)
"""Request headers that a teacher may need; nothing else of the client's is shown to it."""

NOT_RELAYED = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "date",
        "server",
    }
)
"""Response headers that belong to the connection with the teacher, not to its answer."""

_SEGMENT = re.compile(r"[A-Za-z0-9._~:@%+=,-]+")


class UpstreamBroken(Exception):  # noqa: N818  not an error of ours: the reply broke off
    """The teacher's reply broke off after its first byte."""


class Upstream:
    """A client of one OpenAI-compatible server.

    Args:
        base_url: Such as `https://api.openai.com/v1`.
        key: Sent as the bearer key.
        pass_authorization: Send the client's own `Authorization` instead of `key`.
        timeout: Seconds per phase.
        transport: How to reach the server, for tests; the network by default.

    Raises:
        ConfigurationError: The URL is not http(s), or carries a user name, a query or a fragment.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        pass_authorization: bool = False,
        timeout: httpx2.Timeout = TIMEOUT,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.pass_authorization = pass_authorization
        self._base = _checked_url(base_url)
        self._key = key
        self._client = httpx2.AsyncClient(timeout=timeout, limits=LIMITS, follow_redirects=False, transport=transport)

    @asynccontextmanager
    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", query: str = ""
    ) -> AsyncIterator[httpx2.Response]:
        """Ask the teacher; the reply's body is read by the caller with `chunks`.

        Args:
            method: HTTP method.
            path: Below the base URL, without a leading slash.
            headers: The client's; only `FORWARDED` ones and, if so configured, its authorization go on.
            body: As it came.
            query: As it came.

        Raises:
            RequestError: 404 for a path that leaves the base URL; 502, 503 or 504 if no reply began.
        """
        url = f"{self._base}/{_checked_path(path)}" + (f"?{query}" if query else "")
        try:
            request = self._client.build_request(method, url, headers=self._headers(headers), content=body)
        except (httpx2.InvalidURL, ValueError):
            raise RequestError(400, "the query or a header holds characters that cannot be sent on") from None
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.PoolTimeout:
            raise _failure(503, "too many requests are waiting for the teacher", "upstream_busy") from None
        except httpx2.TimeoutException:
            raise _failure(504, "the teacher did not answer in time", "upstream_timeout") from None
        except httpx2.HTTPError:
            raise _failure(502, "the teacher cannot be reached", "upstream_unreachable") from None
        try:
            if response.is_redirect:
                raise _failure(502, "the teacher answered with a redirect, which is not followed", "upstream_redirect")
            yield response
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def _headers(self, client: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        kept = {name: client[name] for name in FORWARDED if name in client}
        kept["accept-encoding"] = "identity"  # what passes by must be readable for the log
        authorization = client.get("authorization") if self.pass_authorization else None
        if self._key and not self.pass_authorization:
            authorization = f"Bearer {self._key}"
        if authorization:
            kept["authorization"] = authorization
        return [(name.encode(), value.encode("latin-1")) for name, value in kept.items()]


async def chunks(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body's bytes as they come.

    Raises:
        UpstreamBroken: They ended too early, or nothing came for too long.
    """
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx2.HTTPError as error:
        raise UpstreamBroken(type(error).__name__) from None


def relayed_headers(response: httpx2.Response) -> list[tuple[bytes, bytes]]:
    """The headers of a reply that the client gets."""
    return [(name.lower(), value) for name, value in response.headers.raw if name.lower().decode() not in NOT_RELAYED]


def upstream_from_settings(settings: Settings, env: Mapping[str, str] = os.environ, **options: Any) -> Upstream | None:
    """The teacher's server that the settings name, or `None`; its key is read from the environment."""
    if settings.upstream_url is None:
        return None
    return Upstream(settings.upstream_url, key=env.get(settings.upstream_key_env) or None, **options)


def _checked_url(base_url: str) -> str:
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, TypeError):
        raise ConfigurationError("upstream_url is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ConfigurationError("upstream_url must look like https://host/v1, without user name, query or fragment")
    return str(url).rstrip("/")


def _checked_path(path: str) -> str:
    segments = path.split("/")
    if any(segment in (".", "..") or not _SEGMENT.fullmatch(segment) for segment in segments):
        raise RequestError(404, "no such path", code="unknown_path")
    return "/".join(quote(segment, safe="~:@+=,") for segment in segments)


def _failure(status: int, message: str, code: str) -> RequestError:
    return RequestError(status, message, code=code, headers={"retry-after": "1"} if status == 503 else None)
