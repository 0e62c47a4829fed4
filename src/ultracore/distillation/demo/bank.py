"""The synthetic bank, live: customers who talk, tools that run, and a teacher whose policy may change.

The policy changes on one tool: before an account is opened, the customer is now screened with a tool that is new. The
system prompt stays what it was, so that only what the teacher does can tell. What this file does not know: HTTP.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ultracore.distillation.teachers.scripted.customers import Customer, Task, make_task
from ultracore.distillation.teachers.scripted.policy import TEACHER, ScriptedTeacher
from ultracore.distillation.teachers.scripted.tools import offered
from ultracore.distillation.teachers.scripted.traces import system_prompt
from ultracore.distillation.teachers.scripted.world import World

__all__ = ["CHANGED", "NEW_TOOL", "Answer", "Bank", "Message"]

Message = dict[str, Any]
Ask = Callable[[dict[str, Any], str], "Answer"]

YEAR = "2025"
WISHES = frozenset({"balance", "history", "card_info"})
"""Customers who want to look things up: what they ask for is learned from a few hundred decisions."""

CHANGED = "get_account"
NEW_TOOL = "screen_customer"
MOST_MESSAGES = 40
_SCREEN = {
    "type": "function",
    "function": {
        "name": NEW_TOOL,
        "description": "Screen a customer before an account is opened.",
        "parameters": {
            "type": "object",
            "properties": {"customer_id": {"type": "string", "description": "Customer number"}},
            "required": ["customer_id"],
            "additionalProperties": False,
        },
    },
}


class Answer(NamedTuple):
    """What came back.

    Attributes:
        message: The assistant's.
        source: `student` or `teacher`.
    """

    message: Message
    source: str


class Bank:
    """Deals out conversations; safe to use from several threads.

    Args:
        seed: Of the customers.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._next = 0
        self._lock = threading.Lock()
        self._teacher = ScriptedTeacher(seed=seed, flip_rate=0.0)
        self.changed = False

    @property
    def tools(self) -> list[Message]:
        """Those on offer now."""
        known = [{"type": "function", "function": tool["function"]} for tool in offered(YEAR)]
        return [*known, _SCREEN] if self.changed else known

    def decide(self, messages: Sequence[Message], tools: Sequence[Message]) -> Message:
        """What the teacher says next, under the policy that the tools tell of."""
        decision = self._teacher.decide(messages, tools)
        calls = decision.get("tool_calls") or []
        new = any(tool["function"]["name"] == NEW_TOOL for tool in tools)
        if not (new and calls and calls[0]["function"]["name"] == CHANGED) or _screened(messages):
            return decision
        arguments = json.dumps({"customer_id": _customer_of(messages)})
        call = {**calls[0], "function": {"name": NEW_TOOL, "arguments": arguments}}
        return {**decision, "tool_calls": [call]}

    def converse(self, ask: Ask, decided: Callable[[list[Message], list[Message], Answer], None]) -> None:
        """One conversation, from a customer's first message to their leaving.

        Args:
            ask: Sends a request of the chat API, with the conversation's name.
            decided: Told what was answered to which messages and tools.
        """
        task = self._task()
        world, customer, tools = World(task.customer), Customer(task), self.tools
        messages: list[Message] = [{"role": "system", "content": system_prompt(YEAR, task.today.isoformat())}]
        messages.append({"role": "user", "content": customer.open()})
        while len(messages) < MOST_MESSAGES:
            answer = ask({"model": TEACHER, "messages": messages, "tools": tools}, task.name)
            decided(list(messages), tools, answer)
            messages.append(answer.message)
            if calls := answer.message.get("tool_calls"):
                messages += [_result(world, call) for call in calls]
            elif (words := customer.reply(answer.message["content"])) is None:
                return
            else:
                messages.append({"role": "user", "content": words})

    def _task(self) -> Task:
        with self._lock:
            while True:
                task = make_task(f"demo-{self._next}", self._seed, int(YEAR))
                self._next += 1
                if {goal.kind for goal in task.goals} <= WISHES:
                    return task


def _result(world: World, call: Message) -> Message:
    function = call["function"]
    arguments = json.loads(function["arguments"])
    result = {"cleared": True} if function["name"] == NEW_TOOL else world.run(function["name"], arguments)
    return {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)}


def _calls(messages: Sequence[Message]) -> list[Message]:
    return [call["function"] for message in messages for call in message.get("tool_calls") or ()]


def _screened(messages: Sequence[Message]) -> bool:
    return any(call["name"] == NEW_TOOL for call in _calls(messages))


def _customer_of(messages: Sequence[Message]) -> str:
    known = [call for call in _calls(messages) if call["name"] == "get_customer"]
    return str(json.loads(known[-1]["arguments"])["customer_id"]) if known else ""
