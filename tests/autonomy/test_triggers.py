"""When a training is due, and when the cap says not yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ultracore.distillation.autonomy.rules import RetrainRules
from ultracore.distillation.autonomy.situation import Alarm, Situation, Situations
from ultracore.distillation.autonomy.triggers import capped, due
from ultracore.distillation.events import DriftDetectedEvent, LoopDecidedEvent, RetrainTriggeredEvent
from ultracore.distillation.tools import REPLY

NOW = datetime(2026, 11, 10, tzinfo=UTC)
RULES = RetrainRules(first_decisions=500, new_decisions=5000, after_change=200)
CALM = Situation(labelled=9000, new=10, tools={"track": 10}, trained_at="2026-11-09T00:00:00+00:00")


def reason(seen: Situation, rules: RetrainRules = RULES, known: Any = ("track",)) -> str | None:
    found = due(seen, rules, known, NOW)
    return found and found.reason


def test_nothing_is_due_on_a_calm_day() -> None:
    assert reason(CALM) is None


def test_the_first_training_needs_enough_decisions() -> None:
    assert reason(Situation(labelled=499), known=None) is None
    assert reason(Situation(labelled=500), known=None) == "enough_decisions"


@pytest.mark.parametrize("name", ["accuracy_drop", "drift_detected"])
def test_an_alarm_waits_for_decisions_that_show_what_is_new(name: str) -> None:
    assert reason(CALM._replace(alarms=(Alarm(name, "why", 199),))) is None
    assert reason(CALM._replace(alarms=(Alarm(name, "why", 200),))) == name


def test_new_tools_are_learned_but_not_in_the_middle_of_an_alarm() -> None:
    strange = CALM._replace(tools={"verify": 100, "track": 10}, new=110)
    assert reason(strange) == "new_tools"
    assert reason(strange._replace(tools={"verify": 99})) is None
    assert reason(strange._replace(tools={REPLY: 1000})) is None
    assert reason(strange._replace(alarms=(Alarm("accuracy_drop", "why", 10),))) is None


def test_enough_new_decisions_are_a_reason() -> None:
    assert reason(CALM._replace(new=4999)) is None
    assert reason(CALM._replace(new=5000)) == "enough_decisions"


def test_age_and_schedule() -> None:
    old = CALM._replace(trained_at="2026-10-01T00:00:00+00:00")
    assert reason(old) is None  # stale, but nothing new to learn
    assert reason(old._replace(new=200)) == "stale"
    assert reason(CALM, RetrainRules(schedule_hours=24.0)) == "scheduled"
    assert reason(CALM, RetrainRules(schedule_hours=25.0)) is None


def test_the_cap() -> None:
    at = [(NOW - timedelta(hours=h)).isoformat() for h in (20, 15, 10, 8, 5, 2)]
    assert capped(Situation(asked=()), RULES, NOW) == ""
    assert "in 24 hours, the most allowed" in capped(Situation(asked=tuple(at)), RULES, NOW)
    assert capped(Situation(asked=tuple(at[1:])), RULES, NOW) == ""
    assert "less than 1 hours ago" in capped(Situation(asked=(NOW.isoformat(),)), RULES, NOW)
    assert capped(Situation(asked=("2026-11-09T23:00:00+00:00",)), RULES, NOW) == ""


class TestSituation:
    """What the log says, counted once and kept in a file that may be deleted."""

    def now(self, home: Any) -> Situation:
        situations = Situations(home.store, home.folder / "state")
        try:
            return situations.now("default")
        finally:
            situations.close()

    def test_labels_come_from_the_teacher_and_from_audits_only(self, home: Any) -> None:
        sent = [home.decision(f"where {i}", "track", session="s", source="student", model="m1") for i in range(3)]
        imported = home.decision("where", "track", session="s", source="import")
        home.add(imported, *sent, home.audit(sent[0], "refund", False), home.audit(sent[1], None, None))
        home.talk(2, {"money": "refund", "hello": ""})
        seen = self.now(home)
        assert (seen.labelled, seen.tools) == (5, {"refund": 3, REPLY: 2})

    def test_an_alarm_counts_from_its_first_event_until_a_training_is_asked_for(self, home: Any) -> None:
        home.talk(5, {"where": "track"})
        home.revoke("m1", "track")
        home.talk(7, {"where": "track"})
        home.revoke("m1", "refund")
        assert [(a.reason, a.labelled) for a in self.now(home).alarms] == [("accuracy_drop", 7)]
        assert "track" in self.now(home).alarms[0].words
        drift = {"detector": "d", "drift_score": 0.2, "threshold": 0.1, "reference_count": 1, "recent_count": 1}
        home.add(DriftDetectedEvent.record(model_id="m1", clock=home.clock, **drift))
        home.add(RetrainTriggeredEvent.record(model_id="m1", reason="accuracy_drop", clock=home.clock))
        seen = self.now(home)
        assert (seen.alarms, seen.new, seen.labelled, seen.owed) == ((), 0, 12, True)
        assert len(seen.asked) == 1

    def test_a_training_that_failed_is_still_owed_until_it_ends_or_is_given_up(self, home: Any) -> None:
        def trainer(action: str) -> Any:
            return LoopDecidedEvent.record(agent="model_trainer", action=action, clock=home.clock)

        home.add(RetrainTriggeredEvent.record(model_id="", reason="enough_decisions", clock=home.clock))
        home.add(trainer("failed"), trainer("failed"))
        assert (self.now(home).owed, self.now(home).failures) == (True, 2)
        home.add(trainer("give_up"))
        assert not self.now(home).owed
        home.add(RetrainTriggeredEvent.record(model_id="", reason="scheduled", clock=home.clock))
        assert (self.now(home).owed, self.now(home).failures) == (True, 0)
        home.add(*home.train("m1", {"where": "track"}))
        assert not self.now(home).owed

    def test_it_is_the_same_from_a_file_and_from_the_start(self, home: Any) -> None:
        situations = Situations(home.store, home.folder / "state")
        for _ in range(3):
            home.talk(2, {"where": "track"})
            situations.now("default")
        home.revoke("m1")
        kept = situations.now("default")
        situations.close()
        (home.folder / "state" / "loop.db").unlink()
        assert self.now(home) == kept
