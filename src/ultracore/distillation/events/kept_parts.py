"""Which parts a log is known to hold, so that none is compressed and sent to the database again.

Thousands of events name the same tools. What a rolled back transaction wrote is not known. What this file
does not know: databases.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KeptParts"]

MOST = 100_000
"""Names in memory, of 64 characters each; a log with more begins to forget all of them now and then."""


class KeptParts:
    """For one writer; told how its transactions end."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._written: set[str] = set()

    def unknown(self, parts: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those that must be written, by hash; they count as written in the open transaction."""
        found = {key: part for key, part in parts.items() if key not in self._known}
        self._written |= found.keys()
        return found

    def committed(self) -> None:
        """The transaction is in the log."""
        if len(self._known) >= MOST:
            self._known.clear()
        self._known |= self._written
        self._written.clear()

    def undone(self) -> None:
        """Something of the transaction was rolled back, perhaps all."""
        self._written.clear()

    def forget(self) -> None:
        """Another log may be there when the files are opened again."""
        self._known.clear()
        self._written.clear()
