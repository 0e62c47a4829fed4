"""The audit: a random share of the student's answers is also asked of the teacher, for ever.

It runs after the answer has left and never delays one. Every exchange that was drawn leaves exactly
one event; where no label could be had (the teacher failed, too many audits at once, the day's money
is spent, shutdown) it says so, because an estimate that forgets those would be biased. What this file
does not know: how large the share is (`sampling`), and what agreement is good enough.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.replies import Reply
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.attempts import asked, total
from ultracore.distillation.serve.upstream.calls import Attempt, Call, UpstreamBroken
from ultracore.distillation.serve.upstream.prices import Prices
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.tools import ToolCall

__all__ = ["AuditLimits", "Auditor"]

DAY_SECONDS = 86_400.0


class AuditLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What audits may take; one drawn beyond them is recorded without a label.

    Attributes:
        concurrency: Audits at a time.
        backlog: Audits that may wait or run.
        bytes: Of the bodies of those.
        dollars_a_day: In any 24 hours since the start of the process; no limit by default. With one, a
            model whose price is unknown is not audited.
        deadline_seconds: Longest audit.
    """

    concurrency: int = 4
    backlog: int = 64
    bytes: int = 64 * 1024 * 1024
    dollars_a_day: float | None = None
    deadline_seconds: float = 120.0


class Auditor:
    """Asks the teacher about calls that the student has sent.

    Args:
        upstream: The teacher's servers.
        journal: Where the findings are written.
        limits: What audits may take.
        clock: Seconds, monotonic.

    Attributes:
        unlabelled: Audits drawn that brought no label.
    """

    def __init__(
        self,
        upstream: Upstream,
        journal: Journal,
        *,
        limits: AuditLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unlabelled = 0
        self._upstream = upstream
        self._journal = journal
        self._limits = limits or AuditLimits()
        self._slots = asyncio.Semaphore(self._limits.concurrency)
        self._budget = _DailyBudget(self._limits.dollars_a_day, upstream.prices, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0

    def consider(self, exchange: Exchange, headers: Mapping[str, str]) -> None:
        """Draw, and if drawn ask the teacher in the background."""
        if not exchange.audited:
            return
        size = len(exchange.request.body)
        full = len(self._tasks) >= self._limits.backlog or self._bytes + size > self._limits.bytes
        if full or not self._budget.allows(exchange.request.model):
            self._write(exchange, (), None)
            return
        self._bytes += size
        task = asyncio.create_task(self._audit(exchange, headers))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._forget(done, size))

    async def aclose(self, grace_seconds: float = 5.0) -> None:
        """Let running audits finish for a while, then cancel them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _forget(self, task: asyncio.Task[None], size: int) -> None:
        self._tasks.discard(task)
        self._bytes -= size

    async def _audit(self, exchange: Exchange, headers: Mapping[str, str]) -> None:
        attempts: list[Attempt] = []
        reply: Reply | None = None
        try:
            async with self._slots, asyncio.timeout(self._limits.deadline_seconds):
                reply = await self._ask(exchange, headers, attempts)
        except (RequestError, UpstreamBroken, TimeoutError):
            reply = None
        finally:
            self._write(exchange, attempts, reply)

    async def _ask(self, exchange: Exchange, headers: Mapping[str, str], attempts: list[Attempt]) -> Reply | None:
        request, dialect = exchange.request, exchange.dialect
        call = Call("POST", dialect.path, headers, request.unstreamed, model=request.model, tenant=exchange.tenant)
        async with self._upstream.ask(call, attempts) as answer:
            reader = dialect.reader(stream=False)
            async for chunk in answer.chunks():
                reader.feed(chunk)
            return reader.reply if answer.status == 200 else None

    def _write(self, exchange: Exchange, attempts: Sequence[Attempt], reply: Reply | None) -> None:
        usage = None if reply is None else reply.usage
        calls: tuple[ToolCall, ...] | None = None if reply is None else reply.calls
        events = asked(exchange, "audit", attempts, usage, self._upstream.prices)
        self.unlabelled += calls is None
        self._budget.spend(total(events))
        self._journal.later(*events, exchange.audit(calls))


class _DailyBudget:
    """What audits may cost in a day; forgotten where a process ends."""

    def __init__(self, dollars: float | None, prices: Prices, clock: Callable[[], float]) -> None:
        self._dollars = dollars
        self._prices = prices
        self._clock = clock
        self._began = clock()
        self._spent = 0.0

    def allows(self, model: str) -> bool:
        if self._dollars is None:
            return True
        if self._clock() - self._began >= DAY_SECONDS:
            self._began, self._spent = self._clock(), 0.0
        return self._spent < self._dollars and self._prices.of(model) is not None

    def spend(self, cost: float | None) -> None:
        self._spent += cost or 0.0
