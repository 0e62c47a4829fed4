"""One function in a process of its own, beside this one; or here and now, where only one core is at hand.

A process that dies is an error, not a wait for ever, and leaving the `with` block ends it. What this
file does not know: what the function does; its arguments and its result must be picklable.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
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
    try:
        with _deaf_to_interrupts():
            process.start()
        theirs.close()
        yield Job(lambda: _receive(ours), ours.poll)
    finally:
        if process.pid is not None:
            process.terminate()
            process.join(GRACE_SECONDS)
        ours.close()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends; a process started in it never sees one, its parent ends it.

    A terminal sends Ctrl-C to both. The mask is what the new process inherits; the handler keeps this
    one, where another thread may take the signal, from stopping in the middle of the start.
    """
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if held:
        signal.raise_signal(signal.SIGINT)


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
