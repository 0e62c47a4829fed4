"""Every fact in words, on one line, with nothing that a terminal would obey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ultracore.distillation.events import (
    EVENT_TYPES,
    AgentDecisionEvent,
    AuditRecordedEvent,
    Event,
    GatewayPausedEvent,
    GatewayResumedEvent,
    UpstreamAttemptedEvent,
)
from ultracore.distillation.log.words import _WORDS, in_words, plain

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "events").glob("*.json"))


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_every_fact_has_words(file: Path) -> None:
    words = in_words(Event.from_dict(json.loads(file.read_text(encoding="utf-8"))))
    assert words
    assert words.isprintable()


def test_no_type_of_event_is_only_shown_as_its_data() -> None:
    assert set(EVENT_TYPES) == set(_WORDS)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (GatewayPausedEvent.record(), "everything goes to the teacher"),
        (GatewayPausedEvent.record(reason="incident 12"), "everything goes to the teacher: incident 12"),
        (GatewayResumedEvent.record(), "the student answers again what it may"),
    ],
)
def test_a_reason_is_told_where_there_is_one(event: Event, words: str) -> None:
    assert in_words(event) == words


def decision(**data: Any) -> str:
    return in_words(AgentDecisionEvent.record(agent_id="support", **data))


def test_a_decision_says_who_did_what_and_why() -> None:
    call = {"tool_selected": "track", "tool_parameters": {"order": 17}}
    assert decision(**call, teacher_model="gpt") == "support: gpt called track(order=17)"
    assert decision(tool_selected="track") == "support: the teacher called track(?)"
    assert decision(reply="Good morning") == 'support: the teacher replied "Good morning"'
    assert (
        decision(**call, reasoning="they asked") == 'support: the teacher called track(order=17) because "they asked"'
    )
    served = decision(**call, source="student", confidence=0.974, serving={"model_id": "m1"})
    assert served == "support: the student called track(order=17) (confidence 0.97, model m1)"
    escalated = decision(**call, serving={"model_id": "m1", "reason": "low_confidence"})
    assert escalated == "support: the teacher called track(order=17) (escalated: low_confidence)"
    two = [{"name": "a", "arguments": {}}, {"name": "b", "arguments": None}]
    assert decision(tool_calls=two, source="import") == "support: a teacher (imported) called a() and b(?)"


def test_an_audit_and_an_attempt_say_how_they_ended() -> None:
    audit = AuditRecordedEvent.record(
        decision_id="d", model_id="m", action="track", agrees=False, sampling_probability=0.05,
        teacher_calls=[{"name": "cancel", "arguments": {"order": 1}}],
    )  # fmt: skip
    assert in_words(audit) == "audit of decision d (track): the teacher differs, it would call cancel(order=1)"
    attempt = UpstreamAttemptedEvent.record(
        decision_id="d",
        role="answer",
        model="gpt",
        status="error",
        duration_ms=1234.5,
        http_status=429,
        error="slow down",
    )
    assert in_words(attempt) == "gpt asked for decision d (answer, attempt 1): error 429 after 1,234 ms: slow down"


def test_a_type_without_words_shows_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultracore.distillation.log.words._WORDS", {})
    assert decision(tool_selected="f").startswith('agent_id="support", tool_selected="f"')


@pytest.mark.parametrize("hostile", ["\x1b[31mred", "a\nb", "\u202eright to left", "\x00", "\x9b31m"])
def test_what_a_terminal_would_obey_is_shown_not_sent(hostile: str) -> None:
    assert plain(hostile).isprintable()
    assert decision(reply=hostile).isprintable()
    assert decision(tool_selected="f", tool_parameters={hostile: hostile}).isprintable()


def test_long_text_is_cut() -> None:
    assert len(plain("x" * 10_000, 50)) == 50
    assert len(decision(tool_selected="f", tool_parameters={"x": "y" * 10_000})) < 300
