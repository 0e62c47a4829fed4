"""Has the end of the chain signed now and then, and once more at the end.

A signature that fails is said in the program's log and tried again; events are acknowledged all the
same. What this file does not know: how statements are signed and kept (`checkpoints`).
"""

from __future__ import annotations

import logging
import time

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.checkpoints import CheckpointSigner

__all__ = ["CheckpointSchedule"]

logger = logging.getLogger(__name__)


class CheckpointSchedule:
    """Remembers the newest end of the chain until it is due.

    Args:
        signer: Who signs.
        seconds: Between two signatures, while events come.
    """

    def __init__(self, signer: CheckpointSigner, seconds: float) -> None:
        self._signer = signer
        self._seconds = seconds
        self._due = time.monotonic() + seconds
        self._seen: tuple[int, bytes] | None = None

    def saw(self, position: int, digest: bytes) -> None:
        """The chain ends here now."""
        if position:
            self._seen = position, digest

    def tend(self, store_id: str, *, closing: bool) -> float | None:
        """Sign if it is time; seconds until it will be, null where there is nothing to sign."""
        if self._seen is None:
            return None
        wait = self._due - time.monotonic()
        if wait > 0 and not closing:
            return wait
        self._due = time.monotonic() + self._seconds
        try:
            self._signer.sign(*self._seen, store_id)
        except (OSError, LogError) as error:
            logger.error("no checkpoint of the decision log could be signed: %s", error)
            return self._seconds
        self._seen = None
        return None
