"""One thread writes: a group is whatever arrived while the last one was being synced.

There is no timer, so a lone append waits for one sync and a crowd shares one. A batch is atomic and
does not fail its neighbours. After a failed sync nothing is acknowledged any more. What this file
does not know: tables and SQL (it is given a `Target`).
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import Protocol

from ultracore.distillation.errors import DistillationError, LogError
from ultracore.distillation.events.spool import Spool
from ultracore.distillation.events.store import Expected

__all__ = ["Batch", "GroupCommit", "Target"]


class Batch:
    """Rows that are written together or not at all.

    Attributes:
        rows: What to write.
        expected: How many events the aggregate must have had.
        future: Resolved with the positions once they are synced.
        withdrawn: Set by a caller that no longer wants it; honoured until the commit begins.
    """

    def __init__(self, rows: Spool, expected: Expected | None) -> None:
        self.rows = rows
        self.expected = expected
        self.future: Future[list[int]] = Future()
        self.future.set_running_or_notify_cancel()  # a task that is cancelled must not take its event back
        self.withdrawn = False


class Target(Protocol):
    """Where groups are written."""

    def begin(self) -> None:
        """Open a transaction."""
        ...

    def write(self, batch: Batch) -> list[int]:
        """Add one batch to the transaction; a `DistillationError` leaves the transaction as it was."""
        ...

    def commit(self) -> None:
        """Sync what was written."""
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
        self._entry = threading.Lock()  # submitting, closing and forking exclude each other
        self._turn = threading.Lock()  # held while the target's files are in use
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, batch: Batch) -> None:
        """Queue a batch; its future says what became of it."""
        with self._entry:
            if self._closed:
                raise LogError("the log is closed; open it again with open_store(home)")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="distill-log", daemon=True)
                self._thread.start()
            self._queue.put(batch)

    def close(self) -> None:
        """Write what was submitted, then let go of the files. May be called twice, from any thread."""
        with self._entry:
            self._closed = True
            thread, self._thread = self._thread, None
            self._queue.put(None)
        if thread is None:
            self._release()
        elif thread is not threading.current_thread():
            thread.join()

    def before_fork(self) -> None:
        """Come to rest: SQLite forbids carrying an open database across a fork."""
        self._entry.acquire()
        self._turn.acquire()
        self._target.release()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._turn.release()
        self._entry.release()

    def after_fork_in_child(self) -> None:
        """Start afresh: what is queued is the parent's to write."""
        self._queue = queue.SimpleQueue()
        self._thread = None
        self.after_fork_in_parent()

    def _run(self) -> None:
        ended = False
        while not ended:
            group, ended = self._take()
            with self._turn:
                results = self._write(group)
            for batch, result in zip(group, results, strict=True):
                _resolve(batch, result)
        self._release()

    def _release(self) -> None:
        with self._turn:
            self._target.release()

    def _take(self) -> tuple[list[Batch], bool]:
        """Wait for one batch, then take all that are there; the end mark is the last thing ever queued."""
        group: list[Batch] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _write(self, group: list[Batch]) -> list[Result]:
        if not group:
            return []
        try:
            self._target.begin()
            results = [self._attempt(batch) for batch in group]
            self._target.commit()
        except Exception as error:  # noqa: BLE001 - whatever it was, every caller must hear of it
            reason = self._abandon(error)
            return [LogError(reason) for _ in group]
        return results

    def _abandon(self, error: Exception) -> str:
        try:
            return str(self._target.abandon(error))
        except Exception as second:  # noqa: BLE001 - a writer that dies here would leave its callers waiting for ever
            return f"{error}; and then {second}"

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
