"""The headers of a request, looked up rather than searched: a dozen are asked for, most of which are not there.

What this file does not know: what they mean.
"""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

__all__ = ["QuickHeaders", "headers_of"]


class QuickHeaders(Headers):
    """Starlette's headers with a dict beside the list; of a name that came twice the first counts, as it does there.

    Example:
        >>> QuickHeaders({"headers": [(b"a", b"1"), (b"a", b"2")]}).get("a")
        '1'
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        self._first = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(self._list)}

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a header; names are lower case, as ASGI has them."""
        return self._first.get(key, default)


def headers_of(request: Request) -> QuickHeaders:
    """The headers of a request that `guard.Guard` has let in."""
    found: QuickHeaders = request.scope["distill.headers"]
    return found
