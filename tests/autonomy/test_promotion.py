"""From the shadow to answering or not, and back: each step an event with its numbers."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec
import pytest

from ultracore.distillation.autonomy.backend import compare_candidate
from ultracore.distillation.autonomy.compare import Comparison, compare
from ultracore.distillation.autonomy.promotion import candidate_of, next_stage, roll_back
from ultracore.distillation.autonomy.rules import PromotionRules
from ultracore.distillation.autonomy.traffic import Model, fresh_traffic, pairs
from ultracore.distillation.errors import DataError
from ultracore.distillation.students.models import last_good, model_states

RULES = PromotionRules(cool_down_seconds=0.0)
TEACHER = {"where": "track", "money": "refund", "stop": "cancel", "hello": ""}
GOOD = {"where": "track", "money": "refund"}
BAD = {"where": "track", "money": "cancel"}
MORE = {"where": "track", "money": "refund", "stop": "cancel"}


def look(home: Any) -> Comparison:
    candidate = candidate_of(home.store, "default")
    assert candidate is not None
    home.pass_time(minutes=5)
    traffic = fresh_traffic(home.store, "default", candidate.since, RULES.settle_seconds, home.now)
    models = [
        Model(home.registry.load(name), home.registry.load_certificate(name))
        for name in (candidate.against, candidate.model_id)
    ]
    return compare(pairs(traffic, *models), candidate.rules)


def step(home: Any, canary_units: int = 0) -> Any:
    candidate = candidate_of(home.store, "default")
    assert candidate is not None
    event = next_stage(home.store, "default", candidate, look(home), canary_units, clock=home.clock)
    if event is not None:
        home.add(event)
    return event


def stages(home: Any) -> dict[str, str]:
    return {m.model_id: m.stage for m in model_states(home.store)}


@pytest.mark.parametrize("table", [MORE, GOOD])
def test_one_that_is_better_or_equal_goes_through_every_stage(home: Any, table: dict[str, str]) -> None:
    home.deploy("m1", GOOD)
    home.shadow("m2", table, "m1", RULES)
    assert stages(home) == {"m1": "active", "m2": "shadow"}
    home.talk(250, TEACHER)
    staged = step(home)
    assert (staged.stage, staged.share, stages(home)["m2"]) == ("canary", 0.1, "canary")
    assert step(home, canary_units=19) is None
    deployed = step(home, canary_units=20)
    assert (deployed.replaces, deployed.evidence["units"], deployed.evidence["canary_units"]) == ("m1", 250, 20)
    assert deployed.accuracy_vs_teacher == 0.97
    assert stages(home) == {"m1": "retired", "m2": "active"}
    assert home.registry.active().model_id == "m2"


def test_a_worse_one_is_refused_with_numbers_and_never_comes_back(home: Any) -> None:
    home.deploy("m1", GOOD)
    home.shadow("m2", BAD, "m1", RULES)
    home.talk(250, TEACHER)
    refused = step(home)
    assert refused.event_type == "MODEL_REJECTED"
    assert refused.metrics["errors"]["mean"] == pytest.approx(0.25)
    assert refused.metrics["against"] == "m1"
    assert stages(home) == {"m1": "active", "m2": "retired"}
    assert candidate_of(home.store, "default") is None


def test_one_that_is_better_only_on_what_it_learned_from_is_not_promoted(home: Any) -> None:
    """Traffic from before its training does not count."""
    home.deploy("m1", GOOD)
    home.talk(400, TEACHER)
    home.shadow("m2", MORE, "m1", RULES)
    assert look(home).units == 0
    assert step(home) is None


def test_without_enough_conversations_nothing_happens(home: Any) -> None:
    home.deploy("m1", GOOD)
    home.shadow("m2", MORE, "m1", RULES)
    home.talk(49, TEACHER)
    assert step(home) is None


def test_without_a_canary_it_is_promoted_from_the_shadow(home: Any) -> None:
    home.deploy("m1", GOOD)
    home.shadow("m2", MORE, "m1", msgspec.structs.replace(RULES, canary_share=0.0))
    home.talk(250, TEACHER)
    assert step(home).event_type == "MODEL_DEPLOYED"


def test_two_promotions_are_at_least_a_cool_down_apart(home: Any) -> None:
    rules = msgspec.structs.replace(RULES, canary_share=0.0, cool_down_seconds=86_400.0)
    home.deploy("m1", GOOD)
    home.shadow("m2", MORE, "m1", rules)
    home.talk(250, TEACHER)
    assert step(home) is None
    home.pass_time(days=1)
    assert step(home).event_type == "MODEL_DEPLOYED"


@pytest.mark.parametrize("habit", ["raise", "nan"])
def test_one_that_cannot_be_asked_says_so(home: Any, habit: str) -> None:
    home.deploy("m1", GOOD)
    home.shadow("m2", MORE, "m1", RULES, habit=habit)
    home.talk(60, TEACHER)
    with pytest.raises(DataError, match="m2 cannot be asked"):
        look(home)


class TestPairs:
    """What counts as worse where the teacher's word is known, and where it is not."""

    def pair(self, home: Any, old: dict[str, str], new: dict[str, str], *events: Any) -> list[float]:
        for name, table in (("m1", old), ("m2", new)):
            home.add(*home.train(name, table))
        after = home.store.last_position()
        home.add(*events)
        home.pass_time(minutes=5)
        traffic = fresh_traffic(home.store, "default", after, 60, home.now)
        models = [Model(home.registry.load(m), home.registry.load_certificate(m)) for m in ("m1", "m2")]
        return [p.worse for p in pairs(traffic, *models)]

    def test_an_audit_is_the_teachers_word(self, home: Any) -> None:
        sent = home.decision("where 1", "track", session="a", source="student", model="m1")
        audited = home.audit(sent, "refund", False)
        assert self.pair(home, {"where": "track"}, {"where": "refund"}, sent, audited) == [-1.0]

    def test_without_one_another_call_counts_as_an_error_and_the_same_call_as_none(self, home: Any) -> None:
        sent = home.decision("where 1", "track", session="a", source="student", model="m1")
        assert self.pair(home, {"where": "track"}, {"where": "refund"}, sent) == [1.0]

    def test_the_same_call_and_silence_need_no_label(self, home: Any) -> None:
        sent = home.decision("where 1", "track", session="a", source="student", model="m1")
        assert self.pair(home, {"where": "track"}, {"where": "track"}, sent) == [0.0]
        assert self.pair(
            home, {"where": "track"}, {}, home.decision("where 2", "track", session="b", source="student")
        ) == [0.0]

    def test_an_audit_without_an_answer_is_no_label(self, home: Any) -> None:
        sent = home.decision("where 1", "track", session="a", source="student", model="m1")
        assert self.pair(home, {"where": "track"}, {"where": "refund"}, sent, home.audit(sent, None, None)) == [1.0]

    def test_actions_that_were_stopped_are_not_sent(self, home: Any) -> None:
        home.add(*home.train("m1", GOOD))
        home.talk(1, {"where": "track"})
        home.pass_time(minutes=5)
        fresh = fresh_traffic(home.store, "default", 0, 60, home.now)[0]
        model = Model(home.registry.load("m1"), home.registry.load_certificate("m1"))
        assert model.sends(fresh.decision) is not None
        assert model._replace(stopped={"track"}).sends(fresh.decision) is None

    def test_a_conversation_that_goes_on_does_not_count_yet(self, home: Any) -> None:
        home.talk(3, {"where": "track"})
        assert fresh_traffic(home.store, "default", 0, 60, home.now) == []
        home.pass_time(seconds=61)
        assert len(fresh_traffic(home.store, "default", 0, 60, home.now)) == 3


def test_the_canarys_own_conversations_do_not_count_against_it(home: Any) -> None:
    """What it sends there has no label but for audits; it used to be refused for exactly what it did better."""
    home.deploy("m1", GOOD)
    home.shadow("m2", MORE, "m1", RULES)
    home.talk(250, TEACHER)
    assert step(home).stage == "canary"
    home.add(*(
        event
        for i in range(200)
        for event in (
            home.decision(f"stop {i}", "cancel", session=f"c{i}", source="student", model="m2"),
            home.decision(f"hello {i}", None, session=f"c{i}", model="m2"),
            home.decision(f"hello {i}", None, session=f"d{i}", model="m2"),  # all handed over, and its own all the same
        )
    ))  # fmt: skip
    home.pass_time(minutes=5)
    found = compare_candidate(home.store, home.registry, "default", home.clock)
    assert found.canary_units == 400
    assert (found.comparison.units, found.comparison.errors.mean) == (250, 0.0)


class TestRollBack:
    def test_the_last_good_model_answers_again_with_its_certificate(self, home: Any) -> None:
        for name in ("m1", "m2", "m3"):
            home.deploy(name, GOOD)
        home.revoke("m3")
        assert home.registry.active() is None
        home.add(roll_back(home.store, home.registry, "default", "audits", clock=home.clock))
        active = home.registry.active()
        assert (active.model_id, active.certificate) == ("m2", home.certificate("m2"))
        home.revoke("m2")
        home.add(roll_back(home.store, home.registry, "default", "audits", clock=home.clock))
        assert home.registry.active().model_id == "m1"

    def test_one_whose_files_are_gone_is_passed_over(self, home: Any) -> None:
        for name in ("m1", "m2", "m3"):
            home.deploy(name, GOOD)
        home.revoke("m3")
        shutil.rmtree(home.registry.folder_of("m2"))
        assert roll_back(home.store, home.registry, "default", "audits").to_model_id == "m1"

    def test_where_none_is_left_nothing_answers_and_it_is_said_once(self, home: Any) -> None:
        home.deploy("m1", GOOD)
        home.revoke("m1")
        event = roll_back(home.store, home.registry, "default", "audits", clock=home.clock)
        assert (event.model_id, event.to_model_id) == ("m1", None)
        home.add(event)
        assert home.registry.active() is None
        assert roll_back(home.store, home.registry, "default", "audits") is None

    def test_one_that_was_rolled_back_from_is_no_good_model(self, home: Any) -> None:
        for name in ("m1", "m2"):
            home.deploy(name, GOOD)
        home.add(roll_back(home.store, home.registry, "default", "worse", clock=home.clock))
        assert home.registry.active().model_id == "m1"
        assert last_good(model_states(home.store), "m1") == []
