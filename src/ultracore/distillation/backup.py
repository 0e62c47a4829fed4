"""Copies a home while it is in use, and puts a copy back; what was erased meanwhile stays erased.

A backup is the log up to some position, with the keys, models and signed checkpoints that belong to it.
It is verified before it is called one, and again before it is put back. What this file does not know:
how often to make one, and where to keep it.
"""

from __future__ import annotations

import contextlib
import filecmp
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import apsw
import msgspec

from ultracore.distillation.erasure import Plan, erase_again
from ultracore.distillation.errors import ConfigurationError, LogError
from ultracore.distillation.events.checkpoints import read_checkpoints
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.events.privacy.protection import KEYRING, Protection, protection_at
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.ledger import SqliteLedger
from ultracore.distillation.events.sync import sync
from ultracore.distillation.events.verify import verify

__all__ = ["Manifest", "Places", "back_up", "restore"]

LOG = "log.db"
MODELS = "models"
CHECKPOINTS = "checkpoints.jsonl"
SIGNING_KEY = "key.pem"
MANIFEST = "backup.json"
PARTIAL = ".partial"


class Places(NamedTuple):
    """Where the parts of a home are.

    Attributes:
        home: Log and models.
        keys: Folder of the keyring.
        checkpoints: Folder of the signed checkpoints.
        tombstones: File of erasures.
    """

    home: Path
    keys: Path
    checkpoints: Path
    tombstones: Path


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds.

    Attributes:
        time: When it was made.
        store_id: Of which log.
        events: Position of its last event.
        hash: The chain's hash there.
        keys: Whether the keyring is in the same folder.
    """

    time: str
    store_id: str
    events: int
    hash: str
    keys: bool


def back_up(places: Places, to: Path, keys_to: Path | None = None, protection: Protection | None = None) -> Manifest:
    """Copy a home to a new folder, while others read and write it.

    Args:
        places: What to copy.
        to: The folder to make.
        keys_to: Another folder to make, for the keyring and the key that signs checkpoints.
        protection: That of the log; by default as the settings say.

    Raises:
        ConfigurationError: A folder is there already.
        LogError: The copy does not verify, or a file cannot be read or written; nothing is left behind.
    """
    apart = None if keys_to is None else _draft(keys_to)
    draft = _draft(to)
    with _cleaned(draft, apart):
        # In this order: a checkpoint is never ahead of the log, and no event is there without its key and model.
        _copy(places.checkpoints / CHECKPOINTS, draft / CHECKPOINTS)
        _copy_log(places.home / LOG, draft / LOG)
        secrets = draft if apart is None else apart
        guarded = protection or protection_at(places.home)
        if guarded.has_keyring:
            guarded.keyring.copy_to(secrets / KEYRING)
        _copy(places.checkpoints / SIGNING_KEY, secrets / SIGNING_KEY)
        _copy_models(places.home / MODELS, draft / MODELS)
        manifest = _verified(draft, keys=apart is None)
        (draft / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        for folder in (draft, apart):
            _sync(folder)
        if apart is not None and keys_to is not None:
            apart.rename(keys_to)
        try:
            draft.rename(to)
        except OSError:
            if apart is not None and keys_to is not None:
                keys_to.rename(apart)  # keys without a log would be in the way of the next try
            raise
    return manifest


def restore(source: Path, places: Places, keys_from: Path | None = None, *, never_erased: bool = False) -> list[Plan]:
    """Put a backup where there is no log.

    Args:
        source: The backup.
        places: Where its parts go, and the file of erasures.
        keys_from: Where the keyring is, if it was kept apart.
        never_erased: Says that nothing was erased since, where there is no file of erasures.

    Returns:
        What had to be erased again.

    Raises:
        ConfigurationError: There is a log already, this is no backup, or keyring or file of erasures are missing.
        LogError: The backup does not verify.
    """
    manifest = _read_manifest(source)
    secrets = source if keys_from is None else keys_from
    _check_places(places, manifest, keys_from, never_erased)
    if (places.keys / KEYRING).exists() and not _same(places.keys / KEYRING, secrets / KEYRING):
        raise ConfigurationError(f"there is another keyring in {places.keys} already; move it away first")
    now = _verified(source, keys=manifest.keys)
    if (now.events, now.hash, now.store_id) != (manifest.events, manifest.hash, manifest.store_id):
        raise LogError(
            f"{source} holds {now.events:,} events, its manifest says {manifest.events:,}: take another backup"
        )
    places.home.mkdir(parents=True, exist_ok=True)
    places.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    _copy(secrets / KEYRING, places.keys / KEYRING)
    _copy(source / CHECKPOINTS, places.checkpoints / CHECKPOINTS)
    _copy(secrets / SIGNING_KEY, places.checkpoints / SIGNING_KEY)
    _copy_models(source / MODELS, places.home / MODELS)
    _copy(source / LOG, places.home / f"{LOG}{PARTIAL}")
    for folder in {places.home, places.keys, places.checkpoints}:
        _sync(folder)
    (places.home / f"{LOG}{PARTIAL}").rename(places.home / LOG)  # last: without it, it is begun again
    store = SqliteEventStore(places.home / LOG)
    try:
        return erase_again(store, places.home, places.tombstones)
    finally:
        store.close()


def _check_places(places: Places, manifest: Manifest, keys_from: Path | None, never_erased: bool) -> None:
    if (places.home / LOG).exists():
        raise ConfigurationError(f"there is a log in {places.home} already; move it away, or name another --home")
    if keys_from is not None and not (keys_from / KEYRING).exists():
        raise ConfigurationError(f"there is no {KEYRING} in {keys_from}; name the folder that `--keys-to` made")
    if not manifest.keys and keys_from is None:
        raise ConfigurationError("the keyring of this backup was kept apart; name its folder with --keys-from")
    if not places.tombstones.exists() and not never_erased:
        raise ConfigurationError(
            f"there is no file of erasures at {places.tombstones}: what was erased since this backup would come back. "
            "Put it there, or say --never-erased if nothing was"
        )


def _read_manifest(source: Path) -> Manifest:
    try:
        return msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"{source} is no backup: {error}") from None


def _verified(folder: Path, *, keys: bool) -> Manifest:
    ledger = SqliteLedger(folder / LOG)
    try:
        report = verify(ledger, list(read_checkpoints(folder)))
        store_id = ledger.store_id()
    finally:
        ledger.close()
    if report.findings:
        raise LogError(f"the copy in {folder} is not as it was written: {report.findings[0]}")
    return Manifest(time=utc_now().isoformat(), store_id=store_id, events=report.events, hash=report.hash, keys=keys)


def _copy_log(source: Path, target: Path) -> None:
    """The database at one moment; writers are not held up."""
    try:
        reading, writing = apsw.Connection(str(source)), apsw.Connection(str(target))
        with contextlib.closing(reading), contextlib.closing(writing):
            reading.set_busy_timeout(60_000)
            with writing.backup("main", reading, "main") as copy:
                while not copy.done:
                    copy.step(-1)
    except apsw.Error as error:
        raise LogError(f"the log {source} cannot be copied: {error}") from error


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all."""
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(target.name + PARTIAL)
        shutil.copy2(source, draft)
        draft.replace(target)


def _same(one: Path, other: Path) -> bool:
    return other.exists() and filecmp.cmp(one, other, shallow=False)


def _copy_models(source: Path, target: Path) -> None:
    """Whole models only; one that is erased meanwhile is left out."""
    for item in sorted(source.glob("[!.]*")) if source.is_dir() else ():
        with contextlib.suppress(FileNotFoundError, shutil.Error):
            target.mkdir(exist_ok=True)
            shutil.copytree(item, target / item.name, dirs_exist_ok=True) if item.is_dir() else shutil.copy2(
                item, target / item.name
            )


def _draft(folder: Path) -> Path:
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already; a backup is a new folder each time")
    draft = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    return draft


@contextlib.contextmanager
def _cleaned(*drafts: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LogError(f"the backup cannot be written: {error}") from error
    finally:
        for draft in drafts:
            if draft is not None:
                shutil.rmtree(draft, ignore_errors=True)


def _sync(folder: Path | None) -> None:
    if folder is None or not folder.is_dir():
        return
    for path in (folder, *folder.rglob("*")):
        sync(path)
