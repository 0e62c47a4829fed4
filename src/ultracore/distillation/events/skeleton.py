"""JSON objects that differ in a few fields: what is the same in all of them is encoded, and sorted, once.

What this file does not know: what the fields mean.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain
from typing import Any

import msgspec

__all__ = ["Skeleton"]

_encode = msgspec.json.Encoder(order="deterministic").encode


class Skeleton:
    """An object without some of its values; its fields are in the order of their names.

    Args:
        same: Fields that are the same each time.
        varying: Names of the others.

    Example:
        >>> Skeleton({"b": 2}, ["a", "c"]).filled({"a": b"1", "c": b"[]"})
        b'{"a":1,"b":2,"c":[]}'
    """

    def __init__(self, same: Mapping[str, Any], varying: Collection[str]) -> None:
        self._varying: list[str] = []
        self._before: list[bytes] = []  # each of them
        text, comma = b"{", b""
        for name in sorted({*same, *varying}):
            text += comma + _encode(name) + b":"
            comma = b","
            if name in varying:
                self._varying.append(name)
                self._before.append(text)
                text = b""
            else:
                text += _encode(same[name])
        self._end = text + b"}"

    def filled(self, values: Mapping[str, bytes]) -> bytes:
        """The object.

        Args:
            values: JSON of each field that varies.
        """
        pairs = zip(self._before, [values[name] for name in self._varying], strict=True)
        return b"".join((*chain.from_iterable(pairs), self._end))
