"""The audit: a random share of the student's answers is also asked of the teacher, for ever.

It runs after the answer has left and never delays one. Every exchange that was drawn leaves exactly
one event; where no label could be had (the teacher failed, too many audits at once, shutdown) it says
so, because an estimate that forgets those would be biased. What this file does not know: what
agreement is good enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.upstream import Upstream, UpstreamBroken, chunks
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.tools import ToolCall

__all__ = ["Auditor"]


class Auditor:
    """Asks the teacher about calls that the student has sent.

    Args:
        upstream: The teacher's server.
        journal: Where the findings are written.
        rate: Share of the answers to look at (0..1).
        concurrency: Audits at a time.
        backlog: Audits that may wait; one drawn beyond them is recorded without a label.
        deadline_seconds: Longest audit.
    """

    def __init__(
        self,
        upstream: Upstream,
        journal: Journal,
        rate: float,
        *,
        concurrency: int = 4,
        backlog: int = 64,
        deadline_seconds: float = 120.0,
    ) -> None:
        self._upstream = upstream
        self._journal = journal
        self._rate = rate
        self._slots = asyncio.Semaphore(concurrency)
        self._backlog = backlog
        self._deadline_seconds = deadline_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, exchange: Exchange, headers: Mapping[str, str]) -> None:
        """Draw, and if drawn ask the teacher in the background."""
        if not exchange.sampled(self._rate):
            return
        if len(self._tasks) >= self._backlog:
            self._journal.later(exchange.audit(self._rate, None))
            return
        task = asyncio.create_task(self._audit(exchange, headers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self, grace_seconds: float = 5.0) -> None:
        """Let running audits finish for a while, then cancel them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _audit(self, exchange: Exchange, headers: Mapping[str, str]) -> None:
        teacher: tuple[ToolCall, ...] | None = None
        try:
            async with self._slots, asyncio.timeout(self._deadline_seconds):
                teacher = await self._ask(exchange, headers)
        except (RequestError, UpstreamBroken, TimeoutError):
            teacher = None
        finally:
            self._journal.later(exchange.audit(self._rate, teacher))

    async def _ask(self, exchange: Exchange, headers: Mapping[str, str]) -> tuple[ToolCall, ...] | None:
        dialect, body = exchange.dialect, exchange.request.unstreamed
        async with self._upstream.send("POST", dialect.path, headers, body) as response:
            reader = dialect.reader(stream=False)
            async for chunk in chunks(response):
                reader.feed(chunk)
            return reader.reply.calls if response.status_code == 200 else None
