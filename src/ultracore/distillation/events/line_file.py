"""A file of lines that is only ever added to; a line that a crash cut short is no line.

What this file does not know: what the lines say.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ultracore.distillation.events.sync import sync

__all__ = ["append_line", "whole_lines"]


def append_line(file: Path, line: bytes, mode: int = 0o600) -> None:
    """Add a line and sync it, the file's name too where it is new; one process at a time.

    Args:
        file: Made where it is missing; its folder must exist.
        line: Without its end.
        mode: Permissions of a new file.

    Raises:
        OSError: It cannot be written.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "lines"
        >>> _ = file.write_bytes(b"one; cut sho")
        >>> append_line(file, b"two")
        >>> whole_lines(file)
        [b'two']
    """
    is_new = not file.exists()
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.ftruncate(descriptor, os.pread(descriptor, size, 0).rfind(b"\n") + 1)
        os.write(descriptor, line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync(file.parent)


def whole_lines(file: Path) -> list[bytes]:
    """Its lines without their ends; none where there is no file.

    Raises:
        OSError: It is there and cannot be read.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return []
    return content.split(b"\n")[:-1]
