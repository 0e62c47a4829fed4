"""Values worked out a short while ago, within a number of bytes: what was used least recently goes first.

What this file does not know: what the values are, and how large.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["LruCache"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """A mapping that forgets; any number of threads may use it.

    Args:
        max_bytes: Of all values together, as those who keep them say.

    Example:
        >>> cache = LruCache[str, int](10)
        >>> cache.keep("a", 1, size=6), cache.keep("b", 2, size=6)
        (None, None)
        >>> cache.get("a"), cache.get("b"), cache.size
        (None, 2, 6)
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        return self._size

    def get(self, key: Key) -> Value | None:
        """The value that was kept under a key, if it still is."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def keep(self, key: Key, value: Value, size: int) -> None:
        """Keep a value of so many bytes; one that is larger than the cache is not kept."""
        with self._lock:
            before = self._kept.pop(key, None)
            self._size -= before[1] if before else 0
            if size > self.max_bytes:
                return
            self._kept[key] = value, size
            self._size += size
            while self._size > self.max_bytes:
                _, (_, gone) = self._kept.popitem(last=False)
                self._size -= gone

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._size = 0
