"""Open stores come to rest before a fork, and go on after it on both sides.

What this file does not know: which database a store uses.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import NamedTuple, Protocol

# Hooks run in the reverse order of their registration: a writer must rest before the keyring that it waits for.
from ultracore.distillation.events.group_commit import GroupCommit
from ultracore.distillation.events.privacy import keyring as _keyring  # noqa: F401 - registers its hook first

__all__ = ["Releasable", "hold_in_forks", "survive_forks"]


class Releasable(Protocol):
    """A connection that threads share under a lock and that opens itself again."""

    lock: threading.Lock

    def release(self) -> None:
        """Close it for now."""
        ...


class _Pair(NamedTuple):
    writer: GroupCommit
    reader: Releasable


_readers: weakref.WeakKeyDictionary[GroupCommit, weakref.ref[Releasable]] = weakref.WeakKeyDictionary()
_locks: list[threading.Lock] = []
_resting: list[_Pair] = []
"""Stores that wait for a fork to be over; the list keeps them alive meanwhile."""


def survive_forks(writer: GroupCommit, reader: Releasable) -> None:
    """From now on the two sides of a store rest while the process forks, as long as somebody holds them."""
    _readers[writer] = weakref.ref(reader)


def hold_in_forks(lock: threading.Lock) -> None:
    """From now on the process forks only while nobody holds this lock; whoever holds it may use stores."""
    _locks.append(lock)


def _before_fork() -> None:
    for lock in _locks:
        lock.acquire()
    _resting.extend(_Pair(writer, reader) for writer, ref in list(_readers.items()) if (reader := ref()) is not None)
    for writer, reader in _resting:
        writer.before_fork()
        reader.lock.acquire()
        reader.release()


def _after_fork(in_child: bool) -> None:
    for writer, reader in _resting:
        reader.lock.release()
        if in_child:
            writer.after_fork_in_child()
        else:
            writer.after_fork_in_parent()
    _resting.clear()
    for lock in _locks:
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(in_child=False),
        after_in_child=lambda: _after_fork(in_child=True),
    )
