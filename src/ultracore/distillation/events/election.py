"""One of the processes that share a log is elected, by a lock that dies with it.

What this file does not know: what the elected one does.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["Election"]


class Election:
    """A seat for one; nobody ever waits for it.

    Args:
        path: The lock file; it stays when the seat is given up, since removing it could seat two.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def win(self) -> bool:
        """Whether the seat is this one's, now or already."""
        if self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def resign(self) -> None:
        """Leave the seat to another."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
