"""What is on the disk for good: a file's content, or the names in a folder.

What this file does not know: what is written, and in which order.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["sync"]


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlast a power cut.

    Raises:
        OSError: It is not there, or the disk refuses.

    Example:
        >>> import tempfile
        >>> sync(Path(tempfile.mkdtemp()))
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
