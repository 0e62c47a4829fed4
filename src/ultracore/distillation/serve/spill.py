"""A file for events that the log did not take: bounded, one for each process, emptied into the log when it is back.

An event is in it at most once more than in the log, never twice in the log. A file that a killed process
left behind is taken over by the next. Each line is sealed as a whole. What this file does not know: what
the events mean.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

import msgspec

from ultracore.distillation.errors import DistillationError, EventError
from ultracore.distillation.events import Event, EventStore
from ultracore.distillation.events.privacy.protection import Protection

__all__ = ["MAX_BYTES", "Spill"]

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
BATCH = 256
WAIT_SECONDS = 5.0
"""For the log to take a batch; one that is stuck is tried again later."""


class Spill:
    """Events that wait for the log.

    Args:
        folder: Where the file is made, once it is needed.
        max_bytes: What it may hold; an event beyond that is not taken.
        protection: Seals what is written; nothing is, without one.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, protection: Protection | None = None) -> None:
        self._folder = folder
        self._path = folder / f"{uuid.uuid4().hex}.jsonl"
        self._protection = protection
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """Bytes that wait in this process's file."""
        return self._bytes

    def add(self, events: Iterable[Event]) -> bool:
        """Keep events, synced; all of them or none.

        Returns:
            Whether they are kept: not if the file is full, or cannot be written.
        """
        try:
            lines = b"".join(self._line(event) for event in events)
        except DistillationError as error:
            logger.error("events cannot be sealed for the spill file: %s", type(error).__name__)
            return False
        with self._lock:
            if self._bytes + len(lines) > self._max_bytes:
                return False
            try:
                self._append(lines)
            except OSError as error:
                logger.error("the spill file cannot be written: %s", error.strerror)
                return False
            self._bytes += len(lines)
            return True

    def drain(self, store: EventStore) -> None:
        """Move what waits into the log; what the log does not take goes on waiting."""
        waiting = self._read()  # nothing is locked while the log takes its time
        if waiting and self._moved(waiting, store):
            self._forget(len(waiting))
        for path in self._orphans():
            self._drain_orphan(path, store)

    def close(self) -> None:
        """Let go of the file; an empty one is removed."""
        with self._lock:
            if self._file is None:
                return
            if not self._bytes:
                self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _line(self, event: Event) -> bytes:
        line = msgspec.json.encode(event.to_dict())
        return (line if self._protection is None else self._protection.cover(line)) + b"\n"

    def _append(self, lines: bytes) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = FileIO(descriptor, "r+")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.seek(self._bytes)
        self._file.write(lines)
        os.fsync(self._file.fileno())

    def _read(self) -> bytes:
        with self._lock:
            if self._file is None or not self._bytes:
                return b""
            self._file.seek(0)
            return self._file.read(self._bytes)

    def _forget(self, size: int) -> None:
        with self._lock:
            if self._file is None:
                return
            self._file.seek(size)
            rest = self._file.read(self._bytes - size)
            self._file.seek(0)
            self._file.write(rest)
            self._file.truncate(len(rest))
            self._bytes = len(rest)

    def _orphans(self) -> Iterator[Path]:
        return (path for path in self._folder.glob("*.jsonl") if path != self._path)

    def _drain_orphan(self, path: Path, store: EventStore) -> None:
        try:
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._moved(file.read(), store):
                    path.unlink(missing_ok=True)
        except OSError:  # its process lives, or another one takes it over just now
            return

    def _moved(self, content: bytes, store: EventStore) -> bool:
        """Whether every whole line is in the log now."""
        *lines, _ = content.split(b"\n")  # the last one of a killed process may be cut
        try:
            events = [Event.from_dict(msgspec.json.decode(self._uncovered(line))) for line in lines]
            for start in range(0, len(events), BATCH):
                batch = events[start : start + BATCH]
                known = store.known([event.metadata.event_id for event in batch])
                _append_all(store, [event for event in batch if event.metadata.event_id not in known])
        except (DistillationError, TimeoutError):
            return False
        return True

    def _uncovered(self, line: bytes) -> bytes:
        return line if self._protection is None else self._protection.uncover(line)


def _append_all(store: EventStore, events: list[Event]) -> None:
    if not events:
        return
    try:
        store.submit(events).result(WAIT_SECONDS)
    except EventError:  # one of them cannot be stored: it must not hold up the others
        for event in events:
            _append_one(store, event)


def _append_one(store: EventStore, event: Event) -> None:
    try:
        store.submit([event]).result(WAIT_SECONDS)
    except EventError as error:
        logger.error("a spilled event is refused by the decision log: %s", type(error).__name__)
