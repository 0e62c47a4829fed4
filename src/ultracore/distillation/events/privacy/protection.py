"""The one way into the log and out of it: redact, then seal; open, or say that it is erased.

Every store calls it where an event becomes a row, so that logger, importer, gateway and agents cannot
pass it by. What this file does not know: rows, blocks, databases.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ultracore.distillation.errors import EventError
from ultracore.distillation.events.base import Event, Metadata
from ultracore.distillation.events.facts import EVENT_TYPES
from ultracore.distillation.events.privacy.keyring import Keyring
from ultracore.distillation.events.privacy.pseudonyms import PREFIX, Pseudonyms
from ultracore.distillation.events.privacy.redaction import Redactor, redactor
from ultracore.distillation.events.privacy.sealing import NONCE_BYTES, SEALED, Parted, Sealer, parted_of
from ultracore.distillation.events.privacy.seen import Seen
from ultracore.distillation.events.privacy.wrapping import master_key
from ultracore.distillation.events.skeleton import Skeleton
from ultracore.distillation.settings import Settings, load_settings

__all__ = ["KEYRING", "Protection", "Revealed", "protection_at"]

KEYRING = "keyring.db"
REDACTED = "$redacted"
MARKED = b'{"$'
COVERED = b"$covered "
NOTHING: Mapping[str, bytes] = MappingProxyType({})
MIN_SUBJECT = 4
"""A shorter id is not looked for within a correlation id: it would be found by chance."""

_PSEUDONYM = re.compile(PREFIX + "[0-9a-f]{32}")


class Revealed(NamedTuple):
    """An event's metadata and its data as JSON, as they were before they were protected."""

    metadata: Metadata
    payload: bytes


class Protection:
    """Protects what goes into a log, reveals what comes out.

    Args:
        keys: Folder of the keyring; nothing is made there until it is needed.
        redact: See `Settings.redact`.
        rules: See `Settings.redact_rules`.
        encrypt: See `Settings.encrypt`; what is sealed already can always be read.
        master: See `Settings.master_key_env`.
    """

    def __init__(
        self,
        keys: Path,
        *,
        redact: str = "secrets",
        rules: dict[str, str] | None = None,
        encrypt: bool = True,
        master: bytes | None = None,
    ) -> None:
        self._file = Path(keys) / KEYRING
        self._redact = redact
        self._rules = rules
        self._encrypt = encrypt
        self._master = master
        self._seen = Seen()
        if redact != "all":
            self.redactor = redactor(redact, rules)  # a wrong rule is told now, not with the first event

    def pseudonym(self, tenant: str, subject: str) -> str:
        """What stands for a person in the log; a pseudonym stands for itself."""
        return subject if _PSEUDONYM.fullmatch(subject) else self.pseudonyms.of_subject(tenant, subject)

    def clean(
        self, event: Event, payload: bytes, parts: Mapping[str, bytes], unchanging: Mapping[str, bytes] = NOTHING
    ) -> tuple[Event, dict[str, int]]:
        """The event without what the rules find, and how often each found something.

        Args:
            event: The event.
            payload: Its data as JSON.
            parts: The rest of its data, by hash.
            unchanging: What of the payload may have been searched before, by hash.
        """
        if not self.redactor.has_rules:
            return event, {}
        new = self._seen.unseen(payload, parts.items(), unchanging.items())
        suspects = self.redactor.suspects(new.text)
        if not suspects:
            self._seen.add(new.digests)
            return event, {}
        data = {name: getattr(event, name) for name in event.__struct_fields__ if name != "metadata"}
        found = self.redactor.redact(data, suspects)
        if not found.counts:
            self._seen.add(new.digests)
            return event, {}
        numbers = {
            name: value for name, value in data.items() if isinstance(value, int)
        }  # a field of its own stays one
        return type(event)(metadata=event.metadata, **{**found.data, **numbers}), found.counts

    def protect(self, event: Event, payload: bytes, counts: dict[str, int]) -> Revealed:
        """Metadata and payload as they are stored: the person is a pseudonym, the personal fields are sealed.

        Args:
            event: As `clean` gave it.
            payload: Its data as JSON.
            counts: As `clean` gave them.

        Raises:
            EventError: Its timestamp or its ids cannot be stored.
        """
        metadata = self._stored(event)
        if self._encrypt and event.personal:
            payload = self.sealer.seal(metadata, event.personal, payload, metadata.subject)
        return Revealed(metadata, _with_counts(payload, counts) if counts else payload)

    def parted(self, event: Event, payload: bytes) -> Parted:
        """A payload taken apart into what stays readable and what is to be sealed, for `protect_parted`.

        Args:
            event: As `clean` gave it.
            payload: Its data as JSON.
        """
        return parted_of(payload, event.personal if self._encrypt else ())

    def protect_parted(self, event: Event, parted: Parted, rest: Skeleton, fields: dict[str, bytes]) -> Revealed:
        """`protect` for one of several events whose payloads differ in `fields` only.

        Args:
            event: The event.
            parted: What their payloads have in common.
            rest: `parted.rest` of the names of `fields`.
            fields: JSON of its own ones, which stay readable; is added to.
        """
        metadata = self._stored(event)
        if parted.hidden:
            fields[SEALED] = self.sealer.sealed(metadata, parted, metadata.subject)
        return Revealed(metadata, rest.filled(fields))

    def _stored(self, event: Event) -> Metadata:
        """The metadata with a pseudonym for the person."""
        metadata = event.metadata
        subject = metadata.subject or getattr(event, "user_id", None)
        if subject is None:
            return metadata
        return _renamed(metadata, subject, self.pseudonym(metadata.tenant_id, subject))

    def reveal(self, metadata: Metadata, payload: bytes) -> Revealed:
        """The reverse of `protect`; personal fields whose key was destroyed are left out.

        Raises:
            EventError: What was sealed was altered.
            LogError: The keyring cannot be read.
        """
        if not payload.startswith(MARKED):
            return Revealed(metadata, payload)
        try:
            counts, payload = _without_counts(payload)
            erased = False
            if payload.startswith(MARKED):
                payload, erased = self.sealer.open(metadata, payload)
        except (msgspec.MsgspecError, ValueError, KeyError) as error:
            raise EventError(f"event {metadata.event_id}: what was sealed in it is damaged: {error}") from None
        if erased:
            payload = _completed(metadata.event_type, payload)
        return Revealed(msgspec.structs.replace(metadata, erased=erased, redacted=counts), payload)

    def cover(self, text: bytes) -> bytes:
        """A line for a file that waits beside the log: sealed whole, in one line of base64, if anything is sealed."""
        if not self._encrypt:
            return text
        nonce = os.urandom(NONCE_BYTES)
        return COVERED + base64.b64encode(nonce + self._cover.encrypt(nonce, text, COVERED))

    def uncover(self, line: bytes) -> bytes:
        """The reverse of `cover`.

        Raises:
            EventError: The line was altered, or another log's keyring sealed it.
        """
        if not line.startswith(COVERED):
            return line
        try:
            sealed = base64.b64decode(line.removeprefix(COVERED), validate=True)
            return self._cover.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], COVERED)
        except (ValueError, InvalidTag):
            raise EventError("a line that waited for the log was altered, or another keyring sealed it") from None

    @property
    def fingerprint(self) -> str | None:
        """Which keyring it is, telling nothing of its keys; `None` where nothing is sealed and there is none."""
        if not self._encrypt and not self.has_keyring:
            return None
        return hmac.digest(self.keyring.secret, b"distill-fingerprint-1", "sha256").hex()

    def persist(self) -> None:
        """Make the keys of what was protected durable; before the log's own commit.

        Raises:
            LogError: They cannot be written; then neither may the log be.
        """
        if "keyring" in self.__dict__:
            self.keyring.persist()

    @property
    def has_keyring(self) -> bool:
        """Whether there is a keyring, so that `keyring` makes no file."""
        return "keyring" in self.__dict__ or self._file.exists()

    @cached_property
    def keyring(self) -> Keyring:
        """The keys, in a file that is made where it is missing."""
        return Keyring(self._file, self._master)

    @cached_property
    def pseudonyms(self) -> Pseudonyms:
        """Under the keyring's secret."""
        return Pseudonyms(self.keyring.secret)

    @cached_property
    def sealer(self) -> Sealer:
        """Seals with the keyring's keys."""
        return Sealer(self.keyring)

    @cached_property
    def _cover(self) -> AESGCM:
        return AESGCM(hmac.digest(self.keyring.secret, b"distill-cover-1", "sha256"))

    @cached_property
    def redactor(self) -> Redactor:
        """As the settings want it."""
        return redactor(self._redact, self._rules, self.pseudonyms)


def protection_at(home: Path, settings: Settings | None = None) -> Protection:
    """The protection of the log in a home folder, as the settings want it.

    Raises:
        ConfigurationError: A redaction rule or the master key cannot be used.
    """
    chosen = load_settings() if settings is None else settings
    return Protection(
        Path(home) / "keys" if chosen.keys is None else Path(chosen.keys).expanduser(),
        redact=chosen.redact,
        rules=chosen.redact_rules,
        encrypt=chosen.encrypt,
        master=master_key(chosen.master_key_env, os.environ),
    )


def _renamed(metadata: Metadata, subject: str, name: str) -> Metadata:
    """The pseudonym instead of the person, also in a correlation id that was made of the person's."""
    correlation = metadata.correlation_id
    if correlation and len(subject) >= MIN_SUBJECT:
        correlation = correlation.replace(subject, name)
    return msgspec.structs.replace(metadata, subject=name, correlation_id=correlation)


_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _with_counts(payload: bytes, counts: dict[str, int]) -> bytes:
    return msgspec.json.encode({REDACTED: counts, **_raw.decode(payload)}, order="deterministic")


def _without_counts(payload: bytes) -> tuple[dict[str, int], bytes]:
    fields = _raw.decode(payload)
    counts = fields.pop(REDACTED, None)
    if counts is None:
        return {}, payload
    return msgspec.json.decode(counts, type=dict[str, int]), msgspec.json.encode(fields)


def _completed(event_type: str, payload: bytes) -> bytes:
    """With empty text where a field must have some that is erased."""
    cls = EVENT_TYPES.get(event_type)
    if cls is None:
        return payload
    needed = {field.name for field in msgspec.structs.fields(cls) if field.required} & set(cls.personal)
    fields: dict[str, Any] = _raw.decode(payload)
    missing = {name: "" for name in needed if name not in fields}
    return msgspec.json.encode({**missing, **fields}) if missing else payload
