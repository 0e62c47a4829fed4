"""The logger does literally what users were promised."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ultracore.distillation import AgentDecisionLogger, DecisionLoggerMixin
from ultracore.distillation.decisions import decisions_from_rows
from ultracore.distillation.errors import ConfigurationError, DataError, EventError, UnknownSessionError
from ultracore.distillation.events import AgentDecisionEvent, DecisionOutcomeEvent
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log import decisions_from_log, rows_from_log

TOOLS = [{"name": "search"}, {"name": "book"}]
PROMISED = {
    "agent_id", "context", "tools_available", "tool_selected", "tool_parameters", "reasoning", "confidence",
    "timestamp", "event_id", "outcome",
}  # fmt: skip


async def log(logger: AgentDecisionLogger, **more: Any) -> str:
    arguments: dict[str, Any] = {
        "agent_id": "a",
        "context": {"q": "?"},
        "tools_available": TOOLS,
        "tool_selected": "book",
    }
    return await logger.log_decision(**{**arguments, **more})


def test_the_promised_call_without_any_set_up(home: Path) -> None:
    async def main() -> tuple[str, AgentDecisionLogger]:
        logger = AgentDecisionLogger()
        event_id = await logger.log_decision(
            agent_id="planner",
            context={"goal": "fly"},
            tools_available=[{"name": "search"}],
            tool_selected="search",
            reasoning="first look",
            confidence=0.95,
        )
        return event_id, logger

    event_id, logger = asyncio.run(main())
    (row,) = logger.get_history()
    assert row.keys() >= PROMISED
    assert (row["event_id"], row["context"], row["tools_available"]) == (
        event_id,
        {"goal": "fly"},
        [{"name": "search"}],
    )
    assert (row["tool_parameters"], row["outcome"], row["confidence"]) == (None, None, 0.95)
    assert datetime.fromisoformat(row["timestamp"]).utcoffset() == UTC.utcoffset(None)
    assert (home / "log.db").exists()
    open_store(home).close()


def test_nothing_is_opened_before_the_first_decision(home: Path) -> None:
    assert AgentDecisionLogger().get_history() == []
    assert not home.exists()


def test_it_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    code = (
        "import asyncio, os\nfrom ultracore.distillation import AgentDecisionLogger\n"
        f"logger = AgentDecisionLogger(home={str(tmp_path)!r})\n"
        "async def main():\n    print(await logger.log_decision(agent_id='a', tool_selected='f'), flush=True)\n"
        "    os.kill(os.getpid(), 9)\nasyncio.run(main())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.returncode == -9, process.stderr
    store = open_store(tmp_path)
    assert [row["event_id"] for row in rows_from_log(store)] == [process.stdout.strip()]
    store.close()


def test_history_is_this_loggers_own_and_in_order(store: SqliteEventStore) -> None:
    async def main() -> tuple[list[str], AgentDecisionLogger]:
        mine, other = AgentDecisionLogger(store), AgentDecisionLogger(store)
        ids = []
        for step in range(5):
            await log(other)
            ids.append(await log(mine, context={"step": step}))
        return ids, mine

    ids, mine = asyncio.run(main())
    assert [row["event_id"] for row in mine.get_history()] == ids
    assert len(rows_from_log(store)) == 10


def test_many_decisions_at_once(store: SqliteEventStore) -> None:
    async def main() -> list[str]:
        logger = AgentDecisionLogger(store)
        return await asyncio.gather(*(log(logger) for _ in range(200)))

    assert len(set(asyncio.run(main()))) == store.last_position() == 200


def test_a_cancelled_caller_does_not_take_its_decision_back(store: SqliteEventStore) -> None:
    logger = AgentDecisionLogger(store)

    async def started() -> None:
        task = asyncio.create_task(log(logger))
        await asyncio.sleep(0)  # it has been submitted and waits for the disk
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(started())
    assert store.append([]) == []  # the queue is served in order
    assert len(logger.get_history()) == 1


def test_tools_in_any_form(store: SqliteEventStore) -> None:
    given = [{"type": "function", "function": {"name": "f"}}, "g", SimpleNamespace(name="h", description="d")]
    logger = AgentDecisionLogger(store)
    asyncio.run(log(logger, tools_available=given))
    assert logger.get_history()[0]["tools_available"] == [given[0], {"name": "g"}, {"name": "h", "description": "d"}]
    with pytest.raises(DataError):
        asyncio.run(log(logger, tools_available=[{"title": "no name"}]))


def test_a_tool_that_was_not_offered_is_a_fact(store: SqliteEventStore) -> None:
    logger = AgentDecisionLogger(store)
    asyncio.run(log(logger, tool_selected="invented"))
    assert logger.get_history()[0]["tool_selected"] == "invented"


@pytest.mark.parametrize("messages", ["hello", ["hello", "again"], {"first": "hello"}])
def test_a_context_that_only_calls_something_messages_is_no_conversation(
    store: SqliteEventStore, messages: Any
) -> None:
    asyncio.run(log(AgentDecisionLogger(store), context={"messages": messages}))
    (found,) = decisions_from_log(store)
    assert found.state.messages == [{"role": "context", "content": {"messages": messages}}]


def test_rows_become_decisions(store: SqliteEventStore) -> None:
    logger = AgentDecisionLogger(store, tenant_id="acme")
    asyncio.run(log(logger, tool_parameters={}, session_id="s", task="t", teacher_model="gpt"))
    asyncio.run(log(logger))
    asyncio.run(log(logger, tool_selected="(reply)", reply="no"))
    asyncio.run(
        log(logger, tool_selected=None, tool_calls=[{"name": "book", "arguments": {"x": 1}}, {"name": "search"}])
    )
    known, unknown, reply, both = decisions_from_rows(logger.get_history())
    assert (known.calls[0].arguments, known.episode, known.task, known.tenant) == ({}, "s", "t", "acme")
    assert unknown.calls[0].arguments is None
    assert not reply.is_call
    assert [call.name for call in both.calls] == ["book", "search"]
    assert decisions_from_log(store) == [known, unknown, reply, both]


@pytest.mark.parametrize("weight", ["0", -1, "nan", "inf", "many", [2]])
def test_a_row_that_stands_for_no_number_of_decisions_is_named(weight: Any) -> None:
    rows = [{"tool_selected": "x"}, {"tool_selected": "x", "weight": weight}]
    with pytest.raises(DataError, match="row 1: 'weight' must be a positive number"):
        decisions_from_rows(rows)
    assert [row.weight for row in decisions_from_rows([rows[0], {**rows[1], "weight": "2.5"}])] == [1.0, 2.5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence": 1.5},
        {"confidence": -0.1},
        {"confidence": float("nan")},
        {"confidence": "high"},
        {"confidence": True},
        {"teacher_confidence": 2},
        {"agent_id": ""},
        {"context": ["no dict"]},
        {"tool_parameters": "x=1"},
    ],
    ids=str,
)
def test_an_argument_that_cannot_be_used_is_named(store: SqliteEventStore, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        asyncio.run(log(AgentDecisionLogger(store), **wrong))
    assert store.last_position() == 0


def test_sessions(store: SqliteEventStore) -> None:
    async def main() -> None:
        logger = AgentDecisionLogger(store)
        session = await logger.start_session("a", {"channel": "chat"})
        first = await log(logger, session_id=session, confidence=0.5)
        second = await log(logger, session_id=session, confidence=1.0)
        await log(logger, session_id=session)
        await logger.log_outcome(session, first, True, 10.0, result={"ok": 1}, cost_usd=0.25)
        await logger.log_outcome(session, second, False, 30.0, error="timeout", cost_usd=0.5)
        summary = await logger.end_session(session)
        assert summary.pop("duration_seconds") >= 0  # type: ignore[misc]
        assert summary == {
            "session_id": session, "agent_id": "a", "decision_count": 3, "successful_decisions": 1, "total_cost_usd": 0.75,
        }  # fmt: skip
        stats = logger.get_session_stats(session)
        assert (stats["average_confidence"], stats["average_execution_time_ms"]) == (0.75, 20.0)
        rows = logger.get_history()
        assert [row["step"] for row in rows] == [0, 1, 2]
        assert rows[0]["outcome"] == {
            "success": True, "status": "ok", "execution_time_ms": 10.0, "result": {"ok": 1}, "error": None, "cost_usd": 0.25,
        }  # fmt: skip
        assert rows[1]["outcome"]["error"] == "timeout"
        assert rows[2]["outcome"] is None  # its outcome never came; the decision is there

    asyncio.run(main())
    assert [e.event_type for e in store.read(types=["SESSION_STARTED", "SESSION_ENDED"])] == [
        "SESSION_STARTED",
        "SESSION_ENDED",
    ]


def test_a_decision_has_one_outcome(store: SqliteEventStore) -> None:
    async def main() -> None:
        logger = AgentDecisionLogger(store)
        event_id = await log(logger)
        await logger.log_outcome(None, event_id, True, 1.0)
        with pytest.raises(EventError, match="already"):
            await AgentDecisionLogger(store).log_outcome(None, event_id, False, 1.0)
        with pytest.raises(EventError, match="no decision"):
            await logger.log_outcome(None, "invented", True, 1.0)

    asyncio.run(main())


def test_an_outcome_belongs_to_the_tenant_and_the_person_of_its_decision(store: SqliteEventStore) -> None:
    async def main() -> None:
        logger = AgentDecisionLogger(store, tenant_id="ours")
        event_id = await log(logger, tenant_id="acme", user_id="alice")
        await logger.log_outcome(None, event_id, True, result="sent to Alice")

    asyncio.run(main())
    (row,) = rows_from_log(store, tenant="acme")
    assert row["outcome"]["result"] == "sent to Alice"
    assert store.protection.keyring.destroy(tenant="acme") == 2
    assert [e.result for e in store.read() if isinstance(e, DecisionOutcomeEvent)] == [None]


def test_an_unknown_session_is_named(store: SqliteEventStore) -> None:
    logger = AgentDecisionLogger(store)
    for call in (logger.end_session("s"), logger.log_outcome("s", "e", True, 1.0)):
        with pytest.raises(UnknownSessionError, match="start_session"):
            asyncio.run(call)
    with pytest.raises(UnknownSessionError):
        logger.get_session_stats("s")


def test_tenant_and_clock_are_arguments(store: SqliteEventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_TENANT", "from-environment")
    logger = AgentDecisionLogger(store, clock=lambda: datetime(2030, 1, 2, tzinfo=UTC))
    asyncio.run(log(logger))
    asyncio.run(log(logger, tenant_id="other"))
    rows = logger.get_history()
    assert [row["tenant_id"] for row in rows] == ["from-environment", "other"]
    assert rows[0]["timestamp"] == "2030-01-02T00:00:00+00:00"


def test_rows_leave_students_out_and_filter(store: SqliteEventStore) -> None:
    for source, agent, tenant in (
        ("teacher", "a", "x"),
        ("student", "a", "x"),
        ("import", "b", "x"),
        ("teacher", "a", "y"),
    ):
        store.append([AgentDecisionEvent.record(agent_id=agent, source=source, tenant_id=tenant, correlation_id=agent)])
    assert [row["source"] for row in rows_from_log(store, tenant="x")] == ["teacher", "import"]
    assert len(rows_from_log(store, include_student=True)) == 4
    assert len(rows_from_log(store, agent="b")) == len(rows_from_log(store, correlation="b")) == 1
    assert len(rows_from_log(store, after=3)) == 1
    assert len(rows_from_log(store, until=1)) == 1


def test_a_past_moment_knows_no_later_outcome(store: SqliteEventStore) -> None:
    event = AgentDecisionEvent.record(agent_id="a")
    store.append([event, DecisionOutcomeEvent.record(decision_id=event.metadata.event_id, success=True)])
    assert rows_from_log(store, until=1)[0]["outcome"] is None
    assert rows_from_log(store)[0]["outcome"]["success"] is True


class Named(DecisionLoggerMixin):
    agent_id = "router"


class Plain(DecisionLoggerMixin):
    def __init__(self) -> None:
        self.state = 1  # no super().__init__()


def test_the_mixin_needs_no_set_up(home: Path) -> None:
    agent, plain = Named(), Plain()
    asyncio.run(agent.log_decision({"q": 1}, TOOLS, "book", "because"))
    asyncio.run(plain.log_decision({"q": 1}, TOOLS, "book", "because", confidence=0.5))
    assert [(r["agent_id"], r["reasoning"]) for r in agent.decision_logger.get_history()] == [("router", "because")]
    assert plain.decision_logger.get_history()[0]["agent_id"] == "Plain"
    assert agent.decision_logger is agent.decision_logger
    open_store(home).close()


def test_the_mixins_logger_can_be_replaced(store: SqliteEventStore) -> None:
    agent = Named()
    agent.decision_logger = AgentDecisionLogger(store)
    asyncio.run(agent.log_decision({}, TOOLS, "book"))
    assert store.last_position() == 1
