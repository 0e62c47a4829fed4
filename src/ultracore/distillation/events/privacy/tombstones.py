"""What was erased, in a file apart from log, keys and backups: a restored backup is made to forget it again.

A line holds pseudonyms and times, nothing of a person. It is written before the keys are destroyed, so
that an erasure that was interrupted is known. What this file does not know: keys and logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.line_file import append_line, whole_lines

__all__ = ["Tombstone", "append_tombstone", "read_tombstones"]


class Tombstone(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Keys that are gone.

    Attributes:
        at: When; keys made later are not meant.
        tenant: Whose, all tenants' by default.
        subject: The pseudonym of the person, all by default.
        before: Only keys of days before this one.
    """

    at: str
    tenant: str | None = None
    subject: str | None = None
    before: str | None = None


def append_tombstone(file: Path, tombstone: Tombstone) -> None:
    """Append a line and sync it.

    Raises:
        LogError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        append_line(file, msgspec.json.encode(tombstone))
    except OSError as error:
        raise LogError(f"the file of erasures {file} cannot be written: {error.strerror}; nothing was erased") from None


def read_tombstones(file: Path) -> Iterator[Tombstone]:
    """The lines of a file; none where there is no file, and none that a crash cut.

    Raises:
        LogError: It cannot be read, or a whole line is none of ours.
    """
    try:
        lines = whole_lines(file)
    except OSError as error:
        raise LogError(f"the file of erasures {file} cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        try:
            yield msgspec.json.decode(line, type=Tombstone)
        except msgspec.MsgspecError as error:
            raise LogError(f"the file of erasures {file}, line {number}: {error}; restore it") from None
