"""Attempts and outcomes that repeat one another are stored as if each had been encoded and searched by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation.agreement import NO_COMPARATORS
from ultracore.distillation.events import Event
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.rows import event_of, row_of
from ultracore.distillation.serve.dialect import CHAT
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.gate import Escalate, Reason
from ultracore.distillation.serve.offer import read_offer
from ultracore.distillation.serve.upstream.attempts import asked
from ultracore.distillation.serve.upstream.calls import Attempt
from ultracore.distillation.serve.upstream.prices import Prices

SECRET = "AKIAIOSFODNN7EXAMPLE"  # the vendor's own example
NESTED = {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": None}}


@pytest.fixture
def protection(tmp_path: Path) -> Protection:
    return Protection(tmp_path)


def exchange(fakes: Any, number: int, user: str | None = None) -> Exchange:
    body = json.dumps(fakes.chat(**({"user": user} if user else {}))).encode()
    request = CHAT.parse(body)
    return Exchange(
        dialect=CHAT, request=request, offer=read_offer(request.tools), verdict=Escalate(Reason.FORCED),
        receipt=f"{number:032x}", session="s", agent_id="a", tenant="acme", model_id="", certificate_id="",
        comparators=NO_COMPARATORS, audit_share=0.0, started=0.0, clock=utc_now,
    )  # fmt: skip


def attempt(number: int, **changes: Any) -> Attempt:
    known: dict[str, Any] = {"upstream": "u", "number": 1, "status": "ok", "http_status": 200, "started": 0.0}
    return Attempt(**(known | {"sent": True, "duration_ms": 1.5 * number} | changes))


def no_part(key: str) -> bytes:
    raise KeyError(key)


def stored(event: Event, protection: Protection) -> bytes:
    return row_of(event, protection).row.payload


def read(event: Event, protection: Protection) -> Event:
    return event_of(1, row_of(event, protection).row, no_part, protection)


@pytest.mark.parametrize("usage", [None, {"total_tokens": 7}, NESTED, {"a": {"b": {"c": 1}}}, {"n": 1.5, "s": "text"}])
@pytest.mark.parametrize("problem", [{}, {"status": "error", "http_status": 429, "error": "as we say it"}])
def test_each_is_what_was_noted(fakes: Any, protection: Protection, usage: Any, problem: Any) -> None:
    for number in (1, 2):
        told = {"total_tokens": 7 * number} if usage == {"total_tokens": 7} else usage
        e = exchange(fakes, number, user=f"user-{number}")
        (event,) = asked(e, "answer", [attempt(number, **problem)], told, Prices())
        found = msgspec.to_builtins(read(event, protection))
        plain = {**msgspec.to_builtins(event), "metadata": found["metadata"]}
        assert found == plain
        assert (event.decision_id, event.duration_ms, event.usage) == (e.receipt, 1.5 * number, told)
        assert found["metadata"]["subject"] == protection.pseudonym("acme", f"user-{number}")
        assert found["metadata"]["causation_id"] == found["metadata"]["aggregate_id"] == e.receipt


@pytest.mark.parametrize(
    "usage", [{"note": SECRET}, {SECRET: 1}, {"details": {"note": SECRET}}, {"n": 4111111111111111}]
)
def test_what_must_not_be_stored_is_found_each_time(fakes: Any, protection: Protection, usage: Any) -> None:
    for harmless in ({"note": 1}, {"n": 1}, {"details": {"note": 1}}):
        stored(asked(exchange(fakes, 0), "answer", [attempt(0)], harmless, Prices())[0], protection)
    for number in (1, 2):
        (event,) = asked(exchange(fakes, number), "answer", [attempt(number)], usage, Prices())
        payload = stored(event, protection)
        assert SECRET.encode() not in payload
        assert b"4111111111111111" not in payload


def test_outcomes_of_two_persons_are_each_their_own(fakes: Any, protection: Protection) -> None:
    events = [exchange(fakes, n, user=f"user-{n}").outcome("error", "as we say it", n / 4) for n in (1, 2)]
    read_again = [read(event, protection) for event in events]
    assert [(e.decision_id[-1], e.cost_usd, e.error, e.success) for e in read_again] == [
        ("1", 0.25, "as we say it", False),
        ("2", 0.5, "as we say it", False),
    ]
    assert len({e.metadata.subject for e in read_again}) == 2
    assert len({e.metadata.event_id for e in read_again}) == 2
    assert b"as we say it" not in stored(events[0], protection)
