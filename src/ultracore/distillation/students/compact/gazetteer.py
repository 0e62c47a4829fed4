"""Which values were given to which arguments: `Rome` to towns, and never to the name of a song.

What this file does not know: how values were counted (`train.gazetteers`), and where a conversation has them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import lru_cache

import msgspec

__all__ = ["MAX_SHORT", "Gazetteer", "hash_of"]


MAX_SHORT = 200
"""Characters of a value that is worth remembering among many; a file's whole text is a value too."""


def hash_of(key: str) -> str:
    """By which a value is known again. It saves room and hides nothing: short texts can be computed back from it."""
    return _hash(key) if len(key) <= MAX_SHORT else _hash.__wrapped__(key)


@lru_cache(maxsize=65536)
def _hash(key: str) -> str:
    return f"{zlib.crc32(key.encode('utf-8', 'surrogatepass')):08x}"


class Gazetteer(msgspec.Struct, frozen=True):
    """Values that were given.

    Attributes:
        names: Hash of a value's text -> names of the arguments that it was given to.
        akin: Name of an argument -> names of those that take the same values, its own among them.
    """

    names: dict[str, list[str]] = {}
    akin: dict[str, list[str]] = {}

    def takers(self, names: Iterable[str]) -> frozenset[str]:
        """Names of arguments that take the same values as any of these."""
        return frozenset(other for name in names for other in self.akin.get(name, (name,)))

    def kind(self, key: str, takers: frozenset[str]) -> int:
        """1 for a value that was given to one of these arguments, -1 for one that only others got, else 0.

        Example:
            >>> known = Gazetteer({hash_of("Rome"): ["city"]}, {"town": ["city", "town"]})
            >>> [known.kind("Rome", known.takers([name])) for name in ("town", "song")]
            [1, -1]
        """
        given = self.names.get(hash_of(key))
        return 0 if given is None else -1 if takers.isdisjoint(given) else 1
