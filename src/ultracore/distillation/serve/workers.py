"""Several processes that serve one address from one log and one model; one that dies is started again.

They share the listening socket, so that a connection that one process did not take yet is taken by
another. The parent only watches: it holds no log and no model. What this file does not know: what a
worker does.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from ultracore.distillation.errors import ConfigurationError

__all__ = ["Supervisor", "bind", "end_with_parent"]

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0
"""A worker that lived so long died of something new: its pause begins at the first again."""

STOP_SECONDS = 25.0
"""Longest wait for a worker to finish: more than `server.GRACE_SECONDS` and the audits' 5 s together."""

UNUSABLE = 2
"""Exit code of a worker that cannot be configured; starting it again would not help."""


class Supervisor:
    """Keeps a number of workers running.

    Args:
        command: Starts one worker; the number of the socket's file descriptor is appended.
        workers: How many.
        listener: The socket that they share.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        command: Sequence[str],
        workers: int,
        listener: socket.socket,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = [*command, str(listener.fileno())]
        self._listener = listener
        self._clock = clock
        self._places = [_Place() for _ in range(workers)]
        self._stop = threading.Event()

    @property
    def pids(self) -> list[int]:
        """Of the workers that run."""
        return [place.process.pid for place in self._places if place.process and place.process.poll() is None]

    def run(self) -> int:
        """Until SIGINT or SIGTERM; returns an exit code.

        Every worker is told to finish, and given the time to.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            while not self._stop.wait(0.1):
                for place in self._places:
                    if self._tend(place) == UNUSABLE:
                        return UNUSABLE
            return 0
        finally:
            self._end()

    def _tend(self, place: _Place) -> int | None:
        code = None if place.process is None else place.process.poll()
        now = self._clock()
        if code is not None and place.process is not None:
            place.ended(now)
            logger.error("worker %d ended with code %d", place.process.pid, code)
            place.process = None
        if place.process is None and now >= place.start_at:
            place.started = now
            place.process = subprocess.Popen(  # noqa: S603  our own program
                self._command, stdin=subprocess.PIPE, pass_fds=[self._listener.fileno()]
            )
        return code

    def _end(self) -> None:
        running = [place.process for place in self._places if place.process is not None]
        for process in running:
            process.terminate()
        deadline = self._clock() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - self._clock()))
            except subprocess.TimeoutExpired:
                logger.error("worker %d did not finish in time and is killed", process.pid)
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()


class _Place:
    """One worker after the other, with longer pauses while they keep dying."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.start_at = 0.0
        self._pause = FIRST_PAUSE

    def ended(self, now: float) -> None:
        if now - self.started >= STEADY_SECONDS:
            self._pause = FIRST_PAUSE
        self.start_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket that worker processes may inherit.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    listener.set_inheritable(True)
    return listener


def end_with_parent() -> None:
    """In a worker: finish when the parent is gone, however it went; its end of our standard input closes then."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="distill-parent", daemon=True).start()
