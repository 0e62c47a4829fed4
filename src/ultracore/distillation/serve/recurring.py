"""A student's answer to a request, in the log and on the wire: what is the same each time is worked out once.

It is kept with the request that `serve.recent` remembers, and gone when that goes. What this file does not know: why
the call is sent, and when requests count as the same.
"""

from __future__ import annotations

import secrets
from datetime import datetime

from ultracore.distillation.events import Event
from ultracore.distillation.events.pattern import Pattern
from ultracore.distillation.serve.answers import Answer
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.headers import lines_of

__all__ = ["Recurring", "recurring_of"]

RECEIPT = secrets.token_hex(16)
CREATED = 5_000_000_000 + secrets.randbelow(4_999_999_999)
"""What stands for the receipt and the time of each answer; as long as they are, and in no answer otherwise: by chance
in one of 10^29 and one of 10^9."""


class Recurring:
    """What local answers have in common that repeat each other.

    Args:
        exchange: The first of them, with a verdict to send.
    """

    def __init__(self, exchange: Exchange) -> None:
        first = exchange.student_decision()
        self._decision = Pattern(first, ("label_probability", "serving"))
        self._serving = first.serving or {}
        self._verdict = exchange.verdict
        self._names = _names(exchange)
        request = exchange.request
        answer = Answer(RECEIPT, exchange.model_id, CREATED, exchange.calls, request.legacy)
        self._body = exchange.dialect.answer(answer, request)
        kind = "text/event-stream; charset=utf-8" if request.stream else "application/json"
        headers = {"content-type": kind, "content-length": str(len(self._body)), **exchange.headers}
        del headers["x-distill-receipt"]
        self._headers = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        self._lines = lines_of(self._headers)

    def fits(self, exchange: Exchange) -> bool:
        """Whether an exchange over the same request repeats the first."""
        return exchange.verdict is self._verdict and _names(exchange) == self._names

    def decision(self, exchange: Exchange, moment: datetime) -> Event:
        """The event that comes before the answer."""
        receipt = exchange.receipt
        serving = {**self._serving, "receipt": receipt, "latency_ms": round(exchange.elapsed_ms, 3)}
        return self._decision.again(receipt, receipt, moment, label_probability=exchange.audit_share, serving=serving)

    def headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        """Of the answer."""
        return [*self._headers, (b"x-distill-receipt", exchange.receipt.encode())]

    def lines(self, exchange: Exchange) -> bytes:
        """The headers as they are sent."""
        return b"%sx-distill-receipt: %s\r\n" % (self._lines, exchange.receipt.encode())

    def body(self, exchange: Exchange, moment: datetime) -> bytes:
        """Of the answer."""
        receipt, created = exchange.receipt.encode(), b"%d" % moment.timestamp()
        body = self._body.replace(_RECEIPT, receipt).replace(_SHORT, receipt[:24])
        return body.replace(_CREATED, created)


_RECEIPT, _SHORT, _CREATED = RECEIPT.encode(), RECEIPT[:24].encode(), str(CREATED).encode()


def recurring_of(exchange: Exchange) -> Recurring:
    """What an exchange that is answered locally has in common with those before it, if any."""
    kept = exchange.request.recurring
    if kept is None or not kept.fits(exchange):
        kept = exchange.request.__dict__["recurring"] = Recurring(exchange)
    return kept


def _names(exchange: Exchange) -> tuple[str, ...]:
    return (exchange.agent_id, exchange.session, exchange.tenant, exchange.model_id, exchange.certificate_id)
