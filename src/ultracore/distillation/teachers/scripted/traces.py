"""Example traces: conversations of the scripted bank as OpenAI chat fine-tuning lines.

Deterministic: the same arguments give the same bytes on every machine. Everything is synthetic and
says so in its metadata. What this file does not know: how conversations are read and learned from.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.teachers.scripted.customers import Customer, Task, make_task
from ultracore.distillation.teachers.scripted.grammar import stream
from ultracore.distillation.teachers.scripted.policy import TEACHER, ScriptedTeacher
from ultracore.distillation.teachers.scripted.tools import Policy, offered, policy_of
from ultracore.distillation.teachers.scripted.world import World

__all__ = ["AGENT", "SOURCE", "conversations", "system_prompt", "write_traces"]

AGENT: Final = "banking-assistant"
SOURCE: Final = "example/banking"
MAX_MESSAGES: Final = 60

_RULES = """You are the assistant of a bank. Today is {today}.
Find out who the customer is before anything else: customer number, e-mail address, or name with date of birth.
Deal with lost and stolen cards first. Look a card, an account or a payee up before you change anything about it.
Read every change back and wait for a yes; a stolen card is blocked at once.
Transfers of more than {escalate:,} EUR go to a colleague.{check}
Never tell a PIN, unblock a card, give advice on investments, or touch an account of somebody else."""
_CHECK = " For transfers of more than {above:,} EUR check the transfer limit first."


def conversations(
    n: int = 400,
    *,
    seed: int = 0,
    flip_rate: float = 0.01,
    recurring: float = 0.3,
    trials: int = 2,
    policy: str = "2025",
) -> Iterator[dict[str, Any]]:
    """Yield example conversations.

    Args:
        n: How many conversations; 600 make about 4,000 decisions.
        seed: Seed of everything random.
        flip_rate: How often the teacher disagrees with itself, per decision (0..1).
        recurring: Share of the conversations whose task comes up `trials` times (0..1): the same
            customer words, and the teacher's own randomness.
        trials: How often a recurring task comes up (>= 2 to recur at all).
        policy: "2025", or "2026" with a new tool and a lower limit. The same seed brings the same
            customers back with the same wishes; take another seed where drift is to be measured.

    Yields:
        OpenAI chat fine-tuning lines: messages, tools, parallel_tool_calls, and metadata with
        source, task, trial, episode, teacher, kind ("synthetic") and agent.

    Raises:
        ConfigurationError: An argument is out of range, or there is no such policy.

    Example:
        >>> next(conversations(1))["metadata"]["kind"]
        'synthetic'
    """
    rules, tools = policy_of(policy), offered(policy)
    for task, trial in _schedule(n, seed, recurring, trials, flip_rate):
        yield _line(
            make_task(task, seed, rules.year),
            task,
            trial,
            rules,
            tools,
            ScriptedTeacher(seed=f"{seed}/{trial}", flip_rate=flip_rate),
        )


def write_traces(path: str | Path, **kwargs: Any) -> int:
    """Write example conversations as JSONL, compressed where the name ends in `.gz`.

    The lines are the same bytes on every machine; how they are compressed is up to its zlib.

    Args:
        path: The file; an existing one is replaced.
        **kwargs: As for `conversations`.

    Returns:
        How many conversations were written.
    """
    lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in conversations(**kwargs)]
    data = "".join(lines).encode()
    # No time and no file name in the gzip header: same seed, same bytes.
    Path(path).write_bytes(gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)
    return len(lines)


def system_prompt(policy: str, today: str) -> str:
    """The rules as the model is told them."""
    rules = policy_of(policy)
    check = _CHECK.format(above=rules.check_above) if rules.check_above is not None else ""
    return _RULES.format(today=today, escalate=rules.escalate_above, check=check)


def _schedule(n: int, seed: int, recurring: float, trials: int, flip_rate: float) -> list[tuple[str, int]]:
    """(task, trial) of each conversation, in an order in which trials of a task lie apart."""
    if n < 0 or trials < 1 or not 0 <= recurring <= 1 or not 0 <= flip_rate <= 1:
        raise ConfigurationError("conversations: n >= 0, trials >= 1, and recurring and flip_rate between 0 and 1")
    again = int(n * recurring) // trials if trials > 1 else 0
    plan = [(f"recurring-{i}", trial) for i in range(again) for trial in range(trials)]
    plan += [(f"new-{i}", 0) for i in range(n - len(plan))]
    stream(seed, "schedule").shuffle(plan)
    return plan


def _line(
    task: Task, name: str, trial: int, policy: Policy, tools: list[dict[str, Any]], teacher: ScriptedTeacher
) -> dict[str, Any]:
    system = {"role": "system", "content": system_prompt(str(policy.year), task.today.isoformat())}
    label = f"{policy.year}/{task.name}"
    return {
        "messages": [system, *_talk(task, [system], tools, teacher)],
        "tools": tools,
        "parallel_tool_calls": False,
        "metadata": {
            "source": SOURCE,
            "task": label,
            "trial": trial,
            "episode": f"{label}#{trial}",
            "teacher": TEACHER,
            "kind": "synthetic",
            "agent": AGENT,
        },
    }


def _talk(
    task: Task, opening: list[dict[str, Any]], tools: list[dict[str, Any]], teacher: ScriptedTeacher
) -> list[dict[str, Any]]:
    """One conversation, from the customer's first message to the teacher's last."""
    world, customer = World(task.customer), Customer(task)
    messages = [*opening, {"role": "user", "content": customer.open()}]
    while len(messages) < MAX_MESSAGES:
        decision = teacher.decide(messages, tools)
        messages.append(decision)
        if calls := decision.get("tool_calls"):
            messages += [_result(world, call) for call in calls]
        elif (words := customer.reply(decision["content"])) is None:
            break
        else:
            messages.append({"role": "user", "content": words})
    return messages[len(opening) :]


def _result(world: World, call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    result = world.run(function["name"], json.loads(function["arguments"]))
    return {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)}
