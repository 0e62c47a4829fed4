"""One thread writes: a group is whatever arrived while the last one was being synced.

A lone append waits for one sync, with no timer before it, and a crowd shares one. Only batches that nobody waits for
are held back a few milliseconds, unless one comes that somebody does. A batch is atomic and
does not fail its neighbours. Whoever submits takes no lock: neither the disk nor a fork can hold it up.
What this file does not know: tables and SQL (it is given a `Target`).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Protocol

from ultracore.distillation.errors import DistillationError, LogError
from ultracore.distillation.events.spool import Spool
from ultracore.distillation.events.store import Expected

__all__ = ["Batch", "GroupCommit", "Target"]

PATIENCE_SECONDS = 0.005

CLOSED = "the log is closed; open it again with open_store(home)"


class Batch:
    """Rows that are written together or not at all.

    Attributes:
        rows: What to write.
        expected: How many events the aggregate must have had.
        future: Resolved with the positions once they are synced.
        patient: Whether it may wait for company: nobody waits for it.
        withdrawn: Set by a caller that no longer wants it; honoured until the commit begins.
    """

    def __init__(self, rows: Spool, expected: Expected | None, *, patient: bool = False) -> None:
        self.rows = rows
        self.expected = expected
        self.patient = patient
        self.future: Future[list[int]] = Future()
        self.future.set_running_or_notify_cancel()  # a task that is cancelled must not take its event back
        self.withdrawn = False


class Target(Protocol):
    """Where groups are written."""

    def begin(self, group: Sequence[Batch]) -> None:
        """Open a transaction for these batches."""
        ...

    def write(self, batch: Batch) -> list[int]:
        """Add one batch to the transaction; a `DistillationError` leaves the transaction as it was."""
        ...

    def write_together(self, batches: Batch) -> list[int] | None:
        """Add what several batches hold, where that costs less than one after the other.

        Returns:
            Their positions; `None` where nothing was added, and each is to be written by itself.
        """
        ...

    def commit(self) -> None:
        """Sync what was written."""
        ...

    def tend(self, *, closing: bool) -> float | None:
        """Do what need not be done before a group is acknowledged; seconds until it wants to be called again."""
        ...

    def abandon(self, error: Exception) -> LogError:
        """Undo the transaction after `error` and say what to do about it."""
        ...

    def release(self) -> None:
        """Close the files; `begin` opens them again."""
        ...


Result = list[int] | Exception


class GroupCommit:
    """Takes batches from any thread and writes them from its own.

    Args:
        target: Where they are written.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._turn = threading.Lock()  # held while the target's files are in use: by the writer, or by a fork
        self._closed = False
        self._fresh()

    def submit(self, batch: Batch) -> None:
        """Queue a batch; its future says what became of it."""
        if self._closed:
            raise LogError(CLOSED)
        self._queue.put(batch)
        if not batch.patient:
            self._hurry()
        self._start()
        if self._closed:  # meanwhile: perhaps before there was a writer, perhaps after it looked for the last time
            self._queue.put(None)
            self._hurry()
            if self._ended:
                self._refuse_rest()

    def close(self) -> None:
        """Write what was submitted, then let go of the files. May be called twice, from any thread."""
        self._closed = True
        thread = self._thread
        if thread is None:
            self._release()
            return
        self._queue.put(None)
        self._hurry()
        if thread is not threading.current_thread():
            thread.join()

    def before_fork(self) -> None:
        """Come to rest: neither an open database nor a connection may be carried across a fork."""
        self._turn.acquire()
        self._target.release()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._turn.release()

    def after_fork_in_child(self) -> None:
        """Start afresh: what is queued is the parent's to write."""
        self._fresh()
        self._turn.release()

    def _fresh(self) -> None:
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()  # only ever tried, never waited for
        self._calm = threading.Lock()  # held until somebody is in a hurry
        self._calm.acquire()
        self._ended = False

    def _hurry(self) -> None:
        """Have what waits for company written now; may be called from anywhere, as `submit` may."""
        with contextlib.suppress(RuntimeError):  # it is released already
            self._calm.release()

    def _start(self) -> None:
        """Start the writer where there is none; whoever comes second leaves it to the first."""
        if self._thread is None and self._starting.acquire(blocking=False):
            thread = threading.Thread(target=self._run, name="distill-log", daemon=True)
            thread.start()
            self._thread = thread  # not before: nobody can join a thread that has not started

    def _run(self) -> None:
        wait: float | None = None
        while not self._ended:
            group, ended = self._take(wait)
            with self._turn:
                results = self._write(group)
            for batch, result in zip(group, results, strict=True):
                _resolve(batch, result)
            self._ended = ended
            with self._turn:
                wait = self._tend(closing=ended)
        self._refuse_rest()
        self._release()

    def _refuse_rest(self) -> None:
        while True:
            try:
                batch = self._queue.get_nowait()
            except queue.Empty:
                return
            if batch is not None:
                _resolve(batch, LogError(CLOSED))

    def _release(self) -> None:
        with self._turn:
            self._target.release()

    def _take(self, wait: float | None) -> tuple[list[Batch], bool]:
        """Wait for one batch, then take those that are there now, not those that come meanwhile: it would never end.

        The end mark comes after all that were submitted before it.
        """
        try:
            items = [self._queue.get(timeout=wait)]
        except queue.Empty:
            return [], False
        items += self._there()
        if all(item is not None and item.patient for item in items):
            self._calm.acquire(timeout=PATIENCE_SECONDS)
            items += self._there()
        else:  # who was in a hurry is here, or in the queue
            self._calm.acquire(blocking=False)
        return [item for item in items if item is not None], None in items

    def _there(self) -> list[Batch | None]:
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    def _write(self, group: list[Batch]) -> list[Result]:
        if not group:
            return []
        try:
            self._target.begin(group)
            results = self._together(group) or [self._attempt(batch) for batch in group]
            self._target.commit()
        except Exception as error:  # noqa: BLE001 - whatever it was, every caller must hear of it
            reason = self._abandon(error)
            return [type(reason)(str(reason)) for _ in group]
        return results

    def _together(self, group: list[Batch]) -> list[Result] | None:
        """All of them as one batch; `None` where each must be heard by itself."""
        if len(group) == 1 or any(batch.expected or batch.withdrawn or batch.rows.spilled for batch in group):
            return None
        found = self._target.write_together(Batch(Spool.joined([batch.rows for batch in group]), None))
        if found is None:
            return None
        positions = iter(found)
        return [list(islice(positions, len(batch.rows))) for batch in group]

    def _tend(self, *, closing: bool) -> float | None:
        try:
            return self._target.tend(closing=closing)
        except Exception as error:  # noqa: BLE001 - everything so far is acknowledged; the next group meets the error
            self._abandon(error)
            return None

    def _abandon(self, error: Exception) -> LogError:
        try:
            return self._target.abandon(error)
        except Exception as second:  # noqa: BLE001 - a writer that dies here would leave its callers waiting for ever
            return LogError(f"{error}; and then {second}")

    def _attempt(self, batch: Batch) -> Result:
        try:
            return self._target.write(batch)
        except DistillationError as error:
            return error


def _resolve(batch: Batch, result: Result) -> None:
    batch.rows.close()
    if isinstance(result, Exception):
        batch.future.set_exception(result)
    else:
        batch.future.set_result(result)
