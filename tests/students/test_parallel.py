"""Several calls of one message: found together, complete, and not asked for where the teacher never makes them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.drafts import DRAFT_FEATURES, Draft
from ultracore.distillation.students.compact.knowledge import Knowledge, SlotKnowledge
from ultracore.distillation.students.compact.parallel import MAX_CALLS, WHOLE_FEATURES, complete
from ultracore.distillation.students.compact.slots import slots_of
from ultracore.distillation.students.compact.sources import Learned, Sources
from ultracore.distillation.students.compact.sparse import Linear, Vector
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.examples import OFTEN, Habits, prepare
from ultracore.distillation.train.fit import fit_compact

ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
TOOLS = [Tool("get_order", "Look an order up", ORDER), Tool("open_ticket", "Tell a person")]


def asked(number: int, rng: random.Random) -> Decision:
    """The teacher looks up every order that is named; a complaint is also told to a person."""
    orders = [f"W{rng.randrange(1000, 9999)}" for _ in range(rng.choice([1, 2, 3]))]
    angry = rng.random() < 0.3
    text = f"Where are {' and '.join(orders)}?" + (" This is a scandal!" if angry else "")
    calls = [ToolCall("get_order", {"order_id": order}) for order in orders]
    calls += [ToolCall("open_ticket", {})] * angry
    state = State([{"role": "user", "content": text}], TOOLS)
    return Decision(state=state, calls=tuple(calls), episode=f"e{number}", task=f"t{number}")


def world(n: int, seed: int) -> list[Decision]:
    rng = random.Random(seed)
    return [asked(number, rng) for number in range(n)]


def draft(*calls: ToolCall, missing: tuple[str, ...] = (), share: float = 0.5) -> Draft:
    return Draft(calls, missing, np.zeros(DRAFT_FEATURES, np.float32), share)


def order(number: int) -> ToolCall:
    return ToolCall("get_order", {"order_id": f"W{number}"})


def test_all_orders_are_looked_up_in_one_message() -> None:
    student = fit_compact(world(120, 0), seed=0).student
    unseen = world(60, 1)
    agreed = [bool(strict(student.propose(d.state).calls, d.calls, TOOLS)) for d in unseen]
    several = [ok for ok, d in zip(agreed, unseen, strict=True) if len(d.calls) > 1]
    assert np.mean(agreed) > 0.8
    assert np.mean(several) > 0.7


def test_a_message_ends_where_nothing_follows_or_something_is_repeated_or_missing() -> None:
    follow = {1: draft(order(2)), 2: draft(order(1))}
    found = complete(draft(order(1)), lambda tool: True, lambda pending: follow[len(pending)])
    assert found.calls == (order(1), order(2)), "the first order is not looked up twice"
    assert found.features.shape == (WHOLE_FEATURES,)
    assert found.features[-3] == pytest.approx(2 * np.log(0.5)), "each answer takes its share of the confidence"
    incomplete = complete(draft(order(1)), lambda tool: True, lambda pending: draft(order(2), missing=("x",)))
    assert incomplete.missing == ("x",)
    assert complete(draft(), lambda tool: True, lambda pending: draft(order(2))).calls == ()
    endless = complete(draft(order(0)), lambda tool: True, lambda pending: draft(order(len(pending))))
    assert len(endless.calls) == MAX_CALLS


def test_a_call_that_is_pending_was_made_and_nothing_more_was_said() -> None:
    read = Transcript(world(1, 0)[0].state)
    assert (read.since_user, read.used, read.given) == ([], {}, {})
    said, words = read.user_texts, read.user_words
    pending = read.going_on((order(1),))
    assert pending.since_user == ["+", "get_order"]
    assert pending.used == {"W1": 1}
    assert pending.given == {("get_order", ("order_id",)): {"W1": 1}}
    assert (pending.calls, read.calls) == ([order(1)], [])
    assert (pending.last.calls, read.last.role) == ((order(1),), "user")
    assert pending.user_texts is said
    assert pending.user_words is words


def test_what_is_meant_is_asked_anew_once_a_call_is_pending() -> None:
    meant = {"get_order/order_id": Linear(["W1", "W2"], np.eye(2, dtype=np.float32), np.zeros(2, np.float32))}
    learned = Learned(Knowledge({"get_order/order_id": SlotKnowledge()}, {}), meant, None)
    read, (slot,) = Transcript(world(1, 0)[0].state), slots_of(TOOLS[0])
    first, then = (Vector(np.array([column], np.int32), np.ones(1, np.float32)) for column in (0, 1))
    before = Sources(Candidates(read), first, learned)
    assert max(before.shares(slot).items(), key=lambda pair: pair[1])[0] == "W1"  # type: ignore[union-attr]
    after = before.going_on(Candidates(read.going_on((order(1),))), then)
    assert max(after.shares(slot).items(), key=lambda pair: pair[1])[0] == "W2"  # type: ignore[union-attr]
    assert after.text is before.text


def test_a_tool_that_stands_alone_is_not_followed() -> None:
    def never(pending: tuple[ToolCall, ...]) -> Draft:
        raise AssertionError("asked")

    assert complete(draft(order(1)), lambda tool: tool != "get_order", never).calls == (order(1),)


def test_further_calls_are_asked_for_only_where_the_teacher_makes_them() -> None:
    single = [d for d in world(300, 2) if len(d.calls) == 1]
    several = [d for d in world(300, 3) if len(d.calls) > 1]
    assert len(single) >= OFTEN
    assert Habits.of(single) == (False, ["get_order"])
    assert not Habits.of([*single, several[0]]).together, "one message in a hundred is not worth a question"
    assert Habits.of(several) == (True, ["open_ticket"])
    assert all(not example.pending for example in prepare(single).examples)
    cut = [e for e in prepare(several[:1]).examples if e.pending]
    assert [len(e.pending) + len(e.decision.calls) for e in cut] == [len(several[0].calls)] * len(cut)
    assert cut[-1].decision.calls == (), "behind the last call the right answer is to stop"
