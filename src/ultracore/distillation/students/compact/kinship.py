"""What an alternative has to do with what was chosen before it, by the records that hold both.

A leg's ends and its day stand in one object; the next leg is in the next one, and begins where the last one ended.
What this file does not know: what is asked for (`arguments`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ultracore.distillation.students.compact.records import Record
from ultracore.distillation.students.compact.transcript import Turn

__all__ = ["KINSHIP", "Kinship"]

KINSHIP = 9
"""Columns of `Kinship.figures`."""

NEWEST = 3
"""So many records of a value are compared with others: a value of every result has hundreds."""


class Kinship:
    """The records of a conversation, asked by the values that they hold.

    Args:
        turns: The conversation.
    """

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns
        self._mates: dict[str, frozenset[str]] = {}
        self._named: dict[str, list[tuple[int, int]]] = {}

    def figures(
        self, keys: Sequence[str | None], chosen: Sequence[str], taken: Sequence[str], *, leads: bool
    ) -> list[float]:
        """Describe alternatives, by their texts (`None` for none of them).

        Args:
            keys: The alternatives.
            chosen: What was chosen so far, the latest last; `taken` are the last of them.
            taken: Values of the list that is being filled, or of the first argument of its elements.
            leads: Whether it is such a list.

        Returns:
            KINSHIP figures for each alternative, one alternative after the other. Of the alternative: whether it stands
            in one record with the latest value, and with how many of all; whether it stands in the record that follows
            the latest value's; whether it was given to the call in whose result that one stands. Of the list: whether
            no record follows. Of the alternative: how many names and values its records have in common with those of
            the latest value, and how many values under other names; before how many of them something untaken stands.
            Of the list: how much of it is left.
        """
        latest = chosen[-1]
        mates = [self.mates(key) for key in chosen]
        beside, asked, many = mates[-1], self._asked_for(latest), len(chosen)
        following = self._following(latest) if taken else frozenset()
        ends, left = bool(taken) and not following, self._left(taken) / 4 if taken else 0.0
        models = [self._record(place) for place in self.named(latest)] if leads else []
        flat: list[float] = []
        for key in keys:
            if key is None:
                flat += (0.0, 0.0, 0.0, 0.0, ends, 0.0, 0.0, 0.0, left)
                continue
            shared = sum([key in mine for mine in mates]) / many
            alike = self._alike(key, latest, models, taken) if leads else (0.0, 0.0, 0.0)
            flat += (key in beside, shared, key in following, key in asked, ends, *alike, left)
        return flat

    def mates(self, key: str) -> frozenset[str]:
        """The values that stand in one record with this one."""
        found = self._mates.get(key)
        if found is None:
            records = [turn.records.all[place].keys for turn in self._turns for place in turn.records.of.get(key, ())]
            found = self._mates[key] = frozenset().union(*records) - {key}
        return found

    def named(self, key: str) -> list[tuple[int, int]]:
        """Turn and place of the newest objects that hold a value."""
        found = self._named.get(key)
        if found is None:
            places = [place for place in self._holding(key) if self._record(place).named]
            found = self._named[key] = places[-NEWEST:]
        return found

    def _holding(self, key: str) -> Iterator[tuple[int, int]]:
        for number, turn in enumerate(self._turns):
            for place in turn.records.of.get(key, ()):
                yield number, place

    def _record(self, at: tuple[int, int]) -> Record:
        return self._turns[at[0]].records.all[at[1]]

    def _following(self, key: str) -> frozenset[str]:
        """What stands in the records that follow those of a value."""
        after = [(n, self._turns[n].records.after.get(place)) for n, place in self._holding(key)]
        return frozenset().union(*[self._record((n, place)).keys for n, place in after if place is not None])

    def _asked_for(self, key: str) -> frozenset[str]:
        """What was given to the calls whose results hold a value."""
        results = [n for n, turn in enumerate(self._turns) if n and turn.role == "tool" and key in turn.records.of]
        asked = [self._turns[n - 1] for n in results if self._turns[n - 1].calls]
        return frozenset().union(*[record.keys for turn in asked for record in turn.records.all])

    def _left(self, taken: Sequence[str]) -> int:
        """How many records of the list in which the first value stands hold none of those taken."""
        lists = [self._turns[n].records.neighbours(place) for n, place in self.named(taken[0])]
        return max([sum(record.keys.isdisjoint(taken) for record in each) for each in lists], default=0)

    def _alike(
        self, key: str, latest: str, models: Sequence[Record], taken: Sequence[str]
    ) -> tuple[float, float, float]:
        same = other = early = 0
        own = self.named(key)
        for number, place in own:
            record = self._record((number, place))
            for model in models:
                both = len(record.named & model.named)
                same, other = max(same, both), max(other, len((record.keys & model.keys) - {key, latest}) - both)
            before = record.follows
            early += before >= 0 and self._record((number, before)).keys.isdisjoint(taken)
        return min(same, 4) / 4, min(other, 4) / 4, early / len(own) if own else 0.0
