"""The decision log in PostgreSQL: any number of machines append to one log, synced before it is acknowledged.

The promises are those of `store`; blocks, their chain and the group commit are the embedded log's. What
this file does not know: what the events mean, and when threads take turns (`group_commit`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from ultracore.distillation.errors import LogUnavailableError
from ultracore.distillation.events.block_store import BlockStore
from ultracore.distillation.events.checkpoint_schedule import CheckpointSchedule
from ultracore.distillation.events.checkpoints import CheckpointSigner
from ultracore.distillation.events.facts import Event
from ultracore.distillation.events.postgres.connection import Bell
from ultracore.distillation.events.postgres.reader import Reader
from ultracore.distillation.events.postgres.schema import check_keyring, migrate
from ultracore.distillation.events.postgres.writer import Writer
from ultracore.distillation.events.privacy.protection import Protection, protection_at
from ultracore.distillation.settings import load_settings

__all__ = ["PostgresEventStore"]

POLL_SECONDS = 1.0
RETRY_SECONDS = 0.2


class PostgresEventStore(BlockStore):
    """Keeps the promises of `EventStore` in the schema `distill` of one database.

    Args:
        url: `postgresql://user@host/database`; a password comes from `PGPASSWORD` or `~/.pgpass`.
        patience: Seconds to wait for a server that went away in the middle of a commit, or under `follow`.
        protection: Redacts and seals what is stored; by default what the settings say, with keys in the home folder.
        checkpoints: Folder of the signed statements about the chain, outside the database; null for none.
        checkpoint_seconds: Between two of them, while events come.

    Attributes:
        durability: What an acknowledgement means here, in words.

    Raises:
        LogUnavailableError: The server cannot be reached.
        LogError: It does not sync, a newer release wrote the log, this user may not create the tables, or the log
            is sealed with other keys.

    Example:
        store = PostgresEventStore("postgresql://distill@db.internal/decisions")
        store.append([RetrainTriggeredEvent.record(model_id="m", reason="scheduled")])
    """

    def __init__(
        self,
        url: str,
        *,
        patience: float = 60.0,
        protection: Protection | None = None,
        checkpoints: Path | None = None,
        checkpoint_seconds: float = 60.0,
    ) -> None:
        self.url = url
        self.durability = "strict: an acknowledged event was synced by the server"
        protection = protection_at(load_settings().home_path) if protection is None else protection
        self._patience = patience
        schedule = CheckpointSchedule(CheckpointSigner(checkpoints), checkpoint_seconds) if checkpoints else None
        writer = Writer(url, patience, protection.persist, schedule)
        try:
            migrate(writer.open(), url)
            check_keyring(writer.open(), url, protection.fingerprint)
        except BaseException:
            writer.release()
            raise
        super().__init__(writer, Reader(url), protection, Path(tempfile.gettempdir()))

    def follow(
        self, *, after: int = 0, types: Collection[str] | None = None, timeout: float | None = None
    ) -> Iterator[Event]:
        """Yield events as they come, without a skip or a duplicate; ends after `timeout` idle seconds.

        The server says when there is something new; where it cannot, a look every second does. A server that
        goes away is waited for.
        """
        bell = Bell(self.url)
        active, away = time.monotonic(), None
        try:
            while away or timeout is None or time.monotonic() - active <= timeout:
                try:
                    bell.listen()
                    last, away = self.last_position(), None
                    for event in self.read(after=after, until=last, types=types):
                        after = event.metadata.position or after
                        yield event
                        active = time.monotonic()
                    after = max(after, last)
                    bell.wait(
                        POLL_SECONDS if timeout is None else min(POLL_SECONDS, active + timeout - time.monotonic())
                    )
                except LogUnavailableError:
                    away = away or time.monotonic()
                    if time.monotonic() - away > self._patience:
                        raise
                    time.sleep(RETRY_SECONDS)
        finally:
            bell.close()
