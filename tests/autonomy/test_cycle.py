"""Rounds of the loop in a simulated world: what the agents decide, and that the log says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from benchmarks.autonomy import PROMOTION, RETRAINING, TableStudent, World, run_once

from ultracore.distillation.autonomy.supervisor import Supervisor
from ultracore.distillation.errors import DataError, LogError
from ultracore.distillation.events import LoopDecidedEvent, ModelDeployedEvent, RetrainTriggeredEvent
from ultracore.distillation.students.models import model_states

SMALL = msgspec.structs.replace(RETRAINING, first_decisions=200, after_change=100)
DIRECT = msgspec.structs.replace(PROMOTION, canary_share=0.0, least_units=20, error_margin=0.1, coverage_margin=0.3)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**more: Any) -> World:
        made.append(World(tmp_path, **({"retraining": SMALL, "promotion": DIRECT} | more)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def decided(world: World) -> list[tuple[str, str]]:
    events = world.store.read(types=[LoopDecidedEvent.event_type])
    return [(e.agent, e.action) for e in events if isinstance(e, LoopDecidedEvent)]


def until(world: World, done: Callable[[], Any], most: int = 400) -> None:
    for _ in range(most // 10):
        world.talk(10)
        world.round()
        if done():
            return
    raise AssertionError(f"not in {most} conversations: {decided(world)}")


def test_it_learns_takes_over_notices_a_new_policy_and_wins_back() -> None:
    run = run_once(3, settle=40, after=60)
    assert run.audits is not None
    assert run.audits <= 150
    assert run.tool_only
    assert run.during is not None
    assert run.after is not None
    assert run.during < run.before - 0.05
    assert run.after >= run.before - 0.02
    assert run.coverage_after is not None
    assert run.coverage_after >= run.coverage_before - 0.05


def test_every_decision_is_in_the_log_with_its_reasons_and_only_once(world: Any) -> None:
    w = world()
    until(w, w.registry.active_id)
    for _ in range(20):
        w.round()
    said = decided(w)
    assert said == [
        ("evaluation", "retrain"), ("data_curator", "curate"), ("prompt_optimizer", "skip"), ("model_trainer", "train")
    ]  # fmt: skip
    events = [e for e in w.store.read(types=[LoopDecidedEvent.event_type]) if isinstance(e, LoopDecidedEvent)]
    assert all(e.reasons and e.reasons[0] for e in events)
    assert events[0].reasons == [f"{events[0].evidence['labelled']:,} decisions and no student yet"]


def spoilt(student: TableStudent) -> TableStudent:
    """Wrong about everything, and sure of it."""
    table = {
        word: (f"tool_{(int(tool[-1]) + 1) % 7}" if tool else "", 0.99) for word, (tool, _) in student.table.items()
    }
    return TableStudent("0badbadbad", table)


def test_a_bad_model_that_got_through_is_revoked_and_the_last_good_one_answers(world: Any) -> None:
    """M1: what answers is wrong about everything; the audits say so, and the one before comes back."""
    w = world(audit_share=0.3)
    until(w, w.registry.active_id)
    good = w.registry.active_id()
    bad = spoilt(w.registry.load(good))
    w.registry.publish(bad)
    issued = msgspec.structs.replace(w.registry.load_certificate(good), model_id=bad.model_id)
    w.registry.save_certificate(issued)
    decided_event = next(e for e in w.store.read(types=["CERTIFICATE_DECIDED"]))
    about = {"model_id": bad.model_id, "certificate": msgspec.to_builtins(issued), "certified": True}
    deployed = next(e for e in w.store.read(types=[ModelDeployedEvent.event_type]))
    figures = {
        name: getattr(deployed, name)
        for name in ("accuracy_vs_teacher", "latency_ms", "cost_per_request_usd", "training_duration_hours")
    }
    w.store.append([
        type(decided_event).record(clock=w.clock, **about),
        ModelDeployedEvent.record(model_id=bad.model_id, model_name="table", model_size=1, clock=w.clock, **figures),
    ])  # fmt: skip
    w.round()
    audits = w.audits
    assert w.registry.active_id() == bad.model_id
    until(w, lambda: w.registry.active_id() == good, most=100)
    assert w.audits - audits <= 200
    assert ("evaluation", "roll_back") in decided(w)
    assert w.registry.active().certificate == w.registry.load_certificate(good)


def test_a_candidate_that_cannot_be_asked_is_refused_and_the_other_goes_on(world: Any) -> None:
    w = world()
    until(w, w.registry.active_id)
    good = w.registry.active_id()
    w.after_fit = spoilt
    w.store.append([RetrainTriggeredEvent.record(model_id=good, reason="asked by hand", clock=w.clock)])
    w.round()
    assert [m.stage for m in model_states(w.store)] == ["active", "shadow"]

    def raises() -> Any:
        raise DataError("compare: ended after 5 s, the time that it may take")

    w.compare = raises
    w.round()
    states = {m.model_id: m for m in model_states(w.store)}
    assert states["0badbadbad"].stage == "retired"
    assert states["0badbadbad"].reason == "compare: ended after 5 s, the time that it may take"
    assert w.registry.active_id() == good


def test_a_log_that_is_away_while_a_candidate_is_compared_says_nothing_of_it(world: Any) -> None:
    w = world()
    until(w, w.registry.active_id)
    w.after_fit = spoilt
    w.store.append([RetrainTriggeredEvent.record(model_id=w.registry.active_id(), reason="by hand", clock=w.clock)])
    w.round()

    def away() -> Any:
        raise LogError("the decision log cannot be read")

    w.compare = away
    with pytest.raises(LogError):
        w.round()
    assert [m.stage for m in model_states(w.store)] == ["active", "shadow"]


def test_a_worse_candidate_is_refused_after_a_comparison(world: Any) -> None:
    w = world()
    until(w, w.registry.active_id)
    good = w.registry.active_id()
    w.after_fit = spoilt
    w.store.append([RetrainTriggeredEvent.record(model_id=good, reason="asked by hand", clock=w.clock)])
    until(w, lambda: ("evaluation", "refuse") in decided(w))
    assert w.registry.active_id() == good


def test_a_training_that_fails_three_times_is_given_up_until_the_next_reason(world: Any) -> None:
    w = world()

    def fails() -> Any:
        raise DataError("train: asked for more memory than it may have")

    works, w.train = w.train, fails
    until(w, lambda: ("model_trainer", "give_up") in decided(w))
    assert [action for agent, action in decided(w) if agent == "model_trainer"] == ["failed"] * 3 + ["give_up"]
    w.train = works
    w.round()
    assert w.registry.active_id() is None or w.registry.active_id()
    until(w, w.registry.active_id)


def test_thirty_days_of_noisy_alarms_do_not_flap(world: Any) -> None:
    """M5: an alarm each hour; trainings keep to the cap, and promotions to their cool-down."""
    rules = msgspec.structs.replace(SMALL, after_change=1, least_hours=6.0, most_a_day=3)
    w = world(retraining=rules, promotion=msgspec.structs.replace(DIRECT, cool_down_seconds=86_400.0))
    until(w, w.registry.active_id)
    from ultracore.distillation.events import DriftDetectedEvent

    noise = {"detector": "d", "drift_score": 0.2, "threshold": 0.1, "reference_count": 1, "recent_count": 1}
    started = w.now
    trainings = len(list(w.store.read(types=[RetrainTriggeredEvent.event_type])))
    while w.now < started + timedelta(days=30):
        w.now += timedelta(hours=8)
        w.store.append([DriftDetectedEvent.record(model_id="m", clock=w.clock, **noise)])
        w.talk(1)
        w.round()
    asked = [e.metadata.timestamp for e in w.store.read(types=[RetrainTriggeredEvent.event_type])][trainings:]
    deployed = [e.metadata.timestamp for e in w.store.read(types=[ModelDeployedEvent.event_type])]
    assert 1 <= len(asked) <= 30 * 3
    assert all(b > a for a, b in pairwise(asked))
    assert len({at[:10] for at in deployed[1:]}) == len(deployed[1:])
    assert len(list(w.store.read(types=[LoopDecidedEvent.event_type]))) <= 6 * 30 * 3


class _Seat:
    def __init__(self, *, leads: bool = True) -> None:
        self.leads = leads

    def win(self) -> bool:
        return self.leads

    def resign(self) -> None:
        self.leads = False


class TestSupervisor:
    """What fails is tried again later; the rest goes on."""

    def supervised(self, world: World, **more: Any) -> tuple[Supervisor, list[float]]:
        now = [0.0]
        return Supervisor(world.cycle, _Seat(**more), clock=lambda: now[0]), now

    def test_a_stage_that_fails_rests_longer_each_time_and_the_others_go_on(self, world: Any) -> None:
        w = world()
        tried = []

        def look() -> None:
            tried.append(1)
            raise RuntimeError("secret words")

        w.cycle._look = look
        supervisor, now = self.supervised(w)
        for second in range(16):
            now[0] = float(second)
            assert supervisor.round()
        assert len(tried) == 5  # at 0, 1, 3, 7 and 15 s
        events = [e for e in w.store.read(types=[LoopDecidedEvent.event_type]) if isinstance(e, LoopDecidedEvent)]
        assert [e.reasons for e in events] == [["watch: RuntimeError"]]  # once, and no message that may hold data

    def test_it_does_nothing_without_the_seat(self, world: Any) -> None:
        w = world()
        w.cycle._look = lambda: pytest.fail("it looked")
        assert not self.supervised(w, leads=False)[0].round()

    def test_one_of_two_leads_and_the_other_takes_over(self, tmp_path: Path) -> None:
        from ultracore.distillation.autonomy.supervisor import leader_lock_at
        from ultracore.distillation.settings import Settings

        first, second = (leader_lock_at(Settings(home=str(tmp_path))) for _ in range(2))
        other = leader_lock_at(Settings(home=str(tmp_path), tenant="acme"))
        assert (first.win(), second.win(), other.win()) == (True, False, True)
        first.resign()
        assert (second.win(), first.win()) == (True, False)
        second.resign()
        other.resign()
