"""The embedded decision log: one SQLite file of chained blocks, synced before it is acknowledged.

Any number of threads and processes may append; positions have no gaps. A store survives a fork (both
sides go on) and writes what was submitted before the interpreter ends. What this file does not know:
what the events mean, and when threads take turns (`group_commit`).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from pathlib import Path

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.block_store import BlockStore
from ultracore.distillation.events.checkpoint_schedule import CheckpointSchedule
from ultracore.distillation.events.checkpoints import CheckpointSigner
from ultracore.distillation.events.facts import Event
from ultracore.distillation.events.privacy.protection import Protection, protection_at
from ultracore.distillation.events.sqlite.reader import Reader
from ultracore.distillation.events.sqlite.writer import Writer

__all__ = ["SqliteEventStore"]

POLL_SECONDS = 0.02


class SqliteEventStore(BlockStore):
    """Keeps the promises of `EventStore` in one SQLite file.

    Args:
        path: The database file; its folder is created where it is missing.
        synchronous: `FULL` (acknowledged events survive a power loss) or `NORMAL` (the newest may not, those
            of the last `loss_window` seconds).
        busy_timeout: Seconds to wait while another process writes.
        loss_window: Seconds between syncs, where `synchronous` is `NORMAL`.
        protection: Redacts and seals what is stored; by default what the settings say, with keys beside the log.
        checkpoints: Folder of the signed checkpoints; none are signed by default (`open_store` names one).
        checkpoint_seconds: Seconds between two of them, while events come; one more is signed at the end.

    Attributes:
        durability: What an acknowledgement means here, in words.

    Raises:
        LogError: The file cannot be opened, is another program's, or a newer release wrote it.

    Example:
        >>> import tempfile
        >>> from ultracore.distillation.events import RetrainTriggeredEvent
        >>> store = SqliteEventStore(Path(tempfile.mkdtemp()) / "log.db")
        >>> store.append([RetrainTriggeredEvent.record(model_id="m", reason="scheduled")])
        [1]
        >>> [event.event_type for event in store.read()]
        ['RETRAIN_TRIGGERED']
        >>> store.close()
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "FULL",
        busy_timeout: float = 60.0,
        loss_window: float = 1.0,
        protection: Protection | None = None,
        checkpoints: Path | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"cannot create the folder of the decision log: {error}") from None
        protection = protection_at(self.path.parent) if protection is None else protection
        schedule = CheckpointSchedule(CheckpointSigner(checkpoints), checkpoint_seconds) if checkpoints else None
        writer = Writer(self.path, synchronous, busy_timeout, loss_window, protection.persist, schedule)
        writer.open(create=True)
        self.durability = _durability(synchronous, loss_window)
        super().__init__(writer, Reader(self.path, busy_timeout), protection, self.path.parent)

    def follow(
        self, *, after: int = 0, types: Collection[str] | None = None, timeout: float | None = None
    ) -> Iterator[Event]:
        """Yield events as they come, without a skip or a duplicate; ends after `timeout` idle seconds."""
        idle_since = time.monotonic()
        while timeout is None or time.monotonic() - idle_since <= timeout:
            last = self.last_position()
            if last == after:
                time.sleep(POLL_SECONDS)
                continue
            for event in self.read(after=after, until=last, types=types):
                yield event
                idle_since = time.monotonic()
            after = last


def _durability(synchronous: str, loss_window: float) -> str:
    if synchronous == "NORMAL":
        return f"relaxed: a power loss may take the events of the last {1000 * loss_window:,.0f} ms"
    return "strict: an acknowledged event survives a power loss"
