"""From a decision back to what its model learned from; texts only for those who may read them, other tenants' never."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from benchmarks.traffic import STUDENT, lifecycle, traffic

from ultracore.distillation.dashboard.drill import ROWS, Drill
from ultracore.distillation.events import (
    AgentDecisionEvent,
    CertificateDecidedEvent,
    DatasetManifestEvent,
    Event,
    EventStore,
)
from ultracore.distillation.log.words import in_words
from ultracore.distillation.serve.keys import Key, Scope
from ultracore.distillation.serve.wire import RequestError

from .conftest import NOW

HOUR = timedelta(hours=1)


def decisions(n: int, seed: int = 0, **changes: Any) -> list[Event]:
    return [event for group in traffic(n, NOW - HOUR, HOUR, seed=seed, **changes) for event in group]


def by_student(events: list[Event]) -> AgentDecisionEvent:
    return next(e for e in events if isinstance(e, AgentDecisionEvent) and e.source == "student")


@pytest.fixture
def learned(store: EventStore) -> list[str]:
    """What the model learned from: decisions that are in the log before it."""
    before = [e for e in decisions(60, seed=5) if isinstance(e, AgentDecisionEvent)]
    store.append(before)
    ids = [e.metadata.event_id for e in before]
    store.append(lifecycle(NOW - HOUR, rows=ids))
    return ids


def test_a_decision_leads_to_model_certificate_and_rows(store: EventStore, learned: list[str]) -> None:
    events = decisions(30)
    store.append(events)
    decision = by_student(events)
    found = Drill(store).follow("default", decision.metadata.event_id, texts=True)
    assert found["decision"]["tool"] == decision.tool_selected
    assert found["decision"]["messages"][0]["text"] == decision.context["messages"][0]["content"]
    assert found["model"]["model_id"] == STUDENT
    assert found["certificate"]["target"] == 0.93
    assert found["dataset"] == {"dataset_id": "d-2026", "rows": len(learned), "parts": {"train": len(learned)}}
    assert [row["id"] for row in found["rows"]] == learned[:ROWS]
    assert found["rows"][0]["words"] == in_words(next(iter(store.read(aggregate=learned[0]))))


def test_a_context_that_is_no_conversation_is_shown_all_the_same(store: EventStore) -> None:
    event = AgentDecisionEvent.record(agent_id="a", context={"messages": "hello"})
    store.append([event])
    shown = Drill(store).follow("default", event.metadata.event_id, texts=True)["decision"]
    assert [message["role"] for message in shown["messages"]] == ["context"]


def test_rows_come_a_page_at_a_time(store: EventStore, learned: list[str]) -> None:
    events = decisions(30)
    store.append(events)
    receipt = by_student(events).metadata.event_id
    pages = [Drill(store).follow("default", receipt, texts=False, offset=at)["rows"] for at in (0, 20, 40, 60)]
    assert [row["id"] for page in pages for row in page] == learned


def test_without_the_scope_no_text_is_told(store: EventStore, learned: list[str]) -> None:
    events = decisions(30)
    store.append(events)
    decision = by_student(events)
    said = decision.context["messages"][0]["content"]
    source, parameters = Drill(store).source, {"id": decision.metadata.event_id}

    def ask(scope: Scope) -> str:
        return str(source.read(Key(key_id="k", tenant="default", scope=scope), parameters))

    assert said in ask(Scope.ADMIN)
    assert "please" not in ask(Scope.READ)
    assert str(decision.tool_parameters["account"]) not in ask(Scope.READ)  # type: ignore[index]
    assert STUDENT in ask(Scope.READ)
    assert "'words'" in ask(Scope.ADMIN)
    assert "'words'" not in ask(Scope.READ)  # neither of events nor of training rows


def test_the_certificate_is_that_of_the_time(store: EventStore, learned: list[str]) -> None:
    events = decisions(30)
    store.append(events)
    refused = {"target": 0.93, "reason": "later traffic differs"}
    store.append([CertificateDecidedEvent.record(model_id=STUDENT, certified=False, certificate=refused)])
    found = Drill(store).follow("default", by_student(events).metadata.event_id, texts=False)
    assert found["certificate"]["certified"]


def test_another_tenants_decisions_and_rows_are_as_good_as_none(store: EventStore, learned: list[str]) -> None:
    theirs = decisions(30, seed=1, tenant="acme")
    store.append(theirs)
    receipt = by_student(theirs).metadata.event_id
    with pytest.raises(RequestError, match="no such decision"):
        Drill(store).follow("default", receipt, texts=True)
    assert Drill(store).follow("acme", receipt, texts=True)["model"] is None  # the model is not theirs
    store.append(lifecycle(NOW - HOUR, tenant="acme", rows=learned[:5]))
    store.append(lifecycle(NOW - HOUR, rows=learned))  # a data set of the same name, but not theirs
    later = decisions(30, seed=2, tenant="acme")
    store.append(later)
    found = Drill(store).follow("acme", by_student(later).metadata.event_id, texts=True)
    assert found["dataset"]["rows"] == 5
    assert {row["words"] for row in found["rows"]} == {"not in this log"}
    assert {row["tool"] for row in found["rows"]} == {None}


@pytest.mark.parametrize("receipt", ["", "nothing", "'; DROP TABLE events; --"])
def test_what_is_no_decision_is_not_found(store: EventStore, receipt: str) -> None:
    with pytest.raises(RequestError) as refused:
        Drill(store).follow("default", receipt, texts=True)
    assert refused.value.status == 404


@pytest.mark.parametrize("offset", ["-1", "x", "9" * 30, ""])
def test_an_offset_is_a_number(store: EventStore, offset: str) -> None:
    with pytest.raises(RequestError) as refused:
        Drill(store).source.read(Key(key_id="k", tenant="default", scope=Scope.READ), {"id": "x", "offset": offset})
    assert refused.value.status == 400


def test_a_manifest_written_twice_counts_once(store: EventStore, learned: list[str]) -> None:
    again = {"event_ids": learned, "parts": ["train"] * len(learned), "weights": [1.0] * len(learned)}
    store.append([DatasetManifestEvent.record(dataset_id="d-2026", chunk=0, chunks=1, **again)])
    events = decisions(30)
    store.append(events)
    found = Drill(store).follow("default", by_student(events).metadata.event_id, texts=False)
    assert found["dataset"]["rows"] == len(learned)
