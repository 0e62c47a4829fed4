"""One server of the teacher: how a request to it is written, its connections, and whether it answers.

Its address comes from the configuration only, and it gets its own key or the client's, never both.
What this file does not know: which server is asked, and how often.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.serve.upstream.addresses import ForbiddenAddress, parse_base_url
from ultracore.distillation.serve.upstream.breaker import Breaker
from ultracore.distillation.serve.upstream.calls import AttemptError, Call
from ultracore.distillation.serve.upstream.connection import Connection
from ultracore.distillation.serve.upstream.pool import Pool, PoolFull
from ultracore.distillation.serve.upstream.targets import Deadlines, Target
from ultracore.distillation.serve.wire import RequestError, is_anthropics

__all__ = ["Server"]

logger = logging.getLogger(__name__)

FORWARDED = frozenset(
    {
        b"accept",
        b"anthropic-beta",
        b"anthropic-version",
        b"content-type",
        b"idempotency-key",
        b"openai-beta",
        b"openai-organization",
        b"openai-project",
    }
)
"""Request headers that a teacher may need; nothing else of the client's is shown to it."""

AUTHORIZATION = frozenset({b"authorization", b"x-api-key"})

_SEGMENT = re.compile(r"[A-Za-z0-9._~:@%+=,-]+")
_QUERY = re.compile(r"[\x21-\x7e]*")
_KEY = re.compile(r"[\x21-\x7e]+")


class Server:
    """A target with what is known of it.

    Args:
        target: From the configuration.
        key: Its own, if it has one.

    Attributes:
        name: For the log.
        breaker: Whether it answers.
        pool: Connections to it.

    Raises:
        ConfigurationError: The URL or the key cannot be used.
    """

    def __init__(self, target: Target, key: str | None) -> None:
        self.target = target
        self._destination = parse_base_url(target.url, private=target.private)
        self.name = target.name or self._destination.host
        if key and not _KEY.fullmatch(key):
            raise ConfigurationError(f"the key of {self.name} holds characters that no key has: a line end, perhaps")
        self.breaker = Breaker()
        self.pool = Pool(self._destination, limit=target.connections)
        own = key if key and not target.pass_authorization else None
        self._bearer = f"authorization: Bearer {own}\r\n".encode() if own else b""
        self._api_key = f"x-api-key: {own}\r\n".encode() if own else b""
        self._host = f"host: {self._destination.authority}\r\naccept-encoding: identity\r\n".encode()

    def request(self, call: Call) -> bytes:
        """The request as it goes over the connection; compression is declined, so that the log can read the reply.

        Raises:
            RequestError: 404 for a path that leaves the base URL, 400 for a query that cannot be sent on.
        """
        if not _QUERY.fullmatch(call.query):
            raise RequestError(400, "the query holds characters that cannot be sent on", code="invalid_query")
        path = f"{self._destination.path}/{_checked_path(call.path)}" + (f"?{call.query}" if call.query else "")
        own = self._api_key if is_anthropics(call.path) else self._bearer
        authorization = _lines(call.headers, AUTHORIZATION) if self.target.pass_authorization else own
        head = f"{call.method} {path} HTTP/1.1\r\ncontent-length: {len(call.body)}\r\n".encode()
        return head + self._host + authorization + _lines(call.headers, FORWARDED) + b"\r\n" + call.body

    async def connection(self, tenant: str, deadlines: Deadlines, *, fresh: bool = False) -> Connection:
        """A connection for a tenant, to be given back to `pool`.

        Raises:
            AttemptError: There is none.
        """
        try:
            return await self.pool.take(tenant, deadlines.slot, deadlines.connect, fresh=fresh)
        except PoolFull:
            self.breaker.abandoned()
            raise AttemptError(503, "too many requests are waiting for the teacher", "upstream_busy") from None
        except OSError as error:
            if isinstance(error, ForbiddenAddress):
                logger.error("%s has an address that is not public: say that its network is private", self.name)
            self.breaker.failed()
            raise AttemptError(502, "the teacher cannot be reached", "upstream_unreachable", again=True) from None


def _lines(headers: Mapping[str, str], names: frozenset[bytes]) -> bytes:
    raw = getattr(headers, "raw", None)  # as the server parsed them: lower case, without line ends
    pairs = raw if raw is not None else [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()]
    return b"".join(name + b": " + value + b"\r\n" for name, value in pairs if name in names)


@lru_cache(maxsize=256)
def _checked_path(path: str) -> str:
    segments = path.split("/")
    if any(segment in (".", "..") or not _SEGMENT.fullmatch(segment) for segment in segments):
        raise RequestError(404, "no such path", code="unknown_path")
    return "/".join(quote(segment, safe="~:@+=,") for segment in segments)
