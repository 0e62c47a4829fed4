"""Requests that came a short while ago, read once for equal bytes of one tenant: recurring work asks the same again.

What follows from the bytes alone is kept with the request, and the gate's verdict beside it, so that neither
is worked out twice. Nothing here depends on a model, a certificate or a policy. What this file does not know:
who answers.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

from ultracore.distillation.serve.dialect import Dialect
from ultracore.distillation.serve.wire import ChatRequest

__all__ = ["Recent"]

MAX_BYTES = 32 * 1024 * 1024
"""Of the bodies kept. Decoded they take as much again and more: about 80 MB in all for bodies of 10 kB."""

MAX_BODY = 64 * 1024
"""Longer ones are not kept: they are seldom the same, and few would push out many."""


class Recent:
    """Reads requests, and remembers the newest; for one event loop.

    Args:
        max_bytes: Of the bodies kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, ChatRequest] = OrderedDict()
        self._bytes = 0

    def parse(self, dialect: Dialect, tenant: str, body: bytes | memoryview) -> ChatRequest:
        """What `dialect.parse` makes of a body.

        Raises:
            RequestError: As `Dialect.parse`; such a body is not kept.
        """
        if len(body) > MAX_BODY:
            return dialect.parse(bytes(body))
        hashed = hashlib.sha256(f"{tenant}\0{dialect.path}\0".encode())
        hashed.update(body)
        digest = hashed.digest()
        request = self._kept.get(digest)
        if request is None:
            request = msgspec.structs.replace(dialect.parse(bytes(body)), digest=digest)
            self._keep(request)
        else:
            self._kept.move_to_end(digest)
        return request

    def _keep(self, request: ChatRequest) -> None:
        self._kept[request.digest] = request
        self._bytes += len(request.body)
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.body)
