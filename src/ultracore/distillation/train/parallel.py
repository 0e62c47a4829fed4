"""One function in a process of its own, beside this one; or here and now, where only one core is at hand.

A process that dies is an error, not a wait for ever, and leaving the `with` block ends it. What this
file does not know: what the function does; its arguments and its result must be picklable.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from ultracore.distillation.errors import DistillationError

__all__ = ["Job", "background", "cores"]

T = TypeVar("T")
GRACE_SECONDS = 5.0


class Job(Generic[T]):
    """A result that comes later.

    Args:
        wait: Gives the result.
        ready: Whether it is there.
    """

    def __init__(self, wait: Callable[[], T], ready: Callable[[], bool]) -> None:
        self._wait = wait
        self._ready = ready

    @property
    def is_ready(self) -> bool:
        """Whether `result` would return at once."""
        return self._ready()

    def result(self) -> T:
        """Wait for the result.

        Raises:
            DistillationError: The function raised it, or its process died.
        """
        return self._wait()


@contextmanager
def background(function: Callable[..., T], *args: Any, parallel: bool = True) -> Iterator[Job[T]]:
    """Run a function of a module beside the `with` block.

    Args:
        function: Defined at the top of a module, so that the other process can import it.
        *args: What it is called with.
        parallel: False: it runs in this process when its result is asked for.
    """
    if not parallel:
        yield Job(lambda: function(*args), lambda: False)
        return
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, function, args), daemon=True)
    _start(process)
    theirs.close()
    try:
        yield Job(lambda: _receive(ours), ours.poll)
    finally:
        process.terminate()
        process.join(GRACE_SECONDS)
        ours.close()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(process: Any) -> None:
    """Start it deaf to Ctrl-C, which a terminal sends to it too: ending it is this process's business."""
    if not hasattr(signal, "pthread_sigmask"):
        process.start()
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        answer: Any = function(*args)
    except DistillationError as error:
        answer = error
    connection.send(answer)
    connection.close()


def _receive(connection: Connection) -> Any:
    try:
        answer = connection.recv()
    except EOFError:
        raise DistillationError(
            "a helper process ended without a result, perhaps for want of memory; run again with --processes 1"
        ) from None
    if isinstance(answer, DistillationError):
        raise answer
    return answer
