"""The gateway's keys: made here, shown once, known afterwards by their SHA-256 only.

A key is random, 256 bits, so that a fast hash is enough; it names itself, so that exactly one digest is
compared, in constant time, whether or not the name is known. What this file does not know: requests.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from ultracore.distillation.events import Event, EventStore, KeyIssuedEvent, KeyRevokedEvent
from ultracore.distillation.events.facts import utc_now

__all__ = ["KEY_EVENTS", "Key", "KeyRing", "NewKey", "Scope", "issue", "key_ring"]

KEY_EVENTS = (KeyIssuedEvent.event_type, KeyRevokedEvent.event_type)
PREFIX = "dk"


class Scope(StrEnum):
    """What a key may do: ask (`client`), look (`read-only`), or everything (`admin`)."""

    CLIENT = "client"
    READ = "read-only"
    ADMIN = "admin"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key, without its secret.

    Attributes:
        key_id: Its public part.
        tenant: Whose requests are made with it.
        scope: What it may do.
        digest: SHA-256 of the whole key, in hex.
        name: For a person.
        agent_id: The agent of every request made with it; `None` lets the request say.
        requests_per_minute: How many requests it may make; `None` for any number.
        concurrent: How many at once; `None` for any number.
        expires_at: ISO 8601 in UTC; `None` for never.
        revoked: Whether it is no longer accepted.
    """

    key_id: str
    tenant: str
    scope: Scope
    digest: str = ""
    name: str = ""
    agent_id: str | None = None
    requests_per_minute: int | None = None
    concurrent: int | None = None
    expires_at: str | None = None
    revoked: bool = False

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= now


class NewKey(NamedTuple):
    """A key that was just made: the secret, to be shown once, and the event that makes it valid."""

    secret: str
    event: KeyIssuedEvent


def issue(
    name: str,
    scope: Scope = Scope.CLIENT,
    *,
    tenant: str = "default",
    agent_id: str | None = None,
    requests_per_minute: int | None = None,
    concurrent: int | None = None,
    expires_at: datetime | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> NewKey:
    """Make a key; it is valid once the event is in the log.

    Example:
        >>> new = issue("support")
        >>> new.secret in str(new.event)
        False
    """
    key_id = secrets.token_hex(6)
    secret = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    event = KeyIssuedEvent.record(
        key_id=key_id,
        name=name,
        scope=str(scope),
        digest=_digest(secret),
        agent_id=agent_id,
        requests_per_minute=requests_per_minute,
        concurrent=concurrent,
        expires_at=None if expires_at is None else expires_at.isoformat(),
        tenant_id=tenant,
        clock=clock,
    )
    return NewKey(secret, event)


class KeyRing:
    """The keys that the log tells of, and the operator's own from the environment.

    Args:
        own: The operator's key, of scope `admin`; `None` where there is none.
        tenant: Whose requests are made with it.

    Attributes:
        required: Whether a key must be presented: one exists, or existed. Revoking the last one opens nothing.
    """

    def __init__(self, own: str | None = None, tenant: str = "default") -> None:
        self._keys: dict[str, Key] = {}
        self._own = own
        self._own_key = Key(key_id="operator", tenant=tenant, scope=Scope.ADMIN)

    @property
    def required(self) -> bool:  # noqa: D102  see the class
        return self._own is not None or bool(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._keys.values()))

    def apply(self, event: Event) -> None:
        """Take notice of an event."""
        if isinstance(event, KeyIssuedEvent):
            self._keys[event.key_id] = _key_of(event)
        elif isinstance(event, KeyRevokedEvent) and event.key_id in self._keys:
            self._keys[event.key_id] = msgspec.structs.replace(self._keys[event.key_id], revoked=True)

    def find(self, presented: str, now: datetime) -> Key | None:
        """The key that was presented, if it is valid."""
        own = self._own is not None and hmac.compare_digest(presented.encode(), self._own.encode())
        key = self._keys.get(_id_of(presented))
        right = hmac.compare_digest(_digest(presented), _NOBODY if key is None else key.digest)
        if own:
            return self._own_key
        valid = key is not None and right and not key.revoked and not key.expired(now)
        return key if valid else None


def key_ring(store: EventStore) -> KeyRing:
    """The keys in a log."""
    ring = KeyRing()
    for event in store.read(types=KEY_EVENTS):
        ring.apply(event)
    return ring


_NOBODY = "0" * 64


def _key_of(event: KeyIssuedEvent) -> Key:
    return Key(
        key_id=event.key_id,
        tenant=event.metadata.tenant_id,
        scope=Scope(event.scope),
        digest=event.digest,
        name=event.name,
        agent_id=event.agent_id,
        requests_per_minute=event.requests_per_minute,
        concurrent=event.concurrent,
        expires_at=event.expires_at,
    )


def _id_of(presented: str) -> str:
    parts = presented.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX else ""


def _digest(presented: str) -> str:
    return hashlib.sha256(presented.encode()).hexdigest()
