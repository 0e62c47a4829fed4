"""Answers that are known by heart, asked for by a head that the parser has read before.

Clients send the same head all day but for the length of the body, and recurring work the same bodies. Such a
request needs no parser, no scope, no task and no coroutine; who may ask, the verdict, the answer, its place in the
log and its outcome are those of every other request, and whatever is not plain here goes the long way and is told
there. What this file does not know: connections.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from ultracore.distillation.errors import LogError
from ultracore.distillation.serve.dialect import Dialect
from ultracore.distillation.serve.gateway import Gateway
from ultracore.distillation.serve.guard import Guard, error_response
from ultracore.distillation.serve.headers import QuickHeaders, lines_of
from ultracore.distillation.serve.keys import Key, Scope
from ultracore.distillation.serve.local import LocalAnswer

__all__ = ["Head", "Heads", "Recall", "Recalled"]

MAX_HEADS = 1024
MAX_HEAD = 4096
"""Bytes of a head that is kept; all of them take 4 MiB, and their headers as much again."""

END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]{1,8})\r\n", re.IGNORECASE)
PLAIN = {b"connection": b"keep-alive", b"content-encoding": b"identity"}
"""Values that change nothing of how a request is read or answered."""
NOT_KEPT = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"idempotency-key"})


class Head(NamedTuple):
    """What the parser made of the head of a request.

    Attributes:
        path: Where it was sent.
        headers: As the guard and the endpoints read them, without the length.
    """

    path: str
    headers: QuickHeaders


class Heads:
    """Heads by their bytes without the length. Kept are those that the parser found before one whole body."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def find(self, piece: bytes) -> tuple[Head, memoryview] | None:
        """Head and body, where a piece of input is exactly one request with a known head; the body is not copied."""
        end = piece.find(END) + len(END)
        length = LENGTH.search(piece, 0, end)
        if length is None or len(piece) != end + int(length[1]):
            return None
        head = self._known.get(piece[: length.start(1)] + piece[length.end(1) : end])
        return None if head is None else (head, memoryview(piece)[end:])

    def learn(self, piece: bytes, cycle: RequestResponseCycle) -> None:
        """Keep the head of a piece that the parser read as this one request, if it is a plain one."""
        end = piece.find(END) + len(END)
        length = LENGTH.search(piece, 0, end)
        headers: list[tuple[bytes, bytes]] = cycle.scope["headers"]  # type: ignore[assignment]
        if length is None or end > MAX_HEAD or len(piece) != end + len(cycle.body):
            return
        if not cycle.keep_alive or not _plain(headers):
            return
        if len(self._known) >= MAX_HEADS:
            self._known.clear()
        rest = [(name, value) for name, value in headers if name != b"content-length"]
        head = Head(cycle.scope["path"], QuickHeaders({"headers": rest}))
        self._known[piece[: length.start(1)] + piece[length.end(1) : end]] = head


def _plain(headers: Collection[tuple[bytes, bytes]]) -> bool:
    names = [name for name, _ in headers]
    return (
        names.count(b"content-length") == 1
        and NOT_KEPT.isdisjoint(names)
        and all(PLAIN.get(name, value) == value.lower() for name, value in headers if name in PLAIN)
        and any(name == b"content-type" and value.startswith(b"application/json") for name, value in headers)
    )


class Recalled(NamedTuple):
    """An answer whose decision is yet to be written, to a request that was let in."""

    answer: LocalAnswer
    key: Key
    path: str


class Recall:
    """Answers by heart.

    Args:
        guard: Says who may ask.
        gateway: Says what it knows by heart.
        dialects: By path.
        scopes: Of the keys that may ask there.
    """

    def __init__(
        self, guard: Guard, gateway: Gateway, dialects: Mapping[str, Dialect], scopes: Collection[Scope]
    ) -> None:
        self._guard = guard
        self._gateway = gateway
        self._dialects = dialects
        self._scopes = scopes

    @property
    def possible(self) -> bool:
        """Whether there is a student that could know anything."""
        return self._gateway.gate is not None

    def ask(self, head: Head, body: memoryview) -> Recalled | None:
        """The answer; `None` where the request must go the long way, of which no trace is left here."""
        let_in: Key | None = None
        try:
            key = self._guard.caller(head.headers)
            if key.scope not in self._scopes:
                return None
            exchange = self._gateway.recalled(self._dialects[head.path], key, head.headers, body)
            if exchange is None:
                return None
            self._guard.enter(key, head.path)
            let_in = key
            return Recalled(self._gateway.remembered(exchange, head.headers), key, head.path)
        except Exception:  # noqa: BLE001  a refusal or a fault: the long way meets it, too, and tells it
            if let_in is not None:
                self._guard.leave(let_in)
            return None

    def write(self, recalled: Recalled, told: Callable[[LogError | None], None]) -> None:
        """Write the decision; `told` is called when it is durable, or cannot be."""
        self._gateway.journal.when_durable(told, recalled.answer.decision)

    def sent(self, recalled: Recalled, ok: bool) -> None:
        """The request is over: the answer has left, or its client was gone."""
        self._guard.leave(recalled.key)
        recalled.answer.sent(ok)

    def refused(self, recalled: Recalled) -> tuple[bytes, bytes, bytes]:
        """The request is over, for its decision cannot be written: status line, header lines and body to send."""
        self._guard.leave(recalled.key)
        error = recalled.answer.unlogged()
        self._gateway.metrics.refused(error.status)
        response = error_response(error, recalled.path)
        return STATUS_LINE[error.status], lines_of(response.raw_headers), bytes(response.body)
