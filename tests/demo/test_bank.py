"""The synthetic bank: the same seed, the same customers; the change concerns one tool only."""

from __future__ import annotations

import json
from typing import Any

from ultracore.distillation.demo.bank import CHANGED, NEW_TOOL, Answer, Bank


def talks(bank: Bank, n: int) -> list[list[Any]]:
    """What the teacher decides in some conversations that it leads itself."""
    found: list[list[Any]] = []

    def ask(request: dict[str, Any], session: str) -> Answer:
        return Answer(bank.decide(request["messages"], request["tools"]), "teacher")

    for _ in range(n):
        said: list[Any] = []
        bank.converse(ask, lambda messages, tools, answer, said=said: said.append(answer.message))  # type: ignore[misc]
        found.append(said)
    return found


def called(talk: list[Any]) -> list[str]:
    return [call["function"]["name"] for message in talk for call in message.get("tool_calls") or ()]


def changed(seed: int) -> Bank:
    bank = Bank(seed)
    bank.changed = True
    return bank


def test_the_same_seed_gives_the_same_conversations() -> None:
    assert talks(Bank(3), 5) == talks(Bank(3), 5) != talks(Bank(4), 5)


def test_after_the_change_a_customer_is_screened_once_before_an_account_is_opened_and_nothing_else_changes() -> None:
    before, after = talks(Bank(0), 30), talks(changed(0), 30)
    opened = 0
    for old, new in zip(before, after, strict=True):
        names = called(new)
        assert [name for name in names if name != NEW_TOOL] == called(old)
        if CHANGED in names:
            opened += 1
            assert names.count(NEW_TOOL) == 1
            assert names.index(NEW_TOOL) + 1 == names.index(CHANGED)
        else:
            assert NEW_TOOL not in names
    assert opened >= 5


def test_whom_it_screens_is_the_customer_of_the_conversation() -> None:
    for talk in talks(changed(0), 10):
        arguments = {
            call["function"]["name"]: json.loads(call["function"]["arguments"])
            for message in talk for call in message.get("tool_calls") or ()
        }  # fmt: skip
        if NEW_TOOL in arguments:
            assert arguments[NEW_TOOL] == arguments["get_customer"]


def test_the_new_tool_is_offered_only_after_the_change() -> None:
    names = [[t["function"]["name"] for t in bank.tools] for bank in (Bank(0), changed(0))]
    assert names[1] == [*names[0], NEW_TOOL]
