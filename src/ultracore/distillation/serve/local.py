"""The student's answer: written down first, then sent whole, then its outcome.

What this file does not know: how the call was chosen, and what the audit does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from starlette.types import Receive, Scope, Send

from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.receiving import send_whole
from ultracore.distillation.serve.recurring import Recurring

__all__ = ["LocalAnswer"]


class LocalAnswer:
    """A response that comes from the student; its decision is in the log already.

    Args:
        exchange: The request, with a verdict to send.
        kept: What it has in common with others.
        moment: When it was decided.
        journal: Where the outcome is written.
        then: Called with the exchange once the answer has left, or could not.

    Attributes:
        headers: Of the reply.
        body: Of the reply.
    """

    def __init__(
        self, exchange: Exchange, kept: Recurring, moment: datetime, journal: Journal, then: Callable[[Exchange], None]
    ) -> None:
        self._exchange = exchange
        self._kept = kept
        self._journal = journal
        self._then = then
        self.headers = kept.headers(exchange)
        self.body = kept.body(exchange, moment)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI."""
        ok = False
        try:
            ok = await send_whole(receive, send, self.headers, self.body)
        finally:
            exchange = self._exchange
            self._journal.later(self._kept.outcome(exchange) if ok else exchange.outcome("cancelled"))
            self._then(exchange)
