"""The keys of the personal data in a log, in a small file of their own: destroying one erases all that it sealed.

There is a key for each person and one for each day of a tenant; what belongs to a person needs both, so
that forgetting a person, a day or a tenant is a matter of deleting rows. A key that is new waits in
memory until `persist`, which comes before the log's own commit. What this file does not know: events.
"""

from __future__ import annotations

import os
import secrets
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from ultracore.distillation.events.base import utc_now
from ultracore.distillation.events.privacy.key_file import KeyFile, scrub
from ultracore.distillation.events.privacy.wrapping import KEY_BYTES, Wrapping

__all__ = ["Key", "Keyring", "Scope"]

ID_BYTES = 8
REFRESH_SECONDS = 0.05
"""How long a key may be used here after another process has destroyed it."""

KEYS_IN_MEMORY = 100_000
UNKNOWN = -1


class Scope(NamedTuple):
    """What a key is for.

    Attributes:
        tenant: Whose data it is.
        name: A person's pseudonym, or a day such as `2026-11-25`.
    """

    tenant: str
    name: str

    @property
    def is_day(self) -> bool:
        """Whether it is a day's, not a person's."""
        return self.name[:1].isdigit()


class Key(NamedTuple):
    """A key and its name."""

    id: bytes
    secret: bytes


class _New(NamedTuple):
    """A key that is not in the file yet."""

    key: Key
    scope: Scope
    created: str


class Keyring:
    """Keeps keys in the SQLite file `path`, which only its owner may read.

    Args:
        path: The file; made where it is missing, with its folder.
        master: Key from outside under which all others are wrapped; they lie open in the file without one.

    Raises:
        LogError: The file cannot be opened, or `master` is not the one that it was wrapped under.

    Example:
        >>> import tempfile
        >>> ring = Keyring(Path(tempfile.mkdtemp()) / "keyring.db")
        >>> key = ring.key_for(Scope("default", "2026-11-25"))
        >>> ring.persist()
        >>> ring.find(key.id) == key, ring.destroy(tenant="default"), ring.find(key.id)
        (True, 1, None)
    """

    def __init__(self, path: Path, master: bytes | None = None) -> None:
        self.path = Path(path)
        self._reading = KeyFile(self.path)
        self._writing = KeyFile(self.path)
        self._current: dict[Scope, Key] = {}
        self._by_id: dict[bytes, Key] = {}
        self._pending: dict[bytes, _New] = {}
        self._version = (UNKNOWN, UNKNOWN)
        self._looked_at = 0.0
        with self._writing.use() as connection:
            self._wrapping = Wrapping(self.path, master, bool(_meta(connection, "wrapped")))
            self.secret = self._establish(connection)
        _rings.add(self)

    def key_for(self, scope: Scope) -> Key:
        """The key to seal with: the one in use, or a new one."""
        self.refresh()
        key = self._current.get(scope)
        return key if key is not None else self._found_or_new(scope)

    def find(self, key_id: bytes) -> Key | None:
        """The key of that name; `None` if it was destroyed."""
        self.refresh()
        key = self._by_id.get(key_id)
        if key is not None:
            return key
        with self._reading.use() as connection:
            row: Any = connection.execute("SELECT tenant, scope, key FROM keys WHERE id = ?", (key_id,)).fetchone()
            return self._remember(Key(key_id, self._unwrap(key_id, Scope(*row[:2]), row[2]))) if row else None

    def persist(self) -> None:
        """Write the new keys and sync them; they are lost with the process before that.

        Raises:
            LogError: They cannot be written; they wait for the next attempt.
        """
        self.refresh(now=True)
        if not self._pending:
            return
        with self._reading.lock:
            waiting = list(self._pending.values())
        with self._writing.use() as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?, ?, ?, ?)", map(self._row, waiting))
        with self._reading.lock:
            for new in waiting:
                del self._pending[new.key.id]

    def destroy(
        self,
        *,
        tenant: str | None = None,
        name: str | None = None,
        before_day: str | None = None,
        created_until: str | None = None,
    ) -> int:
        """Destroy keys for good, and every trace of them in the file.

        Args:
            tenant: Only this tenant's.
            name: Only those of this person or day.
            before_day: Only those of days before this one.
            created_until: Only those created at that time or earlier.

        Returns:
            How many there were.

        Raises:
            LogError: Another process keeps the file locked; nothing is promised, try again.
        """
        self.persist()
        where, values = _conditions(tenant, name, before_day, created_until)
        with self._writing.use() as connection:
            with connection:
                connection.execute(f"DELETE FROM keys{where}", values)  # noqa: S608 - values are bound
                count = connection.changes()
                connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'destructions'")
            scrub(connection, self.path)
        self.refresh(now=True)
        return count

    def scopes(self) -> Iterator[tuple[Scope, str]]:
        """What there are keys for, and when each was made."""
        with self._reading.use() as connection:
            rows: list[Any] = connection.execute("SELECT tenant, scope, created FROM keys ORDER BY created").fetchall()
        return ((Scope(tenant, name), created) for tenant, name, created in rows)

    def copy_to(self, path: Path) -> None:
        """A copy of the file as it is, consistent; for backups."""
        self.persist()
        with self._writing.use() as connection:
            path.unlink(missing_ok=True)
            connection.execute("VACUUM INTO ?", (str(path),))
        path.chmod(0o600)

    def refresh(self, *, now: bool = False) -> None:
        """Notice what was destroyed, by whichever process."""
        moment = time.monotonic()
        if not now and moment - self._looked_at < REFRESH_SECONDS:
            return
        with self._reading.use() as connection:
            self._looked_at = moment
            changes, destructions = self._version
            if (seen := connection.pragma("data_version")) == changes:
                return
            self._version = (seen, int(_meta(connection, "destructions") or 0))
            if self._version[1] != destructions:
                self._forget()

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        for file in (self._reading, self._writing):
            with file.lock:
                file.close()
        self._version = (UNKNOWN, self._version[1])

    def _found_or_new(self, scope: Scope) -> Key:
        with self._reading.use() as connection:
            if scope in self._current:
                return self._current[scope]
            row = connection.execute(
                "SELECT id, key FROM keys WHERE tenant = ? AND scope = ? ORDER BY created DESC LIMIT 1", scope
            ).fetchone()
            if row is None:
                key = Key(secrets.token_bytes(ID_BYTES), secrets.token_bytes(KEY_BYTES))
                self._pending[key.id] = _New(key, scope, utc_now().isoformat())
            else:
                key = Key(row[0], self._unwrap(row[0], scope, row[1]))
            self._current[scope] = self._remember(key)
            return key

    def _row(self, new: _New) -> tuple[bytes, str, str, str, bytes]:
        key, scope, created = new
        return (key.id, *scope, created, self._wrapping.wrap(key.secret, _about(key.id, scope)))

    def _remember(self, key: Key) -> Key:
        if len(self._by_id) >= KEYS_IN_MEMORY:
            self._forget()
        self._by_id[key.id] = key
        return key

    def _forget(self) -> None:
        """Drop what the file may not have any more; new keys stay."""
        self._by_id = {new.key.id: new.key for new in self._pending.values()}
        self._current = {new.scope: new.key for new in self._pending.values()}

    def _unwrap(self, key_id: bytes, scope: Scope, wrapped: bytes) -> bytes:
        return self._wrapping.unwrap(wrapped, _about(key_id, scope))

    def _establish(self, connection: apsw.Connection) -> bytes:
        """The secret of the pseudonyms, made where it is missing; wraps an open file where there is a master key."""
        with connection:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('destructions', 0)")
            stored = _meta(connection, "secret") or b""
            if not stored:
                secret = secrets.token_bytes(KEY_BYTES)
                _set(connection, "secret", self._wrapping.wrap(secret, b"secret"))
                _set(connection, "wrapped", b"1" if self._wrapping.is_on else b"")
                return secret
        if self._wrapping.is_on and not _meta(connection, "wrapped"):
            self._wrap_all(connection, stored)
            return stored
        return self._wrapping.unwrap(stored, b"secret")

    def _wrap_all(self, connection: apsw.Connection, secret: bytes) -> None:
        with connection:
            _set(connection, "secret", self._wrapping.wrap(secret, b"secret"))
            _set(connection, "wrapped", b"1")
            rows: list[Any] = connection.execute("SELECT id, tenant, scope, key FROM keys").fetchall()
            for key_id, tenant, scope, key in rows:
                wrapped = self._wrapping.wrap(key, _about(key_id, Scope(tenant, scope)))
                connection.execute("UPDATE keys SET key = ? WHERE id = ?", (wrapped, key_id))
        scrub(connection, self.path)


def _conditions(
    tenant: str | None, name: str | None, before_day: str | None, created_until: str | None
) -> tuple[str, tuple[str, ...]]:
    chosen = [
        (condition, value)
        for condition, value in (
            ("tenant = ?", tenant),
            ("scope = ?", name),
            ("scope GLOB '[0-9]*' AND scope < ?", before_day),
            ("created <= ?", created_until),
        )
        if value is not None
    ]
    where = " WHERE " + " AND ".join(condition for condition, _ in chosen) if chosen else ""
    return where, tuple(value for _, value in chosen)


def _about(key_id: bytes, scope: Scope) -> bytes:
    return b"\0".join((key_id, scope.tenant.encode(), scope.name.encode()))


def _meta(connection: apsw.Connection, name: str) -> bytes | None:
    found: bytes | None = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).get
    return found


def _set(connection: apsw.Connection, name: str, value: bytes) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


_rings: weakref.WeakSet[Keyring] = weakref.WeakSet()
_resting: list[KeyFile] = []


def _before_fork() -> None:
    """SQLite forbids carrying an open database across a fork; no lock may stay with a thread that is not there."""
    for ring in list(_rings):
        for file in (ring._reading, ring._writing):
            file.lock.acquire()
            file.close()
            _resting.append(file)
        ring._version = (UNKNOWN, ring._version[1])


def _after_fork() -> None:
    for file in _resting:
        file.lock.release()
    _resting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
