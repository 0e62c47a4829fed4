"""The attempts for one call: at most three, none once bytes were handed on, none at a server that kept silent.

Every attempt is noted exactly once, and its connection let go, by synchronous code, so that no
cancellation can lose either. What this file does not know: what is in a reply.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from ultracore.distillation.serve.upstream.breaker import RetryBudget
from ultracore.distillation.serve.upstream.calls import (
    Attempt,
    AttemptError,
    Call,
    TeacherReply,
    UpstreamBroken,
    reply_on,
)
from ultracore.distillation.serve.upstream.connection import Connection, ConnectionBroken
from ultracore.distillation.serve.upstream.servers import Server
from ultracore.distillation.serve.upstream.targets import Deadlines

__all__ = ["Chain"]

ATTEMPTS = 3

LONGEST_WAIT = 5.0
"""Seconds between two attempts; a teacher that asks for more has its answer passed on, with its `retry-after`."""

FIRST_WAIT = 0.25
"""Seconds before the second attempt, doubled before the third, up to a half of it taken off at random."""

RETRIED = frozenset({429, 500, 502, 503, 504})


class Chain:
    """Asks until a reply begins that is worth passing on.

    Args:
        call: What to ask.
        servers: Those that take it, in order.
        deadlines: Longest waits.
        budget: Of retries.
        attempts: Gets every attempt.
        jitter: Draws the waits.
    """

    def __init__(
        self,
        call: Call,
        servers: Sequence[Server],
        deadlines: Deadlines,
        budget: RetryBudget,
        attempts: list[Attempt],
        jitter: random.Random,
    ) -> None:
        self._call = call
        self._servers = servers
        self._deadlines = deadlines
        self._budget = budget
        self._attempts = attempts
        self._jitter = jitter
        self._silent: set[str] = set()
        self._stale = False
        self._server: Server | None = None
        self._connection: Connection | None = None
        self._under_way: Attempt | None = None

    async def reply(self) -> TeacherReply:
        """The first reply that is not tried again; call `end` afterwards, whatever happens.

        Raises:
            RequestError: No reply began, or the call cannot be made.
        """
        for number in range(1, ATTEMPTS + 1):
            try:
                reply = await self._attempt(self._choose(), number)
            except AttemptError as error:
                self._failed(error)
                wait = self._wait(number, again=error.again, elsewhere=error.elsewhere)
                if wait is None:
                    raise
            else:
                if reply.status not in RETRIED:
                    self._budget.succeeded(retried=number > 1)
                    return reply
                wait = self._wait(number, asked_for=_seconds(reply.header(b"retry-after")))
                if wait is None:
                    return reply
                self.passed_on()
                self.end()
            await asyncio.sleep(wait)
        raise AssertionError("there is no wait after the last attempt")

    def passed_on(self) -> None:
        """The reply was read as far as it is of interest."""
        attempt = self._under_way
        if attempt is None or attempt.http_status is None:
            return
        attempt.status = "ok" if attempt.http_status < 400 else "error"
        attempt.error = None if attempt.http_status < 400 else f"the teacher answered with status {attempt.http_status}"

    def broke(self, broken: UpstreamBroken) -> None:
        """The reply broke off while it was passed on."""
        if self._under_way is not None and self._server is not None:
            self._under_way.status, self._under_way.error = "truncated", str(broken)
            self._server.breaker.failed()

    def end(self) -> None:
        """Note the attempt under way, if there is one, and let go of its connection."""
        attempt, self._under_way = self._under_way, None
        if attempt is not None and self._server is not None:
            attempt.duration_ms = (time.perf_counter() - attempt.started) * 1000.0
            self._attempts.append(attempt)
            if attempt.http_status is None and attempt.error is None:
                self._server.breaker.abandoned()
        self._let_go()

    def _choose(self) -> Server:
        tried = {attempt.upstream for attempt in self._attempts}
        for server in sorted(self._answering(), key=lambda server: server.name in tried):
            if server.breaker.admit():
                return server
        left = min(server.breaker.seconds_left for server in self._servers)
        error = AttemptError(503, "the teacher failed too often and is left alone for a moment", "upstream_open")
        error.headers["retry-after"] = str(max(1, round(left)))
        raise error

    async def _attempt(self, server: Server, number: int) -> TeacherReply:
        request = server.request(self._call)
        self._server = server
        self._under_way = attempt = Attempt(upstream=server.name, number=number, started=time.perf_counter())
        self._connection = connection = await server.connection(self._call.tenant, self._deadlines, fresh=self._stale)
        self._stale = False
        attempt.sent = True
        first = await self._first_bytes(server, connection, request)
        attempt.http_status = status = connection.status
        (server.breaker.failed if status >= 500 else server.breaker.succeeded)()
        if 300 <= status < 400:
            message = "the teacher answered with a redirect, which is not followed"
            raise AttemptError(502, message, "upstream_redirect", elsewhere=False)
        return reply_on(connection, first, self._deadlines.idle)

    async def _first_bytes(self, server: Server, connection: Connection, request: bytes) -> bytes:
        try:
            async with asyncio.timeout(self._deadlines.first_byte):
                await connection.send(request)
                return await connection.chunk()
        except ConnectionBroken as broken:
            message = "the teacher broke the connection"
            if broken.untouched:  # it had closed one that was kept from before: no fault, and nothing to wait for
                self._stale = True
            else:
                server.breaker.failed()
            raise AttemptError(502, message, "upstream_broken", again=True) from None
        except TimeoutError:
            server.breaker.failed()
            self._silent.add(server.name)
            raise AttemptError(504, "the teacher did not answer in time", "upstream_timeout") from None

    def _wait(
        self, number: int, *, again: bool = True, elsewhere: bool = True, asked_for: float | None = None
    ) -> float | None:
        """Seconds before the next attempt; `None` where there is to be none."""
        if number == ATTEMPTS or not elsewhere or not self._call.repeatable:
            return None
        if self._stale:
            return 0.0
        answering = self._answering()
        if any(server is not self._server for server in answering):
            wait = 0.0
        elif not (again and answering) or (asked_for or 0.0) > LONGEST_WAIT:
            return None
        else:
            drawn: float = self._jitter.uniform(0.5, 1.0)
            wait = max(FIRST_WAIT * 2 ** (number - 1) * drawn, asked_for or 0.0)
        return wait if self._budget.spend() else None

    def _answering(self) -> list[Server]:
        return [server for server in self._servers if server.name not in self._silent and server.breaker.ready]

    def _failed(self, error: AttemptError) -> None:
        if self._under_way is not None:
            self._under_way.status = "timeout" if error.status == 504 else "error"
            self._under_way.error = error.message
        self.end()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._server is not None:
            self._server.pool.give(connection)


def _seconds(retry_after: bytes) -> float | None:
    """The value of `retry-after` in seconds; `None` where there is none. A date is taken as too long to wait."""
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return LONGEST_WAIT + 1.0
