"""A certificate that does not hold is revoked, for as little as possible, and once."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from ultracore.distillation.events import AlertRaisedEvent, CertificateRevokedEvent, ModelRolledBackEvent
from ultracore.distillation.settings import Settings
from ultracore.distillation.watch.audits import RISK
from ultracore.distillation.watch.watcher import Watcher

BAD = "++++-" * 60
"""13 points below a floor of 93 %."""


def one_of_seven_went_wrong(world: Any) -> None:
    actions = ("track", "refund", "cancel", "address", "invoice", "quote", "close")
    world.store.append([world.audit(k % 7 > 0, actions[k % 7]) for k in range(140)])


def revoked(look: Any) -> list[Any]:
    return [event for event in look.appended if isinstance(event, CertificateRevokedEvent)]


def watcher(world: Any, **settings: Any) -> Watcher:
    return Watcher(world.store, Settings(**settings), clock=world.clock)


def test_a_log_without_anything_is_watched(world: Any) -> None:
    look = watcher(world).look()
    assert (look.position, look.model_id, look.agreement, look.appended) == (0, None, [], [])


def test_a_deployed_model_without_audits_has_no_estimate_and_keeps_its_certificate(world: Any) -> None:
    world.deploy()
    (all_calls,) = watcher(world).look().agreement
    assert (all_calls.kind, all_calls.agreement, all_calls.lower, all_calls.upper) == ("all", None, 0.0, 1.0)


def test_audits_without_labels_are_counted_and_decide_nothing(world: Any) -> None:
    world.deploy()
    world.audits("?" * 500)
    look = watcher(world).look()
    assert {(a.labelled, a.unlabelled, a.lower, a.upper) for a in look.agreement} == {(0, 500, 0.0, 1.0)}
    assert look.appended == []


def test_an_action_that_went_wrong_is_revoked_alone(world: Any) -> None:
    world.deploy()
    world.audits("+" * 100, "refund")
    world.audits("+" * 100, "track")
    one_of_seven_went_wrong(world)
    watched = watcher(world)
    (event,) = watched.look().appended
    assert isinstance(event, CertificateRevokedEvent)
    assert (event.actions, event.model_id, event.floor) == (["track"], "m", 0.93)
    assert event.upper_bound is not None
    assert event.upper_bound <= 0.93
    assert event.metadata.causation_id is not None
    look = watched.look()
    assert look.appended == []
    assert [(a.kind, a.name) for a in look.agreement if a.revoked] == [("action", "track")]


def test_remembered_calls_are_watched_apart_and_revoke_nothing_by_themselves(world: Any) -> None:
    world.deploy()
    world.audits("+" * 300, tier="model")
    world.audits("+-+++" * 4, "quote", tier="cache")
    look = watcher(world).look()
    found = {a.name: (a.labelled, a.agreement, a.revoked) for a in look.agreement if a.kind == "tier"}
    assert found == {"cache": (20, 0.8, False), "model": (300, 1.0, False)}


def test_remembered_calls_that_are_all_wrong_do_not_take_the_model_with_them(world: Any) -> None:
    world.deploy()
    tools = ("track", "refund", "cancel", "address", "invoice", "quote", "close")
    for tool in tools * 4:  # spread out: as many in a row would be a change of the whole
        world.audits("+" * 40, tool, tier="model")
        world.audits("-", tool, tier="cache")
    look = watcher(world).look()
    (cache,) = [a for a in look.agreement if (a.kind, a.name) == ("tier", "cache")]
    assert cache.upper < cache.floor
    assert (look.appended, cache.revoked) == ([], False)


def test_evidence_of_a_revoked_action_does_not_count_against_the_rest(world: Any) -> None:
    world.deploy()
    one_of_seven_went_wrong(world)
    watched = watcher(world)
    (before,) = [a for a in watched.look().agreement if a.kind == "all"]
    world.audits("-" * 5, "track")  # were on their way
    world.audits("+", "refund")
    look = watched.look()
    assert look.appended == []
    (whole,) = [a for a in look.agreement if a.kind == "all"]
    assert (whole.labelled, whole.agreement) == (before.labelled + 1, 1.0)


def test_a_whole_that_is_worse_than_promised_is_revoked_though_no_action_shows_it(world: Any) -> None:
    world.deploy()
    actions = ("track", "refund", "cancel", "address", "invoice", "quote", "close")
    world.store.append([world.audit(mark == "+", actions[k % 7]) for k, mark in enumerate(BAD)])
    look = watcher(world).look()
    (event,) = look.appended
    assert event.actions == []
    assert look.model_id is None


@pytest.mark.parametrize("target", [0.5, 0.93])
def test_the_floor_is_the_certificates_own(world: Any, target: float) -> None:
    world.deploy(target=target)
    world.audits(BAD)
    assert bool(revoked(watcher(world).look())) == (target == 0.93)


def test_a_tool_with_a_level_of_its_own_is_held_to_it(world: Any) -> None:
    world.deploy(target=0.5, levels={"refund": 0.99})
    world.audits("++++++++-" * 30, "track")
    world.audits("++++++++-" * 30, "refund")
    (event,) = watcher(world).look().appended
    assert (event.actions, event.floor) == (["refund"], 0.99)


def test_a_new_deployment_starts_without_evidence(world: Any) -> None:
    world.deploy()
    world.audits("-" * 5)
    world.deploy()
    (whole,) = watcher(world).look().agreement
    assert whole.labelled == 0


def test_other_tenants_and_other_models_do_not_count(world: Any) -> None:
    world.deploy()
    world.audits("-" * 50, tenant_id="another")
    world.audits("+" * 50, model_id="older")
    look = watcher(world).look()
    assert look.appended == []
    assert [a.labelled for a in look.agreement] == [0]


def test_a_revoked_model_is_not_revoked_again_by_what_was_on_its_way(world: Any) -> None:
    world.deploy()
    watched = watcher(world)
    world.store.append([CertificateRevokedEvent.record(model_id="m", reason="by hand")])
    world.audits("-" * 30, "cancel")
    assert watched.look().appended == []


def test_whoever_looks_how_often_finds_the_same_and_writes_it_once(world: Any) -> None:
    world.deploy()
    bad = ("track", "refund")
    events = [world.audit(k % 7 > 1, (*bad, *["quote"] * 5)[k % 7], p=0.05 + 0.01 * (k % 2)) for k in range(140)]
    one, often = watcher(world), watcher(world)
    found = []
    for event in events:
        world.store.append([event])
        found += revoked(often.look())
    assert len(found) == 2
    assert one.look().appended == []  # they are in the log
    assert one.look().agreement == often.look().agreement == watcher(world).look().agreement
    assert {tuple(event.actions) for event in world.of(CertificateRevokedEvent)} == {("track",), ("refund",)}


def test_who_looks_late_finds_what_who_looks_often_finds(world: Any) -> None:
    world.deploy()
    bad = ("track", "refund")
    world.store.append([world.audit(k % 7 > 1, (*bad, *["quote"] * 5)[k % 7]) for k in range(140)])
    assert sorted(event.actions for event in watcher(world).look().appended) == [["refund"], ["track"]]


@pytest.mark.parametrize("writes", range(4))
def test_whatever_a_kill_interrupts_the_log_tells_the_next_watcher(world: Any, writes: int) -> None:
    """The store takes so many facts, then the process is gone; the next one writes the rest, nothing twice."""
    world.deploy()
    bad = ("track", "refund", "cancel")
    events = [world.audit(k % 28 > 2, (*bad, *["quote"] * 25)[k % 28]) for k in range(280)]
    world.store.append(events)

    class Dying:
        def __init__(self) -> None:
            self.left = writes

        def __getattr__(self, name: str) -> Any:
            return getattr(world.store, name)

        def append(self, events: Any, **options: Any) -> Any:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            return world.store.append(events, **options)

    with contextlib.suppress(KeyboardInterrupt):
        Watcher(Dying(), Settings(), clock=world.clock).look()  # type: ignore[arg-type]
    watcher(world).look()
    watcher(world).look()
    told = world.of(CertificateRevokedEvent)
    assert sorted(action for event in told for action in event.actions) == sorted(bad)
    assert len(told) == 3
    alerts = [event.metadata.event_id for event in world.of(AlertRaisedEvent)]
    assert len(alerts) == len(set(alerts)) <= 1


def test_two_that_look_at_the_same_time_write_it_once(world: Any) -> None:
    world.deploy()
    world.audits("-" * 30)

    class Late(Watcher):
        def _facts(self) -> Any:
            facts = super()._facts()
            watcher(world).look()  # the other one was faster
            return facts

    assert Late(world.store, Settings(), clock=world.clock).look().appended == []
    assert len(world.of(CertificateRevokedEvent)) == 1


def test_a_model_that_returns_by_a_rollback_keeps_its_evidence(world: Any) -> None:
    world.deploy("old")
    world.audits("+" * 20, model_id="old")
    world.deploy("new")
    world.store.append([ModelRolledBackEvent.record(model_id="new", to_model_id="old", reason="x")])
    look = watcher(world).look()
    assert (look.model_id, look.agreement[0].labelled) == ("old", 20)


def test_the_risks_of_what_may_be_revoked_add_up_to_no_more_than_promised(world: Any) -> None:
    world.deploy()
    for action in ("track", "refund", "cancel", "address", "invoice", "quote", "close"):
        for agent in ("a", "b"):
            world.audits("+", action, agent=agent)
    risks = {(a.kind, a.name): a.risk for a in watcher(world).look().agreement}
    assert sum(risk for (kind, _), risk in risks.items() if kind != "agent") == pytest.approx(RISK)
