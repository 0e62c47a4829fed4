"""Values that lie about in a conversation, and the objects that they lie in.

What this file does not know: who said what, and which of the values is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

__all__ = ["NOTHING", "Held", "Leaf", "Surroundings", "Thing", "held_in", "surroundings_of"]

REMEMBERED = 8192
"""Surroundings; a large result has some hundred."""


class Thing(NamedTuple):
    """An object of a tool result: what distinguishes it from its neighbours.

    Attributes:
        words: Words of its short strings.
        attributes: `key=value` of its booleans and short names.
        ids: Its identifiers.
    """

    words: frozenset[str] = frozenset()
    attributes: tuple[str, ...] = ()
    ids: frozenset[str] = frozenset()


NOTHING = Thing()


class Leaf(NamedTuple):
    """A value that lies about, and where.

    Attributes:
        path: Where such values come from, such as `result:get_user/orders/[]`.
        value: The scalar.
        thing: The object it belongs to.
        root: The whole result it belongs to.
    """

    path: str
    value: Any
    thing: Thing
    root: Thing


class Surroundings:
    """The objects in which a value lies, as one.

    Args:
        pairs: Each object, and the whole result that it is part of.
    """

    def __init__(self, pairs: tuple[tuple[Thing, Thing], ...]) -> None:
        self.pairs = pairs

    @cached_property
    def words(self) -> frozenset[str]:
        """Words of the objects."""
        return _union([thing.words for thing, _ in self.pairs])

    @cached_property
    def result_words(self) -> frozenset[str]:
        """Words of the whole results."""
        return _union([root.words for _, root in self.pairs])

    @cached_property
    def ids(self) -> frozenset[str]:
        """Identifiers in the objects and in the results."""
        return frozenset().union(*(thing.ids | root.ids for thing, root in self.pairs))

    @cached_property
    def attributes(self) -> frozenset[str]:
        """`key=value` of the objects; those of the whole results are marked."""
        own = {attribute for thing, _ in self.pairs for attribute in thing.attributes}
        whole = {"^" + attribute for _, root in self.pairs for attribute in root.attributes}
        return frozenset(own | whole)


class Held(NamedTuple):
    """A value as one message holds it.

    Attributes:
        key: Its text, see `transcript.key_of`.
        value: The value.
        paths: Where in the message it lies.
        around: The objects that it lies in.
    """

    key: str
    value: Any
    paths: tuple[str, ...]
    around: Surroundings


def held_in(leaves: Mapping[tuple[str, str], Leaf]) -> tuple[Held, ...]:
    """The distinct values of a message, in order of appearance.

    Args:
        leaves: By path and text.
    """
    gathered: dict[str, list[Leaf]] = {}
    for (_, key), leaf in leaves.items():
        gathered.setdefault(key, []).append(leaf)
    return tuple([_held(key, same) for key, same in gathered.items()])


def _held(key: str, same: list[Leaf]) -> Held:
    _, value, thing, root = same[0]
    if all(leaf.thing is thing and leaf.root is root for leaf in same):  # as a rule
        around = _remember(((id(thing), id(root)),), ((thing, root),))
    else:
        around = surroundings_of([(leaf.thing, leaf.root) for leaf in same])
    return Held(key, value, tuple([leaf.path for leaf in same]), around)


def surroundings_of(pairs: Iterable[tuple[Thing, Thing]]) -> Surroundings:
    """The same for the same objects, which it holds: neighbours share theirs, and the next turn has them again."""
    distinct = {(id(thing), id(root)): (thing, root) for thing, root in pairs}
    return _remember(tuple(distinct), tuple(distinct.values()))


def _remember(key: tuple[tuple[int, int], ...], pairs: tuple[tuple[Thing, Thing], ...]) -> Surroundings:
    found = _remembered.get(key)
    if found is None:
        if len(_remembered) >= REMEMBERED:
            _remembered.clear()
        found = _remembered[key] = Surroundings(pairs)
    return found


_remembered: dict[tuple[tuple[int, int], ...], Surroundings] = {}


def _union(sets: list[frozenset[str]]) -> frozenset[str]:
    return sets[0] if len(sets) == 1 else frozenset().union(*sets)
