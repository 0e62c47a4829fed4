"""The scripted teacher: a pure function of the messages, the tools offered, and a seed for its moods.

It follows `rules`, except that at a set rate it disagrees with itself: it confirms once more, looks
something up first, or asks where it would have called. What this file does not know: the bank's
state; it sees what a model would see.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import Any

from ultracore.distillation.decisions import text_of
from ultracore.distillation.errors import DataError
from ultracore.distillation.teachers.scripted.dialogue import Dialogue, Request
from ultracore.distillation.teachers.scripted.grammar import stream
from ultracore.distillation.teachers.scripted.replies import say, topic_in
from ultracore.distillation.teachers.scripted.rules import RULES
from ultracore.distillation.teachers.scripted.steps import WORK, Call, Say, Settled
from ultracore.distillation.teachers.scripted.tools import DESTRUCTIVE
from ultracore.distillation.tools import canonical_json

__all__ = ["TEACHER", "ScriptedTeacher"]

Message = dict[str, Any]
Move = Call | Say

TEACHER = "scripted-banking-teacher"
_FIRST_OF_ALL = ("block_card",)
_WITHOUT_IDENTITY = ("human", "forbidden")


class ScriptedTeacher:
    """Decides as the example bank's assistant; usable wherever a model's next message is wanted.

    Args:
        seed: Names the stream of its moods: same seed and messages, same decision.
        flip_rate: Share of the decisions in which it does something else than its rules say (0..1).
            Where nothing else makes sense (asking who the customer is, saying goodbye), it never does.

    Example:
        >>> teacher = ScriptedTeacher()
        >>> question = "My customer number is C204817, what is my balance?"
        >>> reply = teacher.decide([{"role": "user", "content": question}], [])
        >>> reply["tool_calls"][0]["function"]["name"]
        'get_customer'
    """

    def __init__(self, *, seed: int | str = 0, flip_rate: float = 0.01) -> None:
        self._seed = seed
        self._flip_rate = flip_rate

    def decide(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Message:
        """The next assistant message: text, or one tool call, in OpenAI's form.

        Args:
            messages: OpenAI chat messages so far.
            tools: OpenAI tool definitions; they tell the policy in force.

        Raises:
            DataError: A tool call or result is none of the example bank's.
        """
        try:
            dialogue = _read(messages, [str(tool.get("function", tool).get("name")) for tool in tools])
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
            raise DataError("the scripted teacher reads only calls and results of the example bank's tools") from None
        active, step = _next(dialogue)
        history = _digest(messages)
        moods = stream(self._seed, history)
        if moods.random() < self._flip_rate:
            step = _flipped(step, dialogue, moods)
        return _message(step, active, dialogue, sum(len(m.get("tool_calls") or ()) for m in messages), stream(history))


def _read(messages: Sequence[Mapping[str, Any]], tools: Sequence[str]) -> Dialogue:
    dialogue = Dialogue()
    dialogue.set_rules("\n".join(text_of(m) for m in messages if m.get("role") in ("system", "developer")), tools)
    pending: dict[str, tuple[str, dict[str, Any], Request | None]] = {}
    for message in messages:
        role = message.get("role")
        if role == "user":
            dialogue.hear(text_of(message), _next(dialogue)[0])
        elif role == "tool" and message.get("tool_call_id") in pending:
            name, arguments, active = pending[message["tool_call_id"]]
            dialogue.learn(name, arguments, _json(text_of(message)), active)
        elif role == "assistant" and message.get("tool_calls"):
            active = _next(dialogue)[0]
            for call in message["tool_calls"]:
                pending[call["id"]] = (call["function"]["name"], _json(call["function"]["arguments"]), active)
        elif role == "assistant":
            _note_reply(dialogue, text_of(message))
    return dialogue


def _note_reply(dialogue: Dialogue, text: str) -> None:
    dialogue.last_topic = topic_in(text)
    if dialogue.last_topic == "summary":
        for request in dialogue.requests:
            request.told = True


def _next(d: Dialogue) -> tuple[Request | None, Move]:
    """The request in hand and what to do for it."""
    for request in sorted(d.requests, key=lambda r: r.kind not in _FIRST_OF_ALL):
        if not request.is_open:
            continue
        unknown = not d.profile and request.kind not in _WITHOUT_IDENTITY
        step = _identify(d) if unknown else RULES[request.kind](d, request)
        if not isinstance(step, Settled):
            return request, step
        request.outcome = step.outcome
    if d.farewell:
        return None, Say("goodbye")
    if not d.requests:
        return None, Say("request")
    news = " ".join(r.outcome for r in d.requests if r.outcome and not r.told)
    return None, Say("summary", news or "All right, I leave everything as it is.")


def _identify(d: Dialogue) -> Move:
    known = d.identity
    if d.not_found:
        return Say("retry")
    if "customer_id" in known:
        return Call("get_customer", {"customer_id": known["customer_id"]})
    if "email" in known:
        return Call("find_customer_by_email", {"email": known["email"]})
    if "last" not in known:
        return Say("identity")
    if "birth_date" not in known:
        return Say("birth_date")
    if not d.matches:
        return Call("find_customer_by_name", {"first_name": known["first"], "last_name": known["last"]})
    fitting = [match for match in d.matches if match["birth_date"] == known["birth_date"]]
    return Call("get_customer", {"customer_id": fitting[0]["customer_id"]}) if fitting else Say("retry")


def _flipped(step: Move, d: Dialogue, moods: Random) -> Move:
    """Something else than the rules say, such as a real model might do; `step` itself where nothing fits."""
    lookups = _lookups(d)
    if isinstance(step, Call):
        if step.name in DESTRUCTIVE:
            return Say("confirm", "just once more")
        elsewhere = [call for call in lookups if call != step]
        return moods.choice(elsewhere) if elsewhere and moods.random() < 0.4 else Say("hold")
    if isinstance(step, Say) and step.topic not in ("identity", "goodbye") and lookups:
        return moods.choice(lookups)
    return step


def _lookups(d: Dialogue) -> list[Call]:
    if not d.profile:
        return []
    customer = {"customer_id": d.profile["customer_id"]}
    cards = [Call("get_card", {"card_id": card["card_id"]}) for card in d.profile["cards"][:1]]
    account = Call("get_account", {"account_id": d.profile["accounts"][0]["account_id"]})
    return [Call("get_customer", customer), Call("list_payees", customer), account, *cards]


def _message(step: Move, active: Request | None, d: Dialogue, calls: int, rng: Random) -> Message:
    if isinstance(step, Call):
        function = {"name": step.name, "arguments": json.dumps(step.arguments)}
        call = {"id": f"call_{calls + 1}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    work = WORK[active.kind] if active else "request"
    text = say(
        step.topic,
        rng,
        work=work,
        details=step.details,
        outcome=step.details,
        options=", ".join(step.options) or "nothing that fits",
    )
    return {"role": "assistant", "content": text}


@lru_cache(maxsize=8192)
def _json(text: str) -> Any:
    return json.loads(text)


def _digest(messages: Sequence[Mapping[str, Any]]) -> str:
    """The same for equal histories: neither the system prompt nor the ids of calls count."""
    history = [
        [m.get("role"), m.get("content"), [call["function"] for call in m.get("tool_calls") or ()]]
        for m in messages
        if m.get("role") not in ("system", "developer")
    ]
    return hashlib.sha256(canonical_json(history)).hexdigest()
