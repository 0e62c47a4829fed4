"""What training has counted about arguments: where their values come from, how they look, which recur.

Plain counts, kept as JSON. What this file does not know: how the counts are weighed (`arguments`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from ultracore.distillation.decisions import Decision
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.matching import name_words
from ultracore.distillation.students.compact.order import Writing, in_order
from ultracore.distillation.students.compact.per_tool import REMEMBERED, PerTool
from ultracore.distillation.students.compact.relatives import (
    LEAST_OF_SLOTS,
    LEAST_OF_TOOLS,
    About,
    Relative,
    Relatives,
    about,
    about_tool,
)
from ultracore.distillation.students.compact.slots import ABSENT, Slot, slots_of, value_at
from ultracore.distillation.students.compact.text import shape_of
from ultracore.distillation.students.compact.transcript import key_of
from ultracore.distillation.tools import Tool

__all__ = ["Knowledge", "SlotKnowledge", "gold_values", "infer_schemas", "likewise"]

MAX_CONSTANTS = 64
OTHER_TOOL = 0.3
"""What a relative is worth whose tool's name has no word in common, against one whose tool has the same."""

MAX_AFFIX = 6
"""Characters that a prefix and a suffix may have together."""


class SlotKnowledge(msgspec.Struct):
    """Counts for one slot.

    Attributes:
        calls: Calls of its tool with known arguments.
        present: Those that gave a value.
        values: Values given (a list gives several).
        gold: path -> decisions in which a given value came from there.
        seen: path -> decisions in which values lay there; of the paths in `gold`.
        constants: Text of a value -> (value, times given, distinct tasks).
        shapes: Shape of writing -> times given.
        attributes: `key=value` of the value's object -> times given.
        affixes: "prefix<tab>shape<tab>suffix" -> times that a value was a candidate of that shape with them.
    """

    calls: int = 0
    present: int = 0
    values: int = 0
    gold: dict[str, int] = {}
    seen: dict[str, int] = {}
    constants: dict[str, tuple[Any, int, int]] = {}
    shapes: dict[str, int] = {}
    attributes: dict[str, int] = {}
    affixes: dict[str, int] = {}

    @property
    def presence(self) -> float:
        """Smoothed share of the calls that gave a value."""
        return (self.present + 0.5) / (self.calls + 1.0)

    def priors(self) -> dict[str, float]:
        """For each path ever used, the shrunk probability that a value lying there is the one."""
        return {path: gold / (self.seen.get(path, gold) + 2.0) for path, gold in self.gold.items()}


class Knowledge(msgspec.Struct, weakref=True):
    """Counts for every slot.

    Attributes:
        slots: Slot key -> counts.
        schemas: Schemas inferred for tools that were logged without one.
        free_text: Slot keys whose values are prose; no candidate can fill them.
        together: Whether the teacher was seen to make several calls in one message.
        alone: Tools that were called often, and never followed by another call in the same message.
        pooled: What is known of slots of one name (`name:...`), and of one type (`type:...`), of all tools together.
        about: Slot key -> what its name and description say, see `relatives`.
        tools: Tool called in training -> likewise.
        orders: Tool called in training, or array slot -> the order of its arguments, see `order`.
        owners: Slot key -> its `Slot.tool`, which may hold slashes like the rest of the key.
    """

    slots: dict[str, SlotKnowledge] = {}
    schemas: dict[str, dict[str, Any]] = {}
    free_text: list[str] = []
    together: bool = False
    alone: list[str] = []
    pooled: dict[str, SlotKnowledge] = {}
    about: dict[str, About] = {}
    tools: dict[str, About] = {}
    orders: dict[str, list[str]] = {}
    owners: dict[str, str] = {}

    def may_go_on(self, tool: str) -> bool:
        """Whether a call of this tool may be followed by another one in the same message."""
        return self.together and tool not in self.alone

    def of(self, slot: Slot) -> SlotKnowledge:
        """The counts of a slot; if it was never seen, those of its relatives, of its name, or of its type, together."""
        if slot.key in self.slots:
            return self.slots[slot.key]
        if relatives := self.relatives(slot):
            return _borrowed(slot, [self.slots[relative.key] for relative in relatives])
        return next((self.pooled[key] for key in _keys(slot) if key in self.pooled), SlotKnowledge())

    def owner(self, key: str) -> str:
        """What a known slot is of; of a model from before that was kept, what stands before the first slash."""
        return self.owners.get(key) or key.partition("/")[0]

    def relatives(self, slot: Slot) -> list[Relative]:
        """Slots that were seen and that mean what this one means, nearest first; itself, if it was seen."""
        if slot.key in self.slots:
            return [Relative(slot.key, 1.0)]
        return _Kin.of(self).of_slot(slot)

    def relatives_of(self, tool: Tool) -> list[Relative]:
        """Tools that were called in training and that do what this one does, nearest first."""
        return _Kin.of(self).of_tool(tool)

    def rarity(self, word: str) -> float:
        """How seldom a word stands in the names and descriptions of known slots (0..1)."""
        return _Kin.of(self).slots.rarity(word)

    def strangeness(self, slot: Slot) -> float:
        """0 for a slot that was seen, less than 1 for a relative of one; 1 where its name was, 2 its type, else 3."""
        if slot.key in self.slots:
            return 0.0
        if relatives := self.relatives(slot):
            return 1.0 - 0.5 * relatives[0].likeness
        return next((level for level, key in enumerate(_keys(slot), start=1) if key in self.pooled), 3.0)

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def slots_of(self, tool: Tool) -> tuple[Slot, ...]:
        """The slots of a tool, by its schema or by the one inferred for it, in the order in which they are filled."""
        if tool.name in self.schemas and not tool.parameters.get("properties"):
            tool = Tool(tool.name, parameters=self.schemas[tool.name])
        plain, mine = slots_of(tool), _ordered.setdefault(self, {})
        found = mine.get(id(plain))
        if found is None:
            if len(mine) >= REMEMBERED:
                mine.clear()
            ordered = in_order(plain, tool.name, self.orders)
            found = mine[id(plain)] = plain, ordered  # holds the slots: their identity stays
        return found[1]

    @classmethod
    def count(
        cls,
        decisions: Sequence[Decision],
        candidates: Sequence[Candidates],
        schemas: dict[str, dict[str, Any]],
        free_text: Iterable[tuple[str, str]],
    ) -> Knowledge:
        """Count over decisions whose arguments are known."""
        knowledge = cls({}, schemas, sorted("/".join(pair) for pair in free_text))
        tasks: dict[tuple[str, str], set[str]] = defaultdict(set)
        slots: dict[str, Slot] = {}
        writing = Writing()
        for decision, pool in zip(decisions, candidates, strict=True):
            tools = {tool.name: tool for tool in decision.state.tools}
            for call in decision.calls[:1]:
                if call.arguments is None or call.name not in tools:
                    continue
                knowledge.tools.setdefault(call.name, about_tool(tools[call.name]))
                writing.add(call.name, [call.arguments])
                for slot in knowledge.slots_of(tools[call.name]):
                    if slot.kind == "objects":
                        needed = [part.name for part in slot.items if part.required and len(part.path) == 1]
                        writing.add(slot.key, gold_values(slot, call.arguments), needed)
                    for part, values in _parts(slot, call.arguments):
                        slots[part.key] = part
                        _count_slot(knowledge.slots.setdefault(part.key, SlotKnowledge()), part, values, pool)
                        for value in values:
                            tasks[part.key, key_of(value)].add(decision.task)
        for key, counts in knowledge.slots.items():
            _settle(counts, {text: len(tasks[key, text]) for text in counts.constants})
        knowledge.orders = writing.orders()
        _ordered.pop(knowledge, None)  # it was asked for slots before it knew the order
        knowledge.pooled = _pool(knowledge.slots, slots)
        knowledge.about = {key: about(slot) for key, slot in sorted(slots.items())}
        knowledge.owners = {key: slot.tool for key, slot in sorted(slots.items())}
        return knowledge


def _keys(slot: Slot) -> tuple[str, str]:
    declared = slot.schema.get("type")
    return f"name:{slot.name.lower()}", f"type:{slot.kind}:{declared if isinstance(declared, str) else ''}"


def _pool(counts: dict[str, SlotKnowledge], slots: Mapping[str, Slot]) -> dict[str, SlotKnowledge]:
    """Counts of slots of one name, and of one type, added up; constants belong to a name, not to a type."""
    groups: dict[str, list[SlotKnowledge]] = defaultdict(list)
    for key, slot in sorted(slots.items()):
        for group in _keys(slot):
            groups[group].append(counts[key])
    pooled = {group: _together(members) for group, members in groups.items()}
    for group, sums in pooled.items():
        if group.startswith("type:"):
            sums.constants = {}
    return pooled


def _borrowed(slot: Slot, members: Sequence[SlotKnowledge]) -> SlotKnowledge:
    """What a slot never seen has of others; those that are always given say not how often it is left out."""
    counts = _together(members)
    if not slot.required:
        free = [own for own in members if own.present < own.calls]
        counts.calls, counts.present = sum(own.calls for own in free), sum(own.present for own in free)
    return counts


def _together(members: Sequence[SlotKnowledge]) -> SlotKnowledge:
    """Counts added up."""
    into = SlotKnowledge()
    for own in members:
        into.calls, into.present = into.calls + own.calls, into.present + own.present
        into.values += own.values
        for field in ("gold", "seen", "shapes"):
            totals = getattr(into, field)
            for text, n in getattr(own, field).items():
                totals[text] = totals.get(text, 0) + n
        for text, (value, times, tasks) in own.constants.items():
            _, before, in_tasks = into.constants.get(text, (value, 0, 0))
            into.constants[text] = (value, before + times, in_tasks + tasks)
    into.constants = _commonest(into.constants)
    return into


class _Kin:
    """The relatives of whatever is new, searched for once."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.slots = Relatives(knowledge.about, LEAST_OF_SLOTS)
        self.tools = Relatives(knowledge.tools, LEAST_OF_TOOLS)
        self._owners = {key: _named(knowledge.owner(key)) for key in knowledge.about}
        self.of_tool = PerTool(lambda tool: self.tools.near(about_tool(tool)))
        self._found: dict[int, tuple[Slot, list[Relative]]] = {}

    @classmethod
    def of(cls, knowledge: Knowledge) -> _Kin:
        """That of this knowledge, made once."""
        if knowledge not in _kin:
            _kin[knowledge] = cls(knowledge)
        return _kin[knowledge]

    def of_slot(self, slot: Slot) -> list[Relative]:
        """Slots that are like this one."""
        found = self._found.get(id(slot))
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            mine = _named(slot.tool)
            near = self.slots.near(about(slot), lambda key: self._fit(mine, key))
            found = self._found[id(slot)] = slot, near  # holds the slot: its identity stays
        return found[1]

    def _fit(self, words: frozenset[str], key: str) -> float:
        """How well a slot's tool does for one named like this: what is searched by is not what is booked by."""
        other = self._owners[key]
        shared, every = (sum(sorted(map(self.tools.rarity, some))) for some in (words & other, words | other))
        return OTHER_TOOL + (1.0 - OTHER_TOOL) * (shared / every if every else 0.0)


def _named(tool: str) -> frozenset[str]:
    return frozenset(word for word in name_words(tool) if not word.isdigit())


_ordered: WeakKeyDictionary[Knowledge, dict[int, tuple[tuple[Slot, ...], tuple[Slot, ...]]]] = WeakKeyDictionary()
_kin: WeakKeyDictionary[Knowledge, _Kin] = WeakKeyDictionary()


def _parts(slot: Slot, arguments: dict[str, Any]) -> Iterator[tuple[Slot, list[Any]]]:
    """A slot with its values; for an array of objects, also each element's slots with theirs."""
    values = gold_values(slot, arguments)
    yield slot, values
    for element in values if slot.kind == "objects" else []:
        for part in slot.items:
            yield part, gold_values(part, element)


def gold_values(slot: Slot, arguments: dict[str, Any]) -> list[Any]:
    """The values that a call gave a slot, in order; none where it was left out."""
    value = value_at(arguments, slot.path)
    if value is ABSENT or value is None:
        return []
    if slot.kind == "list":
        return [item for item in value if not isinstance(item, dict | list)] if isinstance(value, list) else []
    if slot.kind == "objects":
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return [value]


def infer_schemas(decisions: Sequence[Decision]) -> dict[str, dict[str, Any]]:
    """A schema for each tool that was offered without one, from the arguments that were given."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    calls: Counter[str] = Counter()
    lists: set[tuple[str, str]] = set()
    for decision in decisions:
        bare = {tool.name for tool in decision.state.tools if not tool.properties}
        for call in decision.calls:
            if call.name in bare and call.arguments:
                calls[call.name] += 1
                seen[call.name].update(call.arguments.keys())
                lists |= {(call.name, name) for name, value in call.arguments.items() if isinstance(value, list)}
    return {
        tool: {
            "type": "object",
            "properties": {
                name: {"type": "array", "items": {}} if (tool, name) in lists else {} for name in sorted(names)
            },
            "required": sorted(name for name, count in names.items() if count == calls[tool]),
        }
        for tool, names in seen.items()
    }


def _count_slot(counts: SlotKnowledge, slot: Slot, values: list[Any], pool: Candidates) -> None:
    counts.calls += 1
    counts.present += bool(values)
    places = set()
    for value in values:
        text = key_of(value)
        _, times, _ = counts.constants.get(text, (value, 0, 0))
        counts.constants[text] = (value, times + 1, 0)
        counts.values += 1
        _add(counts.shapes, shape_of(value))
        if text in pool.index:
            places.add(pool.index[text])
            for attribute in pool.around(pool.index[text]).attributes:
                _add(counts.attributes, attribute)
        elif isinstance(value, str):
            for affix in sorted(_affixes(value, pool)):  # candidates come in this order
                _add(counts.affixes, affix)
    for path in sorted(_paths((path for place in places for path in pool.paths_of[place]), slot)):
        _add(counts.gold, path)
    if values:
        for path in sorted(_paths(pool.paths, slot)):
            _add(counts.seen, path)


def _paths(paths: Iterable[str], slot: Slot) -> set[str]:
    """Paths, and what they are to an argument of this name."""
    found = set(paths)
    return found | ({likewise(path, slot.name) for path in found} - {""})


def likewise(path: str, name: str) -> str:
    """What stands for a path to a value that bears an argument's own name, in whatever tool's result or call; else "".

    Example:
        >>> likewise("result:find_trains/[]/station", "station"), likewise("user:capitals", "station")
        ('result:=', '')
    """
    kind, _, rest = path.partition(":")
    return f"{kind}:=" if rest.rpartition("/")[2] == name and "/" in rest else ""


def _affixes(value: str, pool: Candidates) -> set[str]:
    """How the value could be made from something that was said, by a short prefix or suffix."""
    found = set()
    for key in pool.keys:
        if 3 <= len(key) < len(value) <= len(key) + MAX_AFFIX and key in value:
            prefix, _, suffix = value.partition(key)
            found.add(f"{prefix}\t{shape_of(key)}\t{suffix}")
    return found


def _settle(counts: SlotKnowledge, tasks: dict[str, int]) -> None:
    counts.seen = {path: count for path, count in counts.seen.items() if path in counts.gold}
    kept = _commonest(counts.constants)
    counts.constants = {text: (value, times, tasks[text]) for text, (value, times, _) in kept.items()}


def _commonest(constants: dict[str, tuple[Any, int, int]]) -> dict[str, tuple[Any, int, int]]:
    """In the order of the artefact, which sorts its keys: a loaded student must not differ from a fresh one."""
    return dict(sorted(sorted(constants.items(), key=lambda item: (-item[1][1], item[0]))[:MAX_CONSTANTS]))


def _add(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
