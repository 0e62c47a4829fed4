"""`distill watch`: tables for a person, JSON for a program, and an exit code for a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation.events import AuditRecordedEvent, CertificateDecidedEvent, Event, ModelDeployedEvent
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.students.certificate import Certificate


def deployed() -> list[Event]:
    certificate = Certificate(certified=True, model_id="m", thresholds={"track": 0.5, "refund": 0.5})
    figures = {"model_size": 1, "accuracy_vs_teacher": 1.0, "latency_ms": 1.0, "cost_per_request_usd": 0.0}
    return [
        CertificateDecidedEvent.record(model_id="m", certified=True, certificate=msgspec.to_builtins(certificate)),
        ModelDeployedEvent.record(model_id="m", model_name="m", training_duration_hours=0.1, **figures),
    ]


def audits(action: str, n: int, *, agrees: bool) -> Iterator[Event]:
    for k in range(n):
        told = {"model_id": "m", "action": action, "agrees": agrees, "sampling_probability": 0.05, "agent_id": "bot"}
        yield AuditRecordedEvent.record(decision_id=f"d{k}", **told)


@pytest.fixture
def store(home: Path) -> Any:
    return open_store(home)


def test_a_good_student_is_shown_and_the_exit_code_is_0(distill: Any, store: Any) -> None:
    store.append([*deployed(), *audits("track", 60, agrees=True)])
    outcome = distill("watch")
    assert outcome.code == 0, outcome.err
    assert "action track" in outcome.out
    assert "no alert is open" in outcome.out
    assert "Traceback" not in outcome.err


def test_what_follows_is_appended_once_and_told_by_the_exit_code(distill: Any, store: Any) -> None:
    store.append([*deployed(), *audits("refund", 100, agrees=True), *audits("track", 30, agrees=False)])
    outcome = distill("watch", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 1
    assert [event["metadata"]["event_type"] for event in found["appended"]][:1] == ["CERTIFICATE_REVOKED"]
    assert {row["kind"] for row in found["agreement"]} <= {"all", "action", "agent"}
    assert json.loads(distill("watch", "--json").out)["appended"] == []


def test_names_are_neither_markup_nor_terminal_commands(distill: Any, store: Any) -> None:
    store.append([*deployed(), *audits("refund", 100, agrees=True), *audits("[/b]\x1b[31m", 30, agrees=False)])
    outcome = distill("watch")
    assert outcome.code == 1, outcome.err
    assert "[/b]\\x1b[31m" in outcome.out
    assert "\x1b" not in outcome.out


def test_without_a_log_it_says_what_to_do(distill: Any) -> None:
    outcome = distill("watch")
    assert (outcome.code, "distill run" in outcome.err) == (2, True)


def test_another_tenant_sees_nothing_of_it(distill: Any, store: Any) -> None:
    store.append([*deployed(), *audits("track", 30, agrees=False)])
    outcome = distill("watch", "--tenant", "acme")
    assert outcome.code == 0
    assert "no model answers" in outcome.out


def test_an_address_that_cannot_be_used_is_a_clear_error(
    distill: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(deployed())
    monkeypatch.setenv("DISTILL_ALERT_WEBHOOK", "ftp://secret")
    outcome = distill("watch")
    assert (outcome.code, "DISTILL_ALERT_WEBHOOK" in outcome.err, "secret" in outcome.err) == (2, True, False)
