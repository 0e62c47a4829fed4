"""The headers of a request, looked up rather than searched: a dozen are asked for, most of which are not there.

What this file does not know: what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.types import Scope

__all__ = ["QuickHeaders", "headers_of", "lines_of"]


class QuickHeaders(dict[str, str]):
    """A dict by lower-case name; of one that came twice the first counts, as in Starlette.

    Attributes:
        raw: All of them, as the server parsed them.

    Example:
        >>> QuickHeaders({"headers": [(b"a", b"1"), (b"a", b"2")]}).get("a")
        '1'
    """

    __slots__ = ("raw",)

    def __init__(self, scope: Scope) -> None:
        self.raw: list[tuple[bytes, bytes]] = scope["headers"]
        pairs = reversed(self.raw)
        super().__init__({name.decode("latin-1"): value.decode("latin-1") for name, value in pairs})


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as HTTP/1.1 sends them.

    Example:
        >>> lines_of([(b"a", b"1"), (b"b", b"2")]).splitlines()
        [b'a: 1', b'b: 2']
    """
    return b"".join([b"%s: %s\r\n" % pair for pair in headers])


def headers_of(request: Request) -> QuickHeaders:
    """The headers of a request that `guard.Guard` has let in."""
    found: QuickHeaders = request.scope["distill.headers"]
    return found
