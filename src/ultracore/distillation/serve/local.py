"""The student's answer: written down first, then sent whole, then its outcome.

What this file does not know: how the call was chosen, and what the audit does.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from ultracore.distillation.serve import gate
from ultracore.distillation.serve.answers import Answer
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.receiving import send_whole

__all__ = ["LocalAnswer"]


class LocalAnswer:
    """A response that comes from the student; its decision is in the log already.

    Args:
        exchange: The request, with a verdict to send.
        journal: Where the outcome is written.
        then: Called with the exchange once the answer has left, or could not.

    Attributes:
        headers: Of the reply.
        body: Of the reply.
    """

    def __init__(self, exchange: Exchange, journal: Journal, then: Callable[[Exchange], None]) -> None:
        self._exchange = exchange
        self._journal = journal
        self._then = then
        request = exchange.request
        self.body = exchange.dialect.answer(_answer(exchange), request)
        kind = "text/event-stream; charset=utf-8" if request.stream else "application/json"
        headers = {"content-type": kind, "content-length": str(len(self.body)), **exchange.headers}
        self.headers = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI."""
        status = "cancelled"
        try:
            if await send_whole(receive, send, self.headers, self.body):
                status = "ok"
        finally:
            self._journal.later(self._exchange.local_outcome(status))
            self._then(self._exchange)


def _answer(exchange: Exchange) -> Answer:
    verdict = exchange.verdict
    calls = verdict.proposal.calls if isinstance(verdict, gate.Send) else ()
    created = int(exchange.clock().timestamp())
    return Answer(exchange.receipt, exchange.model_id, created, calls, exchange.request.legacy)
