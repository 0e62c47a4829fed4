"""Opens the log that the settings name: one store for all of this process.

A logger, an importer and agents of one process share its writer, and with it each sync. What this file
does not know: how a store keeps its promises.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ultracore.distillation.events.forks import hold_in_forks
from ultracore.distillation.events.privacy.protection import protection_at
from ultracore.distillation.settings import Settings, load_settings

if TYPE_CHECKING:
    from ultracore.distillation.events.postgres.store import PostgresEventStore
    from ultracore.distillation.events.sqlite import SqliteEventStore

    AnyStore: TypeAlias = PostgresEventStore | SqliteEventStore

__all__ = ["open_store"]

_stores: dict[tuple[str | None, Path], AnyStore] = {}
_lock = threading.Lock()


def open_store(home: Path, settings: Settings | None = None) -> AnyStore:
    """The log in PostgreSQL where `Settings.log_url` names one, else in the folder `home`; made where it is missing.

    How it syncs and where its checkpoints go, what is redacted and whether it seals, is set by `DISTILL_LOG_SYNC`
    and the like, see `Settings`; whoever opens it first decides.

    Args:
        home: The folder.
        settings: Read from the environment by default.

    Raises:
        LogError: It cannot be opened.
        MissingExtraError: The log is in PostgreSQL, and the package for it is not installed.
    """
    folder = Path(home).expanduser().absolute()
    settings = load_settings(home=str(home)) if settings is None else settings
    url = settings.log_url
    with _lock:
        store = _stores.get((url, folder))
        if store is None or store.closed or (url is None and not (folder / "log.db").exists()):
            store = _stores[url, folder] = _open(url, folder, settings)
        return store


def _open(url: str | None, folder: Path, settings: Settings) -> AnyStore:
    return _in_file(folder, settings) if url is None else _in_postgres(url, folder, settings)


def _in_file(folder: Path, settings: Settings) -> SqliteEventStore:
    from ultracore.distillation.events.sqlite import SqliteEventStore

    return SqliteEventStore(
        folder / "log.db",
        synchronous="NORMAL" if settings.log_sync == "relaxed" else "FULL",
        loss_window=settings.log_loss_window_seconds,
        checkpoints=settings.checkpoints_path,
        protection=protection_at(folder, settings),
    )


def _in_postgres(url: str, folder: Path, settings: Settings) -> PostgresEventStore:
    from ultracore.distillation.events.postgres.store import PostgresEventStore  # its package is an extra

    return PostgresEventStore(url, protection=protection_at(folder, settings), checkpoints=settings.checkpoints_path)


hold_in_forks(_lock)
