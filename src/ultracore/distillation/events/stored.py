"""Stored bytes back to rows and parts, each checked against its hash, and what is said where they are not there.

What this file does not know: which database they were read from.
"""

from __future__ import annotations

import zstandard

from ultracore.distillation.errors import LogError
from ultracore.distillation.events import block as blocks
from ultracore.distillation.events.block import Chained, DamagedBlockError, Row
from ultracore.distillation.events.codec import part_of

__all__ = ["damaged", "missing", "part_from", "rows_of"]


def rows_of(block: Chained, log: str) -> list[Row]:
    """The rows of a block.

    Args:
        block: In its place.
        log: What the log is called in an error.

    Raises:
        LogError: They are not what was written.
    """
    try:
        if block.is_intact:
            return blocks.rows(block.block)
        reason = "their hash does not match"
    except DamagedBlockError as error:
        reason = str(error)
    raise damaged(log, f"positions {block.first} to {block.last}: {reason}")


def part_from(stored: bytes | None, key: str, log: str) -> bytes:
    """What payloads name by a hash, from its compressed form; `None` is one that is not there.

    Raises:
        LogError: It is not there, or not what was written.
    """
    part = None if stored is None else _decompressed(stored)
    if part is None or part_of(part) != key:
        state = "missing" if stored is None else "damaged"
        raise LogError(f"the decision log {log}: part {key} is {state}; restore a backup")
    return part


def damaged(log: str, where: str) -> LogError:
    """Something was altered."""
    return LogError(f"the decision log {log} is damaged at {where}; `distill verify` says more; restore a backup")


def missing(log: str, first: int, last: int) -> LogError:
    """Some events are not there."""
    return LogError(
        f"the decision log {log}: positions {first} to {last} are missing; `distill verify` says more; restore a backup"
    )


def _decompressed(stored: bytes) -> bytes | None:
    try:
        return zstandard.decompress(stored)
    except zstandard.ZstdError:
        return None
