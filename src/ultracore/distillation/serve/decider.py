"""The one seam between the event loop and the student: a thread in which the gate decides.

A student takes 1 to 10 ms of CPU. Run on the event loop that would stall every stream being relayed
and every hang-up being noticed; in one thread the loop goes on, a student need not be thread-safe,
and one that blocks makes its own requests go to the teacher, not everybody's stop. The hop costs
about 0.1 ms. What this file does not know: what is decided.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

from ultracore.distillation.serve.gate import Escalate, Gate, Reason, Send
from ultracore.distillation.serve.wire import ChatRequest

__all__ = ["Decider"]


class Decider:
    """Asks a gate, off the event loop.

    Args:
        timeout_seconds: Longest wait for a verdict; then the teacher answers.
        max_waiting: Requests that may wait for the thread; beyond them the teacher answers at once.
    """

    def __init__(self, *, timeout_seconds: float = 1.0, max_waiting: int = 64) -> None:
        self._timeout_seconds = timeout_seconds
        self._max_waiting = max_waiting
        self._waiting = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="distill-gate")

    async def decide(self, gate: Gate | None, request: ChatRequest, session: str, forced: bool) -> Send | Escalate:
        """The gate's verdict; without a gate, without room, or without a verdict in time: the teacher."""
        if gate is None:
            return Escalate(Reason.FORCED if forced else Reason.NOT_CERTIFIED, "no student is deployed")
        if self._waiting >= self._max_waiting:
            return Escalate(Reason.OVERLOAD, "too many requests wait for the student")
        future = self._thread.submit(gate.decide, request, session=session, forced=forced)
        self._count(future)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            return _late(future)

    def close(self) -> None:
        """Let go of the thread; a verdict that is being reached is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _count(self, future: Future[Send | Escalate]) -> None:
        loop = asyncio.get_running_loop()
        self._waiting += 1

        def done(_: Future[Send | Escalate]) -> None:
            loop.call_soon_threadsafe(self._one_less)

        future.add_done_callback(done)

    def _one_less(self) -> None:
        self._waiting -= 1


def _late(future: Future[Send | Escalate]) -> Escalate:
    if future.cancel():
        return Escalate(Reason.OVERLOAD, "the student was busy with other requests")
    return Escalate(Reason.STUDENT_ERROR, "the student took too long")
