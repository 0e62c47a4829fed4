"""The one seam between the event loop and the student: a thread in which the gate decides.

A student takes 1 to 10 ms of CPU. Run on the event loop that would stall every stream being relayed
and every hang-up being noticed; in one thread the loop goes on, and a student need not be thread-safe.
What needs no thought (a request that no student may answer, a context known by heart) does not make the
detour. What would wait too long for its turn goes to the teacher at once, not when the wait is over. One
that blocks costs its own request a local answer, and its thread is left behind; one that fails again and
again is asked no more. What this file does not know: what is decided.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from ultracore.distillation.serve.gate import Escalate, Gate, Reason, Send
from ultracore.distillation.serve.wire import ChatRequest

__all__ = ["Decider"]

logger = logging.getLogger(__name__)

QUICK_BYTES = 64 * 1024
"""Longer requests are looked up in the thread too: hashing a context of this size takes a tenth of a millisecond."""

NEWEST = 0.1
"""How much the last job counts for what the next is thought to take."""

Verdict = Send | Escalate
Work = Callable[[], Verdict]


class Decider:
    """Asks a gate, off the event loop; to be used from one event loop.

    Args:
        timeout_seconds: Longest wait for a verdict; then the teacher answers.
        queue_seconds: Longest wait for the thread, as far as it can be foreseen; beyond it the teacher answers at once.
        max_waiting: Requests that may wait for the thread, however quick it is.
        failures: In a row, after which a gate's student is not asked any more.
        on_disabled: Called with a gate whose student is not asked any more.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float = 1.0,
        queue_seconds: float = 0.25,
        max_waiting: int = 64,
        failures: int = 5,
        on_disabled: Callable[[Gate], None] | None = None,
    ) -> None:
        self.on_disabled = on_disabled
        self._timeout_seconds = timeout_seconds
        self._queue_seconds = queue_seconds
        self._max_waiting = max_waiting
        self._max_failures = failures
        self._failures = 0
        self._judged: Gate | None = None
        self._waiting = 0
        self._worker: _Worker | None = None

    async def decide(self, gate: Gate | None, request: ChatRequest) -> Verdict:
        """The gate's verdict; without a gate, without room, or without a verdict in time: the teacher."""
        verdict = self.at_once(gate, request)
        if verdict is not None or gate is None:
            return verdict or Escalate(Reason.NOT_CERTIFIED, "no student is deployed")
        if self._full:
            return Escalate(Reason.OVERLOAD, "too many requests wait for the student")
        verdict = await self._ask(lambda: gate.decide(request))
        self._judge(gate, verdict)
        return verdict

    def at_once(self, gate: Gate | None, request: ChatRequest) -> Verdict | None:
        """What `decide` would say, where nothing has to be waited for."""
        if gate is None:
            return Escalate(Reason.NOT_CERTIFIED, "no student is deployed")
        if self.disabled(gate):
            return Escalate(Reason.STUDENT_ERROR, "the student failed too often and is not asked any more")
        verdict = gate.at_once(request) if len(request.body) <= QUICK_BYTES else None
        if verdict is not None:
            self._judge(gate, verdict)
        return verdict

    def disabled(self, gate: Gate) -> bool:
        """Whether a gate's student has failed too often."""
        return gate is self._judged and self._failures >= self._max_failures

    def close(self) -> None:
        """Let go of the thread; a verdict that is being reached is not waited for."""
        if self._worker is not None:
            self._worker.close()

    @property
    def _full(self) -> bool:
        each = 0.0 if self._worker is None else self._worker.job_seconds
        return self._waiting >= self._max_waiting or self._waiting * each > self._queue_seconds

    async def _ask(self, work: Work) -> Verdict:
        worker = self._worker = self._worker or _Worker(asyncio.get_running_loop())
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                worker.put(job)
                return await job.verdict
        except TimeoutError:
            return self._late(worker, job)
        finally:
            self._waiting -= 1
            job.wanted = False

    def _late(self, worker: _Worker, job: _Job) -> Escalate:
        if worker.current is not job:
            return Escalate(Reason.OVERLOAD, "the student was busy with other requests")
        if self._worker is worker:  # the others need not wait for what may never end
            self._worker = worker.replaced(job)
        return Escalate(Reason.STUDENT_ERROR, "the student took too long")

    def _judge(self, gate: Gate, verdict: Verdict) -> None:
        if gate is not self._judged:
            self._judged, self._failures = gate, 0
        if isinstance(verdict, Escalate) and verdict.reason == Reason.STUDENT_ERROR:
            self._failures += 1
            if self._failures == self._max_failures:
                logger.error("student %s failed %d times in a row: disabled", gate.student.model_id, self._failures)
                if self.on_disabled is not None:
                    self.on_disabled(gate)
        elif not (isinstance(verdict, Escalate) and verdict.reason == Reason.OVERLOAD):
            self._failures = 0


class _Job:
    """One verdict to be reached; nobody wants it any more once its request has gone on without it."""

    __slots__ = ("verdict", "wanted", "work")

    def __init__(self, work: Work, verdict: asyncio.Future[Verdict]) -> None:
        self.work = work
        self.verdict = verdict
        self.wanted = True


class _Worker:
    """A daemon thread, which does not keep a process alive, that does one job after the other.

    Attributes:
        current: The job being done.
        job_seconds: What a job takes, those before long ago counting little.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.current: _Job | None = None
        self.job_seconds = 0.0
        self._loop = loop
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: deque[tuple[_Job, Verdict | Exception]] = deque()
        threading.Thread(target=self._work, name="distill-gate", daemon=True).start()

    def put(self, job: _Job) -> None:
        """Have it done."""
        self._jobs.put(job)

    def close(self) -> None:
        """End the thread after the job being done."""
        self._jobs.put(None)

    def replaced(self, stuck: _Job) -> _Worker:
        """A worker that goes on with what waits behind a job that is stuck."""
        worker = _Worker(self._loop)
        worker.job_seconds = self.job_seconds
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                worker.put(job)
        self.close()
        return worker

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job.wanted:
                continue
            self.current, began = job, time.perf_counter()
            try:
                result: Verdict | Exception = job.work()
            except Exception as error:  # noqa: BLE001  raised where the verdict is awaited
                result = error
            self.current = None
            self._took(time.perf_counter() - began)
            self._done.append((job, result))
            if len(self._done) == 1:  # else the event loop has been told and is yet to look
                self._tell()

    def _took(self, seconds: float) -> None:
        self.job_seconds += NEWEST * (seconds - self.job_seconds) if self.job_seconds else seconds

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop is closed: nobody waits
            self._done.clear()

    def _deliver(self) -> None:
        while self._done:
            job, result = self._done[0]
            if not job.verdict.done():
                if isinstance(result, Exception):
                    job.verdict.set_exception(result)
                else:
                    job.verdict.set_result(result)
            self._done.popleft()
