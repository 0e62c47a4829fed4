"""The live figures are those of the log: counted once, by tenant and window, with nothing in them that is a person's."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from benchmarks.traffic import STUDENT, lifecycle, traffic

from ultracore.distillation.dashboard.agreement import LiveAgreement
from ultracore.distillation.dashboard.figures import KEPT_DECISIONS, STORY, TRIM_EVERY, LiveFigures
from ultracore.distillation.dashboard.live import Live
from ultracore.distillation.dashboard.overview import Overview
from ultracore.distillation.dashboard.reading import WINDOWS, overview
from ultracore.distillation.errors import LogError
from ultracore.distillation.events import (
    EVENT_TYPES,
    AgentDecisionEvent,
    AlertRaisedEvent,
    AlertResolvedEvent,
    AuditRecordedEvent,
    DecisionOutcomeEvent,
    Event,
    EventStore,
    UpstreamAttemptedEvent,
)
from ultracore.distillation.events.projection import Projector, project
from ultracore.distillation.settings import Settings
from ultracore.distillation.watch.audits import Audits

from .conftest import DECISIONS

NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
PATIENCE = 60.0


def figures(store: EventStore, window: str = "24h", tenant: str = "default", now: datetime = NOW) -> dict[str, Any]:
    return overview(project(store, LiveFigures()), tenant, window, now, 0.9)


def of(kind: type[Any], events: list[Event], **values: Any) -> list[Any]:
    found = [event for event in events if isinstance(event, kind)]
    return [e for e in found if all(getattr(e, name) == value for name, value in values.items())]


def test_totals_are_those_of_the_log(store: EventStore, busy: list[Event]) -> None:
    sent = of(AgentDecisionEvent, busy, source="student")
    teacher = of(AgentDecisionEvent, busy, source="teacher")
    audits = of(AuditRecordedEvent, busy)
    agreeing = [audit for audit in audits if audit.agrees]
    totals = figures(store)["totals"]
    assert (totals["sent"], totals["teacher"]) == (len(sent), len(teacher))
    assert totals["coverage"] == len(sent) / (len(sent) + len(teacher))
    assert (totals["audits"], totals["labelled"], totals["agreeing"]) == (len(audits), len(audits), len(agreeing))
    assert totals["agreement"] == pytest.approx(len(agreeing) / len(audits))
    assert totals["calls_saved"] == len(sent) - len(audits)
    asked = of(UpstreamAttemptedEvent, busy)
    assert totals["spent"] == pytest.approx(sum(a.cost_usd for a in asked))
    assert totals["dollars_saved"] == pytest.approx(0.004 * (len(sent) - len(audits)))


def test_reasons_tools_and_agents_add_up(store: EventStore, busy: list[Event]) -> None:
    found, decisions = figures(store), of(AgentDecisionEvent, busy)
    assert {r["reason"]: r["n"] for r in found["reasons"]} == Counter(
        e.serving["reason"] for e in decisions if e.serving["reason"]
    )
    assert {r["tool"]: r["decisions"] for r in found["tools"]} == Counter(e.tool_selected for e in decisions)
    assert {r["agent"]: r["decisions"] for r in found["agents"]} == Counter(e.agent_id for e in decisions)
    assert sum(r["sent"] for r in found["series"]) == found["totals"]["sent"]
    assert len(found["series"]) == 25
    by_tool = Counter(e.action for e in of(AuditRecordedEvent, busy))
    assert {r["tool"]: r["labelled"] for r in found["tools"] if r["labelled"]} == by_tool


def test_latency_is_that_of_the_answers(store: EventStore, busy: list[Event]) -> None:
    by_student = {e.metadata.event_id for e in of(AgentDecisionEvent, busy, source="student")}
    took = sorted(e.execution_time_ms for e in of(DecisionOutcomeEvent, busy) if e.decision_id in by_student)
    found = figures(store)["latency"]["student"]
    assert found["n"] == len(took)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert found[name] == pytest.approx(took[int(share * len(took) - 1e-9)], rel=0.1)


def test_an_answer_ends_once_and_is_then_forgotten(store: EventStore, busy: list[Event]) -> None:
    again = of(DecisionOutcomeEvent, busy)[0]
    store.append([DecisionOutcomeEvent.record(decision_id=again.decision_id, success=True, execution_time_ms=1.0)])
    state = project(store, LiveFigures())
    assert next(state.execute("SELECT count(*) FROM pending"))[0] == 0
    assert sum(row["n"] for row in figures(store)["latency"].values()) == DECISIONS


def test_an_answer_that_failed_has_no_latency(store: EventStore) -> None:
    (decision, *_), *_ = traffic(1, NOW, timedelta(0), coverage=1.0)
    failed = {"success": False, "status": "error", "execution_time_ms": 30_000.0, "timestamp": NOW}
    store.append([decision, DecisionOutcomeEvent.record(decision_id=decision.metadata.event_id, **failed)])
    assert figures(store)["latency"] == {}


def test_each_label_is_weighted_by_its_chance(store: EventStore) -> None:
    def audit(agrees: bool | None, probability: float) -> Event:
        return AuditRecordedEvent.record(
            decision_id="d", model_id="m", action="a", agrees=agrees, sampling_probability=probability, timestamp=NOW
        )

    store.append([audit(True, 0.1), audit(False, 1.0), audit(False, 1.0), audit(None, 0.1)])
    totals = figures(store)["totals"]
    assert totals["agreement"] == pytest.approx(10 / 12)  # 1 of 3 without weights
    assert (totals["audits"], totals["labelled"]) == (4, 3)


def test_an_unknown_price_makes_savings_unknown(store: EventStore) -> None:
    def asked(role: str, cost: float | None) -> Event:
        return UpstreamAttemptedEvent.record(
            decision_id="d", role=role, model="m", status="ok", duration_ms=1.0, cost_usd=cost, timestamp=NOW
        )

    store.append([asked("answer", 0.5), asked("audit", 0.5)])
    assert figures(store)["totals"]["dollars_saved"] == -0.5
    store.append([asked("audit", None)])
    totals = figures(store)["totals"]
    assert (totals["dollars_saved"], totals["unpriced"], totals["price"]) == (None, 1, 0.5)


def test_another_tenants_rows_are_not_seen(store: EventStore) -> None:
    hour = timedelta(hours=1)
    store.append(e for group in traffic(50, NOW - hour, hour, tenant="acme") for e in group)
    store.append(lifecycle(NOW - hour, tenant="acme"))
    nothing = figures(store)
    assert nothing["totals"]["decisions"] == 0
    assert [nothing[name] for name in ("tools", "agents", "models", "timeline", "drift", "alerts", "recent")] == [
        []
    ] * 7
    assert nothing["model"] is None
    theirs = figures(store, tenant="acme")
    assert theirs["totals"]["decisions"] == 50
    assert theirs["model"]["model_id"] == STUDENT


@pytest.mark.parametrize(("window", "seen"), [("1h", 1), ("24h", 2), ("7d", 3), ("30d", 4), ("all", 5)])
def test_a_window_sees_what_happened_in_it(store: EventStore, window: str, seen: int) -> None:
    for i, days in enumerate((0.02, 0.5, 5, 20, 90)):
        at = NOW - timedelta(days=days)
        store.append(e for group in traffic(1, at, timedelta(0), seed=i) for e in group)
    found = figures(store, window)
    assert found["totals"]["decisions"] == seen
    assert sum(row["sent"] + row["teacher"] for row in found["series"]) == seen
    if window != "all":
        slots = [row["slot"] for row in found["series"]]
        assert slots == sorted(set(slots))
        assert slots[-1] == NOW.isoformat()[: WINDOWS[window].digits]


def test_minutes_and_decisions_are_kept_for_a_while_only(store: EventStore) -> None:
    hours = timedelta(hours=12)
    events = [e for group in traffic(3 * TRIM_EVERY, NOW - hours, hours) for e in group]
    store.append(events)
    state = project(store, LiveFigures())
    minutes = [slot for (slot,) in state.execute("SELECT slot FROM decided WHERE unit = 'minute'")]
    assert min(minutes) >= (NOW - timedelta(hours=3)).isoformat()[:16]
    assert KEPT_DECISIONS <= next(state.execute("SELECT count(*) FROM recent"))[0] < KEPT_DECISIONS + TRIM_EVERY
    latest = of(AgentDecisionEvent, events)[-1]
    assert figures(store)["recent"][0]["id"] == latest.metadata.event_id


def test_alerts_open_and_close(store: EventStore) -> None:
    raised = {"name": "latency", "severity": "warning", "message": "slow", "timestamp": NOW}
    store.append([AlertRaisedEvent.record(alert_id=name, **raised) for name in ("a", "b")])
    store.append([AlertResolvedEvent.record(alert_id="a", reason="fast again", timestamp=NOW)])
    assert [(a["id"], a["resolved"] is None) for a in figures(store)["alerts"]] == [("b", True), ("a", False)]


def test_the_timeline_tells_of_models_and_holds_nothing_of_a_person(store: EventStore, busy: list[Event]) -> None:
    found = figures(store)["timeline"]
    assert [row["type"] for row in found[:3]] == ["MODEL_DEPLOYED", "CERTIFICATE_DECIDED", "MODEL_TRAINED"]
    assert "answers now" in found[0]["words"]
    assert not any(cls.personal for cls in STORY)
    assert {"MODEL_ROLLED_BACK", "CERTIFICATE_REVOKED", "ALERT_RAISED"} <= {cls.event_type for cls in STORY}
    assert {cls.event_type for cls in STORY} < EVENT_TYPES.keys()


def test_no_text_of_a_conversation_reaches_the_file(store: EventStore, busy: list[Event], tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    projector = Projector(store, LiveFigures(), path)
    projector.catch_up()
    projector.export(tmp_path / "whole.db")
    projector.close()
    decision = of(AgentDecisionEvent, busy)[0]
    said = decision.context["messages"][0]["content"].encode()
    assert decision.metadata.event_id.encode() not in said
    assert said not in (tmp_path / "whole.db").read_bytes()


def test_what_passed_no_gateway_is_not_counted(store: EventStore) -> None:
    told = AgentDecisionEvent.record(agent_id="a", tool_selected="t", timestamp=NOW)
    ended = DecisionOutcomeEvent.record(
        decision_id=told.metadata.event_id, success=True, execution_time_ms=5.0, timestamp=NOW
    )
    store.append([told, ended])
    found = figures(store)
    assert found["totals"]["decisions"] == 0
    assert found["latency"] == {}


def test_figures_follow_the_log_and_say_how_far(store: EventStore, busy: list[Event], tmp_path: Path) -> None:
    view = Overview(store, Settings(home=str(tmp_path / "home")), lambda: NOW)
    first = view.read("default", patience=PATIENCE)
    assert first["log"] == {"position": len(busy), "last": len(busy), "problem": ""}
    store.append(e for group in traffic(5, NOW, timedelta(minutes=1), seed=9) for e in group)
    second = view.read("default", patience=PATIENCE)
    assert second["totals"]["decisions"] == first["totals"]["decisions"] + 5
    assert {k: v for k, v in second.items() if k not in ("log", "agreement")} == figures(store)


def test_bounds_are_those_of_the_watch(store: EventStore, busy: list[Event], tmp_path: Path) -> None:
    view = Overview(store, Settings(home=str(tmp_path / "home")), lambda: NOW)
    known = view.read("default", patience=PATIENCE)["agreement"]
    audits = of(AuditRecordedEvent, busy)
    watched = Audits(0.93)
    for event in store.read(types=Audits.types):
        watched.apply(event)
    assert known == [msgspec.to_builtins(each) for each in watched.agreement("default", STUDENT)]
    assert known[0]["labelled"] == len(audits)
    assert known[0]["lower"] < known[0]["agreement"] < known[0]["upper"]
    more = of(AuditRecordedEvent, [e for g in traffic(60, NOW, timedelta(0), seed=3, audit_rate=1.0) for e in g])
    store.append(more)
    assert view.read("default", patience=PATIENCE)["agreement"][0]["labelled"] == len(audits) + len(more)


def test_the_teachers_calls_of_an_audit_are_not_kept(store: EventStore) -> None:
    secret = {"name": "transfer", "arguments": {"to": "Ann Example"}}
    audit = AuditRecordedEvent.record(
        decision_id="d", model_id="m", action="a", agrees=False, sampling_probability=1.0, teacher_calls=[secret],
        subject="ann", timestamp=NOW,
    )  # fmt: skip
    store.append([audit])
    ((kept,),) = project(store, LiveFigures()).execute("SELECT event FROM watched").fetchall()
    assert b"Ann" not in kept
    known = Event.from_dict(msgspec.json.decode(kept))
    assert (known.agrees, known.metadata.subject) == (False, None)  # type: ignore[attr-defined]


def test_bounds_are_not_told_before_all_audits_are_read(store: EventStore, busy: list[Event]) -> None:
    live = LiveAgreement(0.93)
    assert live.of("default", STUDENT) is None
    live.catch_up(project(store, LiveFigures()))
    assert live.of("default", STUDENT)


class Unreadable:
    """A log that is gone."""

    def last_position(self) -> int:
        raise LogError("the disk is gone")


def test_a_log_that_cannot_be_read_is_said_not_raised(tmp_path: Path) -> None:
    store: Any = Unreadable()
    found = Overview(store, Settings(home=str(tmp_path)), lambda: NOW).read("default", patience=PATIENCE)
    assert found["log"]["problem"] == "the disk is gone"
    assert found["totals"]["coverage"] is None


def test_figures_go_on_after_an_erasure_deleted_their_file(store: EventStore, tmp_path: Path) -> None:
    overview = Overview(store, Settings(home=str(tmp_path)))
    store.append([AgentDecisionEvent.record(agent_id="a", serving={"reason": "no_model"})])
    assert overview.read("default", "all", PATIENCE)["totals"]["decisions"] == 1
    shutil.rmtree(tmp_path / "projections")
    store.append([AgentDecisionEvent.record(agent_id="a", serving={"reason": "no_model"})])
    assert overview.read("default", "all", PATIENCE)["totals"]["decisions"] == 2


def test_what_stops_the_figures_is_said(store: EventStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def locked(_: apsw.Connection) -> None:
        raise apsw.BusyError("database is locked")

    live = Live(store, LiveFigures(), tmp_path / "live.db", [locked])
    live.follow(PATIENCE)
    with live.reading() as (_, progress):
        assert "database is locked" in progress.problem
    assert "do not follow the log: BusyError" in caplog.text
