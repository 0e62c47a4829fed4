"""A canary planted in secrets and personal fields is in no file that the package writes, nor on its outputs."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from pathlib import Path

import pytest
from tests.privacy.stored import everything

from ultracore.distillation.cli import main
from ultracore.distillation.errors import DistillationError
from ultracore.distillation.events import AgentDecisionEvent, DecisionOutcomeEvent, Event
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log import AgentDecisionLogger
from ultracore.distillation.log.importing import import_files
from ultracore.distillation.serve.spill import Spill

SECRET = "sk-proj-CanaryCanaryCanary0123456789abcdef"
PERSON = "carla-canary@example.org"
TEXT = f"my key is {SECRET} and I am {PERSON}"


def no_canary(content: bytes) -> None:
    for canary in (SECRET, PERSON, "carla-canary", "CanaryCanary"):
        assert canary.encode() not in content


async def _session(logger: AgentDecisionLogger) -> tuple[str, str]:
    session = await logger.start_session("support", {"text": TEXT}, user_id=PERSON)
    event_id = await logger.log_decision(
        "support", {"messages": [{"role": "user", "content": TEXT}]}, [{"name": "track"}], "track", TEXT,
        tool_parameters={"mail": PERSON, "password": "CanaryCanary9"}, session_id=session, teacher_reasoning=TEXT, reply=TEXT,
    )  # fmt: skip
    await logger.log_outcome(session, event_id, False, result={"said": TEXT}, error=TEXT)
    await logger.end_session(session)
    return session, event_id


def test_the_log_the_keyring_and_what_lies_beside_them(tmp_path: Path) -> None:
    logger = AgentDecisionLogger(home=tmp_path)
    asyncio.run(_session(logger))
    no_canary(everything(tmp_path))  # the write-ahead logs are there, too
    row = logger.get_history()[0]
    assert row["user_id"] == PERSON
    assert row["tool_parameters"] == {"mail": PERSON, "password": "[redacted:password]"}
    assert SECRET not in json.dumps(row)


def test_outcome_and_session_are_the_same_persons_as_the_decision(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    asyncio.run(_session(AgentDecisionLogger(store)))
    events = list(store.read())
    subjects = {event.metadata.subject for event in events if event.personal}
    assert subjects == {store.protection.pseudonym("default", PERSON)}
    assert {type(event) for event in events if event.metadata.subject} >= {AgentDecisionEvent, DecisionOutcomeEvent}


def test_an_import_and_its_error_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    traces = tmp_path / "traces.jsonl.gz"
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": json.dumps({"q": TEXT})}}
    conversation = {
        "messages": [{"role": "user", "content": TEXT}, {"role": "assistant", "tool_calls": [call]}],
        "tools": [{"type": "function", "function": {"name": "track", "description": f"for {SECRET}"}}],
        "metadata": {"note": TEXT},
        "user": PERSON,
    }
    with gzip.open(traces, "wt") as file:
        file.write(json.dumps(conversation) + "\n" + f'{{"broken": "{TEXT}"\n' + json.dumps({"messages": TEXT}) + "\n")
    store = SqliteEventStore(home / "log.db")
    report = import_files([traces], store)
    assert (report.decisions, sum(map(len, report.skipped.values()))) == (1, 2)
    assert [event.metadata.subject for event in store.read(types=[AgentDecisionEvent.event_type])] == [
        store.protection.pseudonym("default", PERSON)
    ]
    store.close()
    no_canary(everything(home))
    no_canary(str(report).encode())
    with pytest.raises(SystemExit):
        main(["import", str(traces), "--home", str(home)])
    no_canary("".join(capsys.readouterr()).encode())


def test_an_append_that_is_too_large_for_memory_waits_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultracore.distillation.events.spool.MAX_BYTES_IN_MEMORY", 10)
    store = SqliteEventStore(tmp_path / "log.db")
    seen = []
    from ultracore.distillation.events import spool

    spill = spool.Spool._spill

    def watched(self: spool.Spool) -> None:
        spill(self)
        assert self._file is not None
        self._file.seek(0)
        seen.append(self._file.read())

    monkeypatch.setattr(spool.Spool, "_spill", watched)
    store.append(_decision() for _ in range(3))
    store.close()
    assert len(seen) == 3
    no_canary(b"".join(seen))


def _decision() -> Event:
    return AgentDecisionEvent.record(agent_id="a", user_id=PERSON, context={"text": TEXT}, reply=TEXT)


def test_what_waits_for_the_log_is_sealed_and_comes_into_it(tmp_path: Path) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    spill = Spill(tmp_path / "spill", protection=store.protection)
    event = _decision()
    assert spill.add([event])
    no_canary(everything(tmp_path / "spill"))
    spill.drain(store)
    (found,) = store.read()
    assert (found.metadata.event_id, found.user_id) == (event.metadata.event_id, PERSON)  # type: ignore[attr-defined]
    spill.close()
    no_canary(everything(tmp_path))


def test_a_spilled_line_that_was_altered_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    spill = Spill(tmp_path / "spill", protection=store.protection)
    spill.add([_decision()])
    (file,) = (tmp_path / "spill").iterdir()
    text = file.read_bytes()
    file.write_bytes(text[:-10] + b"AAAAAAAAA\n")
    spill.drain(store)
    assert store.last_position() == 0
    spill.close()


def test_errors_and_debug_messages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = SqliteEventStore(tmp_path / "log.db")
    said = []
    for bad in ({"text": TEXT, "n": float("nan")}, {"text": TEXT, "o": object()}, {"text": TEXT + "\ud83d"}):
        with pytest.raises(DistillationError) as error:
            store.append([AgentDecisionEvent.record(agent_id="a", user_id=PERSON, context=bad)])
        said.append(str(error.value))
    store.append([_decision()])
    store.protection.keyring.destroy()
    said += [str(event) for event in store.read()]
    no_canary("".join([*said, caplog.text]).encode())


def test_a_secret_in_a_message_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["import", f"/nowhere/{SECRET}.jsonl"])
    out = "".join(capsys.readouterr())
    assert "there is no file" in out
    assert SECRET not in out


def test_the_operators_own_rules_come_from_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "distill.toml"
    file.write_text("[redact_rules]\ncase_number = 'AZ-\\d{4}'\n")
    monkeypatch.setenv("DISTILL_CONFIG", str(file))
    logger = AgentDecisionLogger(home=tmp_path / "home")
    asyncio.run(logger.log_decision("a", {"text": "see AZ-1234"}, ["f"], "f"))
    assert logger.get_history()[0]["context"] == {"text": "see [redacted:case_number]"}
