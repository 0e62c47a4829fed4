"""In which order slots are filled: as the teacher always writes them, whatever order the schema is in.

What is written first says what the rest is about, and each choice is told to the next one. An array is led by an
argument that every element has and in which no two are alike: without it an element cannot be written, and what was
chosen once is not offered again. What this file does not know: how a slot is filled (`filling`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

from ultracore.distillation.students.compact.slots import Slot
from ultracore.distillation.students.compact.transcript import key_of

__all__ = ["Writing", "in_order"]


STEADY = 0.9
"""Share of the calls that must be written in one order: people's labels of SNIPS come as the words did, in any."""

SHARED = 0.01
"""Share of the arrays of several elements in which two may be alike by mistake."""


class Writing:
    """How calls, and the elements of their arrays, were written."""

    def __init__(self) -> None:
        self._written: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._repeated: dict[str, Counter[str]] = defaultdict(Counter)
        self._several: Counter[str] = Counter()
        self._needed: dict[str, set[str]] = defaultdict(set)

    def add(self, owner: str, objects: Sequence[Mapping[str, Any]], needed: Collection[str] | None = None) -> None:
        """Note the arguments of one call, by the tool's name, or the elements of one array, by the slot's key.

        Args:
            owner: Name or key.
            objects: The arguments, or the elements.
            needed: Names that the schema requires of an element; `None` for a call.
        """
        if needed is not None:
            self._needed[owner].update(needed)
        self._several[owner] += len(objects) > 1
        given: set[tuple[str, str]] = set()
        repeated: set[str] = set()
        for values in objects:
            self._written[owner][tuple(values)] += 1
            pairs = {(name, key_of(value)) for name, value in values.items()}
            repeated |= {name for name, _ in pairs & given}
            given |= pairs
        self._repeated[owner].update(repeated)

    def orders(self) -> dict[str, list[str]]:
        """For each tool or array its names as they are mostly written, those that elements of one array share last.

        An array's first is one that every element has, if any. A tool that is written in one order now and in another
        then has none.
        """
        orders = {}
        for owner, written in sorted(self._written.items()):
            order, last = _usual(written), self._shared(owner)
            if last or _is_steady(order, written):
                orders[owner] = self._led(owner, sorted(order, key=last.__contains__))
        return orders

    def _shared(self, owner: str) -> set[str]:
        return {name for name, times in self._repeated[owner].items() if times > SHARED * self._several[owner]}

    def _led(self, owner: str, order: list[str]) -> list[str]:
        if owner not in self._needed:
            return order
        everywhere = self._needed[owner].union(set(order).intersection(*self._written[owner]))
        lead = [name for name in order if name in everywhere][:1]
        return lead + [name for name in order if name not in lead]


def _usual(written: Mapping[tuple[str, ...], int]) -> list[str]:
    """The names by their mean place."""
    places: dict[str, list[int]] = defaultdict(list)
    for names, times in sorted(written.items()):
        for place, name in enumerate(names):
            places[name] += [place] * times
    return sorted(places, key=lambda name: (fmean(places[name]), name))


def _is_steady(order: Sequence[str], written: Counter[tuple[str, ...]]) -> bool:
    place = {name: number for number, name in enumerate(order)}
    same = sum(times for names, times in written.items() if list(names) == sorted(names, key=place.__getitem__))
    return same >= STEADY * written.total()


def in_order(slots: Sequence[Slot], owner: str, orders: Mapping[str, Sequence[str]]) -> tuple[Slot, ...]:
    """Slots, and those of the elements of their arrays, in the order in which they are filled.

    Args:
        slots: In schema order, which those keep that were never written; they come last.
        owner: The tool.
        orders: From `Writing.orders`.
    """
    place = {name: number for number, name in enumerate(orders.get(owner, ()))}
    ordered = sorted(slots, key=lambda slot: place.get(slot.path[0], len(place)))
    return tuple([slot._replace(items=_elements(slot, orders)) if slot.items else slot for slot in ordered])


def _elements(slot: Slot, orders: Mapping[str, Sequence[str]]) -> tuple[Slot, ...]:
    if not orders.get(slot.key):
        return slot.items
    plain = [item._replace(repeats=False) for item in slot.items]
    ordered = in_order(plain, slot.key, orders)
    may_lead = (item for item in ordered if item.required or item.path == (orders[slot.key][0],))
    lead = next(may_lead, ordered[0])
    return (lead._replace(repeats=True), *[item for item in ordered if item is not lead])
