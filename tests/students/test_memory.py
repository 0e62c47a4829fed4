"""How far a memory is trusted: as far as such memories foretold another task."""

from __future__ import annotations

from ultracore.distillation.curate import deduplicate_rows
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.memory import ContextMemory
from ultracore.distillation.tools import Tool, ToolCall

TOOLS = [Tool("open"), Tool("close")]


def seen(query: str, tool: str, task: str, *, times: int = 1, teacher: str = "") -> list[Decision]:
    state = State([{"role": "user", "content": query}], TOOLS)
    return [
        Decision(state=state, calls=(ToolCall(tool, {}),), episode=f"{task} {n}", task=task, teacher=teacher)
        for n in range(times)
    ]


def test_the_same_task_over_again_says_nothing_of_another_one() -> None:
    torn = [d for q in "abcdefgh" for d in (*seen(q, "open", f"{q}1", times=3), *seen(q, "close", f"{q}2", times=3))]
    memory = ContextMemory.build(torn)
    assert memory.reliability["3/3"] < 0.1, "three sightings of one task foretold none of the other's"


def test_where_contexts_recur_within_their_tasks_alone_one_more_sighting_counts() -> None:
    memory = ContextMemory.build([d for q in "abcdefgh" for d in seen(q, "open", q, times=4)])
    assert memory.reliability["3/3"] > 0.9
    found = memory.recall(seen("a", "open", "new")[0].state)
    assert found is not None
    assert found.confidence == memory.reliability["3/3"]


def test_each_teacher_is_as_reliable_as_it_is() -> None:
    steady = [d for q in "abcdefgh" for n in range(3) for d in seen(q, "open", f"{q}{n}", teacher="steady")]
    coin = ("open", "close", "open")
    torn = [d for q in "abcdefgh" for n in range(3) for d in seen(q, coin[n], f"{q}{n}", teacher="torn")]
    memory, state = ContextMemory.build([*steady, *torn]), steady[0].state
    sure, unsure, nobody = (memory.recall(state, teacher) for teacher in ("steady", "torn", "new"))
    assert sure is not None
    assert unsure is not None
    assert nobody is None
    assert sure.confidence > 0.9
    assert unsure.confidence < 0.5


def test_merged_decisions_are_as_reliable_as_they_were() -> None:
    rows = [
        d
        for number in range(30)
        for n in range(10)
        for d in seen(f"q{number}", "close" if number < 8 and n == 9 else "open", f"t{number}-{n}")
    ]
    apart, merged = ContextMemory.build(rows), ContextMemory.build(deduplicate_rows(rows)[0])
    assert merged.decisions == apart.decisions
    assert min(apart.reliability["8/8"], merged.reliability["8/8"]) > 0.95
