"""Erases a person, a tenant or old days from the log, and finds the models that learned from them.

Keys are destroyed, nothing in the log is changed, so its hash chain still verifies. An erasure that was
interrupted is finished by the next one. What this file does not know: how events are sealed, and what a
user is asked before.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from ultracore.distillation.errors import DataError
from ultracore.distillation.events import (
    EVENT_TYPES,
    CertificateRevokedEvent,
    DatasetManifestEvent,
    Event,
    EventStore,
    ModelTrainedEvent,
    ProductExportedEvent,
    RetentionAppliedEvent,
    RetrainTriggeredEvent,
    SubjectErasedEvent,
)
from ultracore.distillation.events.block import Row
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.events.privacy.keyring import Scope
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.privacy.sealing import SEALED
from ultracore.distillation.events.privacy.tombstones import Tombstone, append_tombstone, read_tombstones

__all__ = ["Erasable", "Erasure", "Plan", "erase", "erase_again", "plan"]

REASON = "subject_erased"
EXPIRED = "data_expired"
REPORTS = ("report.html", "result.json")
CACHES = ("projections",)
ATTEMPTS = 10
_SEALED = f'"{SEALED}":'.encode()


class Erasable(EventStore, Protocol):
    """A store whose rows can be read as they lie there."""

    protection: Protection

    def rows(self, *, after: int = 0, until: int | None = None) -> Iterator[tuple[int, Row]]:
        """Positions and rows as they are stored."""
        ...


class Erasure(NamedTuple):
    """What is to be forgotten: a person of a tenant; or a tenant's days; or the days before one, of all or one tenant.

    Attributes:
        tenant: Whose data; all tenants' if `None`.
        person: The person's id, or pseudonym.
        before: Only days before this one, such as `2025-10-21`.
        reason: Written into the log.
        until: Only what there was at that time.
    """

    tenant: str | None = None
    person: str | None = None
    before: str | None = None
    reason: str = ""
    until: str | None = None


class Plan(NamedTuple):
    """What an erasure does.

    Attributes:
        erasure: What was asked.
        subject: The person's pseudonym.
        keys: Keys to destroy.
        events: Ids of the events that become empty.
        readable: Events of the person that were stored without encryption, and which no key can erase.
        models: Model id -> tenant, of those that learned from the events.
        files: Files and folders that hold what the models learned, or show it.
        caches: Those that are made again from the log when they are missed.
        copies: Exports of data products with personal columns that are not where they were written, or are
            something else now: nobody here can erase them.
        unfinished: Whether an earlier erasure of the same was interrupted.
    """

    erasure: Erasure
    subject: str | None
    keys: int
    events: frozenset[str]
    readable: int
    models: dict[str, str]
    files: list[Path]
    caches: list[Path]
    unfinished: bool
    copies: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.keys and not self.unfinished


def plan(store: Erasable, home: Path, erasure: Erasure, tombstones: Path) -> Plan:
    """Look what an erasure would do; nothing is changed.

    Args:
        store: The log.
        home: Its folder; models are in it, reports beside it.
        erasure: What to forget.
        tombstones: The file of erasures.

    Raises:
        DataError: Neither person, tenant nor day is given, or a person without a tenant.
    """
    if erasure.person is not None and erasure.tenant is None:
        raise DataError("a person belongs to a tenant: say which")
    if erasure == Erasure(reason=erasure.reason):
        raise DataError("say what to erase: a person, a tenant, or what is older than a day")
    subject = None
    if erasure.person is not None and erasure.tenant is not None:
        subject = store.protection.pseudonym(erasure.tenant, erasure.person)
    keyed = _keyed(store, erasure, subject)
    unfinished = _buried(tombstones, erasure, subject) > _told(store, erasure, subject)
    events, readable = _concerned(store, erasure, subject, None if unfinished else frozenset(keyed))
    models = _learned_from(store, erasure, events)
    files = [path for path in (home / "models" / model for model in models) if path.exists()]
    if files and home.name == ".distill":
        files += [path for path in (home.parent / name for name in REPORTS) if path.exists()]
    here, copies = _exports(store, erasure, events)
    files += here
    caches = [path for path in (home / name for name in CACHES) if path.exists()]
    return Plan(erasure, subject, len(keyed), events, readable, models, files, caches, unfinished, copies)


def erase(store: Erasable, planned: Plan, tombstones: Path, *, keep_files: bool = False) -> list[Event]:
    """Do it.

    Args:
        store: The log.
        planned: What `plan` said.
        tombstones: The file of erasures.
        keep_files: Leave the models' files, and their certificates valid; they still hold what they learned.

    Returns:
        The events that tell of it.

    Raises:
        LogError: A file cannot be written; run it again.
    """
    erasure, subject = planned.erasure, planned.subject
    if not planned.unfinished:
        now = utc_now().isoformat()
        append_tombstone(tombstones, Tombstone(at=now, tenant=erasure.tenant, subject=subject, before=erasure.before))
    return _carry_out(store, planned, keep_files)


def erase_again(store: Erasable, home: Path, tombstones: Path) -> list[Plan]:
    """After a backup was put back: erase again what had been erased since it was made.

    Returns:
        What had come back.
    """
    back = []
    for stone in read_tombstones(tombstones):
        erasure = Erasure(stone.tenant, stone.subject, stone.before, "a backup was restored", stone.at)
        planned = plan(store, home, erasure, tombstones)
        if planned.keys:
            _carry_out(store, planned, keep_files=False)
            back.append(planned)
    return back


def _carry_out(store: Erasable, planned: Plan, keep_files: bool) -> list[Event]:
    erasure = planned.erasure
    store.protection.keyring.destroy(
        tenant=erasure.tenant, name=planned.subject, before_day=erasure.before, created_until=erasure.until
    )
    for path in planned.caches + ([] if keep_files else planned.files):
        _remove(path)
    told = _facts(planned, keep_files)  # last: until it is told, the next erasure finishes this one
    store.append(told)
    return told


def _remove(path: Path) -> None:
    """Also a folder in which files come and go meanwhile, such as those of a gateway's figures."""
    for attempt in range(ATTEMPTS):
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            return
        except OSError:
            if attempt == ATTEMPTS - 1:
                raise


def _keyed(store: Erasable, erasure: Erasure, subject: str | None) -> list[Scope]:
    """What the keys are for that go, one each."""
    if not store.protection.has_keyring:
        return []
    store.protection.persist()
    return [
        scope
        for scope, created in store.protection.keyring.scopes()
        if (erasure.tenant in (None, scope.tenant))
        and (subject in (None, scope.name))
        and (erasure.until is None or created <= erasure.until)
        and (erasure.before is None or (scope.is_day and scope.name < erasure.before))
    ]


def _concerned(
    store: Erasable, erasure: Erasure, subject: str | None, keyed: frozenset[Scope] | None
) -> tuple[frozenset[str], int]:
    """Events that the keys open, or did; and those of the person that lie open.

    `keyed` is `None` where an interrupted erasure may have destroyed the keys already: then all that were meant.
    """
    found, readable = set(), 0
    for row in _rows(store, erasure):
        sealed = _SEALED in row.payload
        if subject is not None:
            if row.subject == subject and sealed:
                found.add(row.event_id)
            readable += not sealed and _names(row, subject, erasure.person)
        elif sealed and (keyed is None or Scope(row.tenant, row.occurred_at[:10]) in keyed):
            found.add(row.event_id)
    return frozenset(found), readable


def _rows(store: Erasable, erasure: Erasure) -> Iterator[Row]:
    """Those with personal fields, of the erasure's tenant, days and time."""
    for _, row in store.rows():
        cls = EVENT_TYPES.get(row.type)
        if (
            cls is not None
            and cls.personal
            and erasure.tenant in (None, row.tenant)
            and (erasure.until is None or row.occurred_at <= erasure.until)
            and (erasure.before is None or row.occurred_at[:10] < erasure.before)
        ):
            yield row


def _names(row: Row, subject: str, person: str | None) -> bool:
    """Whether an event that lies open is about a person."""
    return row.subject == subject or (person is not None and b'"user_id":' + msgspec.json.encode(person) in row.payload)


def _learned_from(store: Erasable, erasure: Erasure, events: frozenset[str]) -> dict[str, str]:
    """Models of any tenant whose data set names one of the events; without a list of it, all of the tenant's own."""
    held: set[str] = set()
    listed: set[str] = set()
    models: dict[str, str] = {}
    if not events:
        return models
    types = [DatasetManifestEvent.event_type, ModelTrainedEvent.event_type]
    for event in store.read(types=types):
        if isinstance(event, DatasetManifestEvent):
            listed.add(event.dataset_id)
            if not events.isdisjoint(event.event_ids):
                held.add(event.dataset_id)
        elif isinstance(event, ModelTrainedEvent):
            is_own = erasure.tenant in (None, event.metadata.tenant_id)
            if event.dataset_id in held or (is_own and event.dataset_id not in listed):
                models[event.model_id] = event.metadata.tenant_id
    return models


def _exports(store: Erasable, erasure: Erasure, events: frozenset[str]) -> tuple[list[Path], list[str]]:
    """Exports that may hold what goes: those that lie where they were written, and those that do not."""
    here: list[Path] = []
    elsewhere: list[str] = []
    if not events:
        return here, elsewhere
    for event in store.read(types=[ProductExportedEvent.event_type], tenant=erasure.tenant):
        if not isinstance(event, ProductExportedEvent) or not event.holds_personal:
            continue
        file = Path(event.file) if event.file else None
        if file is not None and file.is_file() and _sha256(file) == event.sha256:
            here.append(file)
        else:
            name = event.file or "a file whose name was erased"
            elsewhere.append(f"{name}, {event.format} of {event.product_id}, {event.metadata.timestamp[:19]}")
    return list(dict.fromkeys(here)), elsewhere


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _facts(planned: Plan, keep_files: bool) -> list[Event]:
    erasure = planned.erasure
    first = _told_by(erasure, planned.subject, planned.keys, len(planned.events), sorted(planned.models))
    facts: list[Event] = [first]
    reason = REASON if planned.subject is not None else EXPIRED
    for model, tenant in planned.models.items():
        common: dict[str, Any] = {"model_id": model, "tenant_id": tenant, "causation_id": first.metadata.event_id}
        facts.append(RetrainTriggeredEvent.record(reason=reason, **common))
        if not keep_files:
            facts.append(CertificateRevokedEvent.record(reason=reason, **common))
    return facts


def _told_by(erasure: Erasure, subject: str | None, keys: int, events: int | None, models: list[str]) -> Event:
    tenant = erasure.tenant or "*"
    if subject is not None:
        return SubjectErasedEvent.record(
            subject=subject, reason=erasure.reason, events=events, models=models, tenant_id=tenant
        )
    return RetentionAppliedEvent.record(
        before=erasure.before, reason=erasure.reason, keys=keys, events=events, models=models, tenant_id=tenant
    )


def _buried(tombstones: Path, erasure: Erasure, subject: str | None) -> int:
    wanted = (erasure.tenant, subject, erasure.before)
    return sum((stone.tenant, stone.subject, stone.before) == wanted for stone in read_tombstones(tombstones))


def _told(store: Erasable, erasure: Erasure, subject: str | None) -> int:
    types = [SubjectErasedEvent.event_type, RetentionAppliedEvent.event_type]
    told = store.read(types=types, tenant=erasure.tenant or "*")
    if subject is not None:
        return sum(isinstance(event, SubjectErasedEvent) and event.subject == subject for event in told)
    return sum(isinstance(event, RetentionAppliedEvent) and event.before == erasure.before for event in told)
