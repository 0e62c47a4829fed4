"""What a slot wants is worked out alike, whatever was counted first and wherever the model comes from."""

from __future__ import annotations

import msgspec
import pytest

from ultracore.distillation.students.compact.knowledge import Knowledge, SlotKnowledge
from ultracore.distillation.students.compact.plans import Plan
from ultracore.distillation.tools import Tool, canonical_json

TOOL = Tool("find", parameters={"type": "object", "properties": {"city": {"type": "string"}}})
AFFIXES = {"New \tXx\t": 4, "\tXx\t York": 4, "St \tXx\t": 3}
CONSTANTS = {"York": ("York", 4, 3), "Rome": ("Rome", 4, 3), "Oslo": ("Oslo", 9, 3)}


def plan(affixes: dict[str, int], constants: dict[str, tuple[str, int, int]], *, saved: bool = False) -> Plan:
    knowledge = Knowledge()
    (slot,) = knowledge.slots_of(TOOL)
    knowledge.slots[slot.key] = SlotKnowledge(calls=9, present=9, values=9, affixes=affixes, constants=constants)
    if saved:
        knowledge = msgspec.json.decode(canonical_json(msgspec.to_builtins(knowledge)), type=Knowledge)
    return Plan(slot, knowledge)


@pytest.mark.parametrize("saved", [False, True])
def test_candidates_come_in_one_order(saved: bool) -> None:
    backwards = dict(reversed(AFFIXES.items())), dict(reversed(CONSTANTS.items()))
    first, second = plan(AFFIXES, CONSTANTS), plan(*backwards, saved=saved)
    assert len(first.affixes) == 3
    assert first.affixes == second.affixes
    assert [value.key for value in first.values] == ["Oslo", "Rome", "York"]
    assert [value.key for value in second.values] == ["Oslo", "Rome", "York"]
