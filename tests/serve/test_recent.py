"""A gateway that remembers requests and verdicts answers as one that does not, and keeps tenants, models and bounds."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from ultracore.distillation.agreement import NO_COMPARATORS
from ultracore.distillation.decisions import State
from ultracore.distillation.serve.answers import Answer
from ultracore.distillation.serve.dialect import CHAT
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.gate import Escalate, Gate, Reason, Send
from ultracore.distillation.serve.offer import read_offer
from ultracore.distillation.serve.recent import MAX_BODY, Recent
from ultracore.distillation.serve.recurring import recurring_of
from ultracore.distillation.serve.responses import RESPONSES
from ultracore.distillation.serve.wire import RequestError
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import parse_tool

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


class Remembering:
    """A student that knows the weather of some cities by heart, and counts how often it is asked."""

    model_id = "by-heart"

    def __init__(self, fakes: Any) -> None:
        self._rule = fakes.RuleStudent()
        self.asked = 0

    def propose(self, state: State) -> Proposal:
        proposal: Proposal = self._rule.propose(state)
        return proposal

    def propose_batch(self, states: Any) -> list[Proposal]:
        return [self.propose(state) for state in states]

    def recall(self, state: State) -> Proposal | None:
        self.asked += 1
        return self.propose(state) if len(str(state.messages[-1].get("content"))) % 2 else None


def gate(fakes: Any, **changes: Any) -> Gate:
    student = Remembering(fakes)
    tools = {tool.name: tool.fingerprint for tool in map(parse_tool, fakes.TOOLS)}
    thresholds = dict.fromkeys(tools, 0.5)
    return Gate(
        student, Certificate(certified=True, model_id="by-heart", thresholds=thresholds, tools=tools), **changes
    )


def body(fakes: Any, **changes: Any) -> bytes:
    return json.dumps(fakes.chat(**changes)).encode()


def test_equal_bytes_are_read_once_but_not_across_tenants_or_endpoints(fakes: Any) -> None:
    recent, asked = Recent(), body(fakes)
    one = recent.parse(CHAT, "a", asked)
    assert recent.parse(CHAT, "a", bytes(bytearray(asked))) is one
    assert recent.parse(CHAT, "b", asked) is not one
    assert recent.parse(CHAT, "b", asked).digest != one.digest
    told = json.dumps({"model": "m", "input": "hi", "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert recent.parse(RESPONSES, "a", told).digest != recent.parse(CHAT, "a", told).digest


def test_what_is_no_request_is_refused_each_time(fakes: Any) -> None:
    recent = Recent()
    for _ in range(2):
        with pytest.raises(RequestError):
            recent.parse(CHAT, "a", b"[]")


def test_the_oldest_go_when_there_is_no_room_and_long_ones_never_come_in(fakes: Any) -> None:
    bodies = [body(fakes, user=f"{number:03}") for number in range(10)]
    recent = Recent(max_bytes=3 * len(bodies[0]))
    first = recent.parse(CHAT, "a", bodies[0])
    second = recent.parse(CHAT, "a", bodies[1])
    assert recent.parse(CHAT, "a", bodies[0]) is first  # used last
    recent.parse(CHAT, "a", bodies[2])
    recent.parse(CHAT, "a", bodies[3])
    assert recent.parse(CHAT, "a", bodies[0]) is first
    assert recent.parse(CHAT, "a", bodies[1]) is not second
    assert len(recent._kept) == 3
    assert recent._bytes == 3 * len(bodies[0])
    assert recent.parse(CHAT, "a", body(fakes, user="x" * MAX_BODY)).digest == b""
    assert len(recent._kept) == 3


ASKED = st.tuples(
    st.sampled_from(["Rome", "Oslo", "Paris", "what a day", "", "x" * 50]),
    st.sampled_from([None, "auto", "none", "required", {"type": "function", "function": {"name": "ping"}}]),
    st.booleans(),
)
REVOKING = st.sampled_from(["none", "all", "weather"])


@given(st.lists(st.tuples(ASKED, REVOKING), min_size=2, max_size=30))
@hypothesis(max_examples=60, deadline=None)
def test_verdicts_with_memory_are_those_without(fakes: Any, turns: list[Any]) -> None:
    quick, plain, recent = gate(fakes), gate(fakes), Recent()
    for (city, choice, tools), revoking in turns:
        for each in (quick, plain):
            each.revoked = revoking == "all"
            each.revoked_actions = frozenset({"weather"} if revoking == "weather" else ())
        changes = {"tools": fakes.TOOLS if tools else fakes.TOOLS[:1], "tool_choice": choice}
        asked = body(fakes, messages=[{"role": "user", "content": f"weather in {city}"}], **changes)
        remembered, fresh = recent.parse(CHAT, "a", asked), CHAT.parse(asked)
        assert quick.at_once(remembered) in ([None] if plain.at_once(fresh) is None else []) + [plain.decide(fresh)]
        assert quick.decide(remembered) == plain.decide(fresh)
        assert (remembered.session, remembered.step, remembered.context) == (fresh.session, fresh.step, fresh.context)


def test_the_student_thinks_once_about_the_same_bytes(fakes: Any) -> None:
    asking, recent = gate(fakes), Recent()
    student: Any = asking.student
    thought = []
    student.propose, propose = lambda state: (thought.append(state), propose(state))[1], student.propose
    asked = [body(fakes, messages=[{"role": "user", "content": f"weather in {city}"}]) for city in ("Oslo!", "Bonn!")]
    for _ in range(3):
        verdicts = [asking.decide(recent.parse(CHAT, "a", one)) for one in asked]
        assert [asking.at_once(recent.parse(CHAT, "a", one)) for one in asked] == verdicts
    assert len(thought) == 2
    asking.revoked = True
    assert [asking.decide(recent.parse(CHAT, "a", one)) for one in asked] == [Escalate(Reason.REVOKED)] * 2
    asking.revoked, student.propose = False, lambda state: 1 / 0  # what failed is asked again
    failed = body(fakes, messages=[{"role": "user", "content": "weather in Kiel!"}])
    assert asking.decide(recent.parse(CHAT, "a", failed)).reason == Reason.STUDENT_ERROR  # type: ignore[union-attr]
    student.propose = propose
    assert not isinstance(asking.decide(recent.parse(CHAT, "a", failed)), Escalate)


def test_a_context_that_is_not_known_by_heart_is_looked_up_once(fakes: Any) -> None:
    asking, recent = gate(fakes), Recent()
    even = json.dumps(fakes.chat("weather in Rom")).encode()
    assert [asking.at_once(recent.parse(CHAT, "a", even)) for _ in range(3)] == [None] * 3
    assert asking.student.asked == 1  # type: ignore[attr-defined]
    verdict = asking.decide(recent.parse(CHAT, "a", even))
    assert isinstance(verdict, Send)
    assert asking.at_once(recent.parse(CHAT, "a", even)) is verdict
    assert asking.student.asked == 1  # type: ignore[attr-defined]
    asking.revoked = True
    assert asking.at_once(recent.parse(CHAT, "a", even)) == Escalate(Reason.REVOKED)


def test_a_call_that_went_out_is_not_validated_twice_and_a_revocation_is_heard_at_once(fakes: Any) -> None:
    asking, recent = gate(fakes), Recent()
    asked = body(fakes, messages=[{"role": "user", "content": "weather in Rome"}])
    assert isinstance(asking.at_once(recent.parse(CHAT, "a", asked)), Send)
    student: Any = asking.student
    before = student.asked
    assert isinstance(asking.at_once(recent.parse(CHAT, "a", asked)), Send)
    assert student.asked == before
    asking.revoked_actions = frozenset({"weather"})
    verdict = asking.at_once(recent.parse(CHAT, "a", asked))
    assert isinstance(verdict, Escalate)
    assert verdict.reason == Reason.REVOKED
    other = gate(fakes, never={"weather"})  # another policy, or certificate, or model, is another gate
    verdict = other.at_once(recent.parse(CHAT, "a", asked))
    assert isinstance(verdict, Escalate)
    assert verdict.reason == Reason.POLICY


def test_the_same_request_again_is_another_decision_in_the_log_with_the_same_content(world: Any, fakes: Any) -> None:
    async def ask() -> list[Any]:
        async with world.client(None) as client:
            return [await client.post("/v1/chat/completions", json=fakes.chat(user="ann")) for _ in range(3)]

    replies = asyncio.run(ask())
    decisions = world.store.of("AGENT_TOOL_SELECTED", at_least=3)
    assert {d.metadata.event_id for d in decisions} == {r.headers["x-distill-receipt"] for r in replies}
    assert len({d.metadata.event_id for d in decisions}) == 3
    plain = [{**d.to_dict()["data"], "serving": None} for d in decisions]
    assert plain[0] == plain[1] == plain[2]
    assert plain[0]["context"]["messages"] == fakes.chat()["messages"]
    assert plain[0]["user_id"] == "ann"


def exchange(asked: Any, **changes: Any) -> Exchange:
    data: dict[str, Any] = {
        "dialect": CHAT, "request": asked, "offer": read_offer(asked.tools), "receipt": "r" * 32,
        "session": "s", "agent_id": "a", "tenant": "t", "model_id": "m", "certificate_id": "c", "audit_share": 0.25,
        "comparators": NO_COMPARATORS, "started": 0.0, "clock": lambda: WHEN,
    }  # fmt: skip
    return Exchange(**data | changes)


def test_a_recurring_exchange_writes_what_it_would_have_written_alone(fakes: Any) -> None:
    asking, recent = gate(fakes), Recent()
    asked = body(fakes, messages=[{"role": "user", "content": "weather in Rome"}], user="ann")
    verdict = asking.at_once(recent.parse(CHAT, "t", asked))
    differing: list[dict[str, Any]] = [
        {}, {"receipt": "q" * 32}, {"audit_share": 0.5}, {"session": "other"}, {"agent_id": "b"}, {"model_id": "n"}, {"tenant": "u"},
        {"certificate_id": "d"}, {"verdict": gate(fakes).at_once(CHAT.parse(asked))}, {},
    ]  # fmt: skip
    made = []
    for changes in ({"verdict": verdict, **one} for one in differing):
        repeated, alone = exchange(recent.parse(CHAT, "t", asked), **changes), exchange(CHAT.parse(asked), **changes)
        kept = recurring_of(repeated)
        assert _without_times(kept.decision(repeated, WHEN)) == _without_times(alone.student_decision())
        answer = Answer(alone.receipt, alone.model_id, int(WHEN.timestamp()), alone.calls)
        assert kept.body(repeated, WHEN) == CHAT.answer(answer, alone.request)
        headers = {name.decode(): value.decode() for name, value in kept.headers(repeated)}
        length = str(len(kept.body(repeated, WHEN)))
        assert headers == alone.headers | {"content-type": "application/json", "content-length": length}
        made.append(kept)
    assert len({id(kept) for kept in made}) == len(differing) - 2  # another receipt or share changes nothing else


def _without_times(event: Any) -> Any:
    told = event.to_dict()
    told["metadata"].pop("event_id" if event.event_type == "DECISION_OUTCOME_RECORDED" else "redacted")
    told["data"].pop("execution_time_ms", None)
    (told["data"].get("serving") or {}).pop("latency_ms", None)
    return told
