"""The student's answer: its decision, which is written down first, what is then sent whole, and its outcome.

What this file does not know: how the call was chosen, and what the audit does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from starlette.types import Receive, Scope, Send

from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.receiving import send_whole
from ultracore.distillation.serve.recurring import Recurring
from ultracore.distillation.serve.wire import RequestError

__all__ = ["LocalAnswer", "log_down"]


class LocalAnswer:
    """A response that comes from the student; to be sent once its decision is durable.

    Args:
        exchange: The request, with a verdict to send.
        kept: What it has in common with others.
        moment: When it was decided.
        journal: Where the outcome is written.
        then: Called with the exchange once the answer has left, or could not.

    Attributes:
        exchange: As given.
        decision: The event that must be durable before the answer leaves.
        body: Of the reply.
    """

    def __init__(
        self, exchange: Exchange, kept: Recurring, moment: datetime, journal: Journal, then: Callable[[Exchange], None]
    ) -> None:
        self.exchange = exchange
        self._kept = kept
        self._journal = journal
        self._then = then
        self.decision = kept.decision(exchange, moment)
        self.body = kept.body(exchange, moment)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of the reply."""
        return self._kept.headers(self.exchange)

    @property
    def lines(self) -> bytes:
        """The same as they are sent."""
        return self._kept.lines(self.exchange)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI."""
        ok = False
        try:
            ok = await send_whole(receive, send, self)
        finally:
            self.sent(ok)

    def sent(self, ok: bool) -> None:
        """Note the outcome, once: whether it has left."""
        exchange = self.exchange
        self._journal.later(exchange.outcome("ok" if ok else "cancelled"))
        self._then(exchange)

    def unlogged(self) -> RequestError:
        """Note that it must not be sent; what to say instead."""
        self._journal.later(self.exchange.outcome("error", "the decision log was not available"))
        message = "the decision log cannot be written; nothing is answered locally until it can"
        return log_down(message, self.exchange.headers)


def log_down(message: str, headers: Mapping[str, str]) -> RequestError:
    """The error of a request that needs the log."""
    return RequestError(503, message, code="log_unavailable", headers={"retry-after": "1", **headers})
