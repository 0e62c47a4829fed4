"""What goes into a log is redacted and sealed; what comes out is whole, or plainly erased."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.privacy.stored import everything

from ultracore.distillation.errors import EventError, LogError
from ultracore.distillation.events import (
    EVENT_TYPES,
    AgentDecisionEvent,
    AuditRecordedEvent,
    DecisionOutcomeEvent,
    Event,
    RetrainTriggeredEvent,
    TracesImportedEvent,
    codec,
)
from ultracore.distillation.events.base import UnchangingObject
from ultracore.distillation.events.privacy.protection import Protection, Revealed
from ultracore.distillation.events.privacy.seen import Seen
from ultracore.distillation.events.sqlite import SqliteEventStore

CANARY = "canary-7f3a"
FULL: dict[str, Any] = {
    "agent_id": "support", "user_id": f"alice-{CANARY}", "session_id": f"s-{CANARY}", "task": CANARY, "reply": CANARY,
    "context": {"messages": [{"role": "user", "content": CANARY}]}, "tools_available": [{"name": "track"}],
    "tool_selected": "track", "tool_parameters": {"id": CANARY}, "tool_calls": [{"name": "track", "arguments": {"id": CANARY}}],
    "reasoning": CANARY, "teacher_reasoning": CANARY, "outcome": {"result": CANARY}, "origin": {"file": CANARY},
    "serving": {"model_id": "m1", "reason": None, "detail": CANARY}, "confidence": 0.5,
}  # fmt: skip


@pytest.fixture
def protection(tmp_path: Path) -> Protection:
    return Protection(tmp_path / "keys")


def stored(protection: Protection, event: Event) -> Revealed:
    event, counts = protection.clean(event, codec.encode(event), {})
    return protection.protect(event, codec.encode(event), counts)


def read(protection: Protection, kept: Revealed) -> Any:
    metadata, payload = protection.reveal(*kept)
    return codec.decode(metadata, payload)


def test_nothing_personal_is_readable_and_everything_comes_back(protection: Protection) -> None:
    event = AgentDecisionEvent.record(**FULL, correlation_id=f"run-alice-{CANARY}")
    kept = stored(protection, event)
    assert CANARY.encode() not in kept.payload
    assert CANARY not in str(kept.metadata)
    clear = msgspec.json.decode(kept.payload)
    assert {"agent_id", "tool_selected", "tools_available", "confidence"} <= set(clear)
    assert clear["serving"] == {"model_id": "m1", "reason": None}
    back = read(protection, kept)
    assert back.to_dict()["data"] == event.to_dict()["data"]
    assert back.metadata.subject == protection.pseudonym("default", f"alice-{CANARY}")
    assert not back.metadata.erased


def test_an_event_without_a_person_is_sealed_too_and_reads_back_as_it_was(protection: Protection) -> None:
    event = AgentDecisionEvent.record(agent_id="a", context={"text": CANARY})
    kept = stored(protection, event)
    assert CANARY.encode() not in kept.payload
    assert read(protection, kept) == event


def test_an_event_without_personal_fields_is_stored_as_it_is(protection: Protection) -> None:
    event = RetrainTriggeredEvent.record(model_id="m", reason="scheduled")
    assert stored(protection, event) == (event.metadata, codec.encode(event))
    assert not protection.has_keyring


@pytest.mark.parametrize("erase", [{"name": "subject"}, {"before_day": "2999-01-01"}, {"tenant": "default"}])
def test_without_its_key_an_event_is_empty_and_says_so(protection: Protection, erase: dict[str, str]) -> None:
    kept = stored(protection, AgentDecisionEvent.record(**FULL))
    other = stored(protection, AgentDecisionEvent.record(agent_id="a", user_id="bob", context={"x": 1}, tenant_id="t2"))
    chosen = {key: kept.metadata.subject if value == "subject" else value for key, value in erase.items()}
    protection.keyring.destroy(**chosen)  # type: ignore[arg-type]
    back = read(protection, kept)
    assert back.metadata.erased
    assert (back.context, back.tool_parameters, back.user_id, back.reasoning) == ({}, None, None, "")
    assert (back.agent_id, back.tool_selected, back.serving["model_id"]) == ("support", "track", "m1")
    assert read(protection, other).metadata.erased == ("before_day" in erase)


def test_a_field_that_must_be_there_is_empty_when_it_is_erased(protection: Protection) -> None:
    kept = stored(
        protection, TracesImportedEvent.record(data_id="d", file_name=f"{CANARY}.jsonl", decisions=1, duplicates=0)
    )
    assert CANARY.encode() not in kept.payload
    protection.keyring.destroy()
    back = read(protection, kept)
    assert (back.file_name, back.decisions, back.metadata.erased) == ("", 1, True)


def test_what_follows_a_decision_is_the_same_persons(protection: Protection) -> None:
    decision = stored(protection, AgentDecisionEvent.record(**FULL))
    subject = read(protection, decision).metadata.subject
    outcome = stored(
        protection, DecisionOutcomeEvent.record(decision_id="d", success=False, error=CANARY, subject=subject)
    )
    audit = stored(
        protection,
        AuditRecordedEvent.record(
            decision_id="d", model_id="m", action="track", agrees=True, sampling_probability=0.1,
            teacher_calls=[{"name": "track", "arguments": {"id": CANARY}}], subject=f"alice-{CANARY}",
        ),
    )  # fmt: skip
    assert outcome.metadata.subject == audit.metadata.subject == subject
    protection.keyring.destroy(tenant="default", name=subject)
    assert [read(protection, kept).metadata.erased for kept in (decision, outcome, audit)] == [True] * 3


def test_secrets_are_counted_and_gone(protection: Protection) -> None:
    key = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWx0123456789"
    event = AgentDecisionEvent.record(agent_id="a", context={"m": [key, key]}, tool_parameters={"key": key})
    back = read(protection, stored(protection, event))
    assert back.metadata.redacted == {"openai_key": 3}
    assert back.tool_parameters == {"key": "[redacted:openai_key]"}
    assert key not in str(back)


def test_a_number_of_the_events_own_stays_a_number(protection: Protection) -> None:
    event = AgentDecisionEvent.record(agent_id="a", step=4111111111111111, context={"n": 4111111111111111})
    back = read(protection, stored(protection, event))
    assert (back.step, back.context) == (4111111111111111, {"n": "[redacted:card]"})


def test_without_encryption_it_is_readable_but_the_person_is_not_named(tmp_path: Path) -> None:
    plain = Protection(tmp_path / "keys", encrypt=False)
    kept = stored(plain, AgentDecisionEvent.record(**FULL))
    assert CANARY.encode() in kept.payload
    assert CANARY not in str(kept.metadata)
    assert read(plain, kept).context == FULL["context"]
    other = Protection(tmp_path / "keys")
    sealed = stored(other, AgentDecisionEvent.record(**FULL))
    other.persist()
    assert read(plain, sealed).context == FULL["context"]


def test_a_sealed_event_cannot_be_altered_or_moved(protection: Protection) -> None:
    one, two = (stored(protection, AgentDecisionEvent.record(**FULL)) for _ in range(2))
    with pytest.raises(EventError, match="altered or belong"):
        protection.reveal(two.metadata, one.payload)
    fields = msgspec.json.decode(one.payload)
    for broken in ("", "AQ==", fields["$sealed"][:-8] + "AAAAAAA=", "??"):
        with pytest.raises(EventError):
            protection.reveal(one.metadata, msgspec.json.encode({**fields, "$sealed": broken}))


def test_two_equal_events_look_different(protection: Protection) -> None:
    first, second = (stored(protection, AgentDecisionEvent.record(**FULL, event_id="same")) for _ in range(2))
    assert first.payload != second.payload


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3),
)


@given(
    context=st.dictionaries(texts, values, max_size=3),
    user=st.none() | texts,
    serving=st.none() | st.dictionaries(st.sampled_from(["detail", "x"]), values, max_size=2),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_there_and_back_is_the_same(protection: Protection, context: Any, user: str | None, serving: Any) -> None:
    event = AgentDecisionEvent.record(agent_id="a", context=context, user_id=user, serving=serving)
    event, _ = protection.clean(event, codec.encode(event), {})
    assert read(protection, stored(protection, event)).to_dict()["data"] == event.to_dict()["data"]


READABLE = {
    "action", "agent_id", "certificate_id", "certified_fingerprint", "digest", "expires_at", "key_id", "offered_fingerprint", "scope", "tool", "agent_ids", "aggregate_id", "alert_id", "before", "certificate", "content_hash", "data_id", "dataset_id",
    "decision_id", "detector", "environment", "event_ids", "evidence", "files", "hyper_parameters", "message", "method", "metrics",
    "model", "model_id", "model_name", "models", "name", "optimization_method", "parameters", "parent_id", "parts", "prompt_id",
    "reason", "replaces", "role", "serving", "session_id", "severity", "skipped", "source", "status", "subject", "teacher_model", "tier",
    "against", "stage", "rules", "reasons", "agent", "clusters", "actions", "detail", "window", "breaches", "contract_hash",
    "contract_version", "format", "product_id", "sha256", "figures", "question", "run_id", "to_model_id", "tool_selected", "tools_available", "upstream", "usage", "validation_hash", "weights",
}  # fmt: skip
"""Fields that hold names, numbers and our own words; a new field that may hold more belongs into `personal`."""


@pytest.mark.parametrize("cls", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_every_field_that_can_hold_text_is_declared(cls: type[Event]) -> None:
    numbers = (int, float, bool, int | None, float | None, bool | None)
    can_hold_text = {f.name for f in msgspec.structs.fields(cls) if f.type not in numbers} - {"metadata"}
    assert can_hold_text - set(cls.personal) <= READABLE
    assert {name.partition(".")[0] for name in cls.personal} <= {f.name for f in msgspec.structs.fields(cls)}


def test_what_belongs_to_a_person_needs_the_keys_of_person_and_day(protection: Protection) -> None:
    import base64
    import hmac

    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from ultracore.distillation.events.privacy import sealing

    kept = stored(protection, AgentDecisionEvent.record(**FULL))
    sealed = base64.b64decode(msgspec.json.decode(kept.payload)["$sealed"])
    day, person = (protection.keyring.find(sealed[start : start + 8]) for start in (1, 9))
    assert day is not None
    assert person is not None
    about = sealing._about(kept.metadata)
    for secret in (
        day.secret,
        hmac.digest(day.secret, sealing.PURPOSE, "sha256"),
        person.secret,
        protection.keyring.secret,
    ):
        with pytest.raises(InvalidTag):
            AESGCM(secret).decrypt(sealed[17:29], sealed[29:], about)


def test_a_secret_in_what_events_share_is_found_each_time_though_clean_parts_are_looked_at_once(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    key = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWx0123456789"
    clean, secret = ([{"name": "f", "description": f"{word} {'tool ' * 100}"}] for word in ("a", key))
    store.append(
        [AgentDecisionEvent.record(agent_id="a", tools_available=tools) for tools in (clean, secret, clean, secret)]
    )
    counts = [event.metadata.redacted for event in store.read()]
    assert counts == [{}, {"openai_key": 1}, {}, {"openai_key": 1}]
    store.close()
    assert key.encode() not in everything(tmp_path)


def test_without_a_durable_key_nothing_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    with monkeypatch.context() as patch:

        def broken(*_: object) -> None:
            raise LogError("the disk is full")

        patch.setattr(store.protection.keyring, "persist", broken)
        with pytest.raises(LogError, match="disk is full"):
            store.append([AgentDecisionEvent.record(**FULL)])
        assert store.last_position() == 0
    store.append([AgentDecisionEvent.record(**FULL)])
    store.close()
    (found,) = SqliteEventStore(tmp_path / "log.db").read()
    assert found.to_dict()["data"]["reply"] == CANARY


SECRET = "AKIAIOSFODNN7EXAMPLE"
SAID = [
    "hello",
    "my order is 42",
    f"the key is {SECRET}",
    "ignore the key",
    "x" * 300,
    '{"password": "hunter22"}',
    'end {"',
]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(st.lists(st.sampled_from(SAID), max_size=4), min_size=1, max_size=6),
    st.lists(st.sampled_from(SAID), min_size=1, max_size=6),
)
def test_what_was_searched_before_changes_nothing(tmp_path: Path, talks: list[list[str]], replies: list[str]) -> None:
    """One protection sees all events, the other none before each."""
    used = Protection(tmp_path / "used", encrypt=False)
    for talk, reply in zip(talks, replies, strict=False):
        messages = [{"role": "user", "content": text} for text in talk]
        event = AgentDecisionEvent.record(agent_id="a", context={"messages": messages}, reply=reply)
        fresh = Protection(tmp_path / "fresh", encrypt=False)
        assert stored(used, event).payload == stored(fresh, event).payload
        assert SECRET.encode() not in stored(used, event).payload


def test_a_message_is_searched_once(protection: Protection, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[bytes] = []
    look = protection.redactor.suspects
    monkeypatch.setattr(protection.redactor, "suspects", lambda text: searched.append(text) or look(text))
    for text in ("first", "second"):
        said = [{"role": "user", "content": CANARY}, {"role": "assistant", "content": text}]
        stored(protection, AgentDecisionEvent.record(agent_id="a", context={"messages": said}))
    assert CANARY.encode() in searched[0]
    assert CANARY.encode() not in searched[1]
    assert b"second" in searched[1]


def test_without_rules_nothing_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protection = Protection(tmp_path / "keys", redact="off", encrypt=False)
    searched: list[bytes] = []
    monkeypatch.setattr(protection.redactor, "suspects", searched.append)
    stored(protection, AgentDecisionEvent.record(**FULL))
    assert searched == []


SECRET = "sk-live4f9c2e7a1b6d8035aa11bb22cc33dd44"


@pytest.mark.parametrize("where", ["conversation", "reply"])
def test_a_secret_is_found_each_time_inside_and_beside_a_conversation_that_comes_again(
    protection: Protection, where: str
) -> None:
    said = SECRET if where == "conversation" else "hi"
    context = UnchangingObject(messages=[{"role": "user", "content": said}])
    for round_ in range(4):
        reply = SECRET if where == "reply" and round_ % 2 else "fine"
        event = AgentDecisionEvent.record(agent_id="a", context=context, reply=reply)
        cleaned, counts = protection.clean(event, *codec.encode_shared(event))
        assert SECRET not in str(cleaned.to_dict())
        assert bool(counts) == (SECRET in str(event.to_dict()))


def test_a_clean_conversation_is_searched_once(protection: Protection, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[bytes] = []
    suspects = protection.redactor.suspects
    monkeypatch.setattr(protection.redactor, "suspects", lambda text: searched.append(text) or suspects(text))
    context = UnchangingObject(messages=[{"role": "user", "content": CANARY}])
    for number in range(3):
        event = AgentDecisionEvent.record(agent_id=f"agent-{number}", context=context)
        assert protection.clean(event, *codec.encode_shared(event)) == (event, {})
    assert [CANARY.encode() in text for text in searched] == [True, False, False]
    assert all(f"agent-{number}".encode() in text for number, text in enumerate(searched))


def test_a_conversation_that_was_searched_is_cut_out_whole() -> None:
    text = b'{"messages":[{"content":"hi"}]}'
    seen, payload, known = Seen(), b'{"context":%s,"reply":"yes"}' % text, [("ab" * 32, text)]
    first = seen.unseen(payload, (), known)
    assert first.text == payload
    seen.add(first.digests)
    assert seen.unseen(payload, (), known).text == b'{"context":{},"reply":"yes"}'
