"""Figures that follow the log while somebody looks, and cost nothing while nobody does.

A thread takes in what is new when it is asked to; readers never wait for it, they see how far it has come. Several
processes may share the file. What this file does not know: which figures there are.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from ultracore.distillation.errors import DistillationError, LogError
from ultracore.distillation.events import EventStore
from ultracore.distillation.events.projection import Projection, Projector

__all__ = ["Live", "Progress"]

logger = logging.getLogger(__name__)


class Progress(NamedTuple):
    """How far the figures are: the position taken in, the log's last, and why it does not go on, or ""."""

    position: int
    last: int
    problem: str


class Live:
    """A projection's state, kept up to date on demand.

    Args:
        store: The log.
        projection: What to keep.
        path: The file of the state.
        also: What else takes in what is new, from the state.
    """

    def __init__(
        self,
        store: EventStore,
        projection: Projection,
        path: Path,
        also: Sequence[Callable[[apsw.Connection], None]] = (),
    ) -> None:
        self._also = also
        self._store = store
        self._projection = projection
        self._path = path
        self._projector: Projector | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._problem = ""

    def follow(self, wait_seconds: float = 0.0) -> None:
        """Begin to take in what is new, unless that is under way; wait for the end of it so long at most."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._catch_up, name="distill-live", daemon=True)
                self._thread.start()
            thread = self._thread
        thread.join(wait_seconds)

    @contextmanager
    def reading(self) -> Iterator[tuple[apsw.Connection, Progress]]:
        """A connection that sees one moment of the state, and how far that is.

        Raises:
            LogError: The file cannot be read.
        """
        try:
            with closing(self._opened()) as state, state:
                position = next(state.execute("SELECT coalesce(max(position), 0) FROM tracking"))[0]
                yield state, Progress(position, max(position, self._last()), self._problem)
        except apsw.Error as error:
            raise LogError(
                f"{self._path} cannot be read: {error}; delete it, it is built again from the log"
            ) from error

    def _opened(self) -> apsw.Connection:
        """The file, or where nothing was taken in yet the figures of an empty log."""
        if self._path.exists():
            state = apsw.Connection(str(self._path))
            state.set_busy_timeout(1000)
            if state.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tracking'").fetchone():
                return state
            state.close()
        state = apsw.Connection(":memory:")
        state.execute(f"{self._projection.schema}; CREATE TABLE tracking (position INT)")
        return state

    def _last(self) -> int:
        try:
            return self._store.last_position()
        except DistillationError:
            return 0

    def _catch_up(self) -> None:
        try:
            if self._projector is not None and self._projector.is_stale:
                self._projector.close()
                self._projector = None
            if self._projector is None:
                self._projector = Projector(self._store, self._projection, self._path)
            self._projector.catch_up()
            for catch_up in self._also:
                catch_up(self._projector.state)
            self._problem = ""
        except (DistillationError, apsw.Error) as error:
            self._problem = str(error)
            logger.error("the live figures do not follow the log: %s", type(error).__name__)
