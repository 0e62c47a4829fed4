"""In which order slots are filled: as the teacher always writes them, whatever order the schema is in.

What is written first says what the rest is about, and each choice is told to the next one. An array is led by an
argument in which no two of its elements are alike: what was chosen once is not offered again. What this file does not
know: how a slot is filled (`filling`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ultracore.distillation.students.compact.slots import Slot
from ultracore.distillation.students.compact.transcript import key_of

__all__ = ["Writing", "in_order"]


STEADY = 0.9
"""Share of the calls that must be written in one order: people's labels of SNIPS come as the words did, in any."""


class Writing:
    """How calls, and the elements of their arrays, were written."""

    def __init__(self) -> None:
        self._written: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._repeated: dict[str, set[str]] = defaultdict(set)

    def add(self, owner: str, objects: Sequence[Mapping[str, Any]]) -> None:
        """Note the arguments of one call, by the tool's name, or the elements of one array, by the slot's key."""
        given: set[tuple[str, str]] = set()
        for values in objects:
            self._written[owner][tuple(values)] += 1
            pairs = {(name, key_of(value)) for name, value in values.items()}
            self._repeated[owner] |= {name for name, _ in pairs & given}
            given |= pairs

    def orders(self) -> dict[str, list[str]]:
        """For each tool or array its names as they are mostly written, those that elements of one array share last.

        A tool that is written in one order now and in another then has none.
        """
        found = {owner: _usual(written) for owner, written in sorted(self._written.items())}
        last = self._repeated
        steady = {
            owner: order for owner, order in found.items() if last[owner] or _is_steady(order, self._written[owner])
        }
        return {owner: sorted(order, key=last[owner].__contains__) for owner, order in steady.items()}


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
    return tuple([slot._replace(items=_elements(slot, orders)) if slot.key in orders else slot for slot in ordered])


def _elements(slot: Slot, orders: Mapping[str, Sequence[str]]) -> tuple[Slot, ...]:
    plain = [item._replace(repeats=False) for item in slot.items]
    first, *others = in_order(plain, slot.key, orders)
    return (first._replace(repeats=True), *others)
