"""What happens to decisions while the log is down: strict answers nothing, available answers and forgets nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultracore.distillation.events import AgentDecisionEvent, GatewayPausedEvent
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.spill import Spill
from ultracore.distillation.serve.upstream import Upstream

DECISION, OUTCOME = "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED"


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def decision(name: str) -> AgentDecisionEvent:
    return AgentDecisionEvent.record(agent_id=name, context={"q": "x" * 50})


@pytest.mark.parametrize("fault", ["down", "stuck"])
def test_available_answers_while_the_log_is_down_and_the_log_has_it_all_in_the_end(
    fakes: Any, tmp_path: Path, fault: str
) -> None:
    world = fakes.World(durability="available", audit_rate=0.0)
    app = world.app(None, spill=Spill(tmp_path))
    app.state.gateway.journal._wait_seconds = 0.1
    setattr(world.store, fault, True)

    async def ask() -> list[Any]:
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            replies = [await client.post("/v1/chat/completions", json=fakes.chat()) for _ in range(3)]
            metrics = (await client.get("/metrics")).text
            setattr(world.store, fault, False)
            return [replies, metrics]

    replies, metrics = run(ask())
    assert [reply.status_code for reply in replies] == [200] * 3
    assert "distill_events_lost_total 0.0" in metrics
    assert "distill_spill_bytes 0.0" not in metrics
    receipts = {reply.headers["x-distill-receipt"] for reply in replies}
    assert {d.metadata.event_id for d in world.store.of(DECISION, at_least=3)} == receipts
    if fault == "down":  # what the log swallowed in silence can only be kept where somebody waited for it
        assert {o.decision_id for o in world.store.of(OUTCOME, at_least=3)} == receipts
    assert list(tmp_path.iterdir()) == []


def test_a_teachers_decision_is_spilled_under_either_policy(
    fakes: Any, world: Any, teacher: Any, teacher_url: str, tmp_path: Path
) -> None:
    spill = Spill(tmp_path)
    app = world.app(Upstream(teacher_url, key="sk"), spill=spill)
    world.store.down = True

    async def ask() -> Any:
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            force = {"x-distill-force": "teacher"}
            reply = await client.post("/v1/chat/completions", json=fakes.chat(), headers=force)
            world.store.down = False
            return reply

    assert run(ask()).status_code == 200
    assert [d.source for d in world.store.of(DECISION)] == ["teacher"]
    assert app.state.gateway.journal.lost == 0


def test_the_file_is_bounded_and_what_it_cannot_hold_is_counted(fakes: Any, tmp_path: Path) -> None:
    store = fakes.MemoryStore()
    store.down = True
    spill = Spill(tmp_path, max_bytes=3000)
    journal = Journal(store, spill=spill, strict=False)
    for number in range(10):
        journal.later(decision(str(number)))
    kept = 10 - journal.lost
    assert 0 < kept < 10
    assert spill.waiting <= 3000
    with pytest.raises(Exception, match="refused the event"):
        run(journal.durable(decision("one too many")))
    store.down = False
    spill.drain(store)
    assert [e.agent_id for e in store.of(DECISION, at_least=kept)] == [str(n) for n in range(kept)]
    assert spill.waiting == 0
    spill.close()


def test_an_event_is_never_twice_in_the_log(fakes: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, spill = fakes.MemoryStore(), Spill(tmp_path)
    late = [decision("late"), decision("lost")]
    spill.add(late)
    store.append([late[0]])  # the log had taken it after all
    spill.drain(store)
    spill.drain(store)
    spill.close()
    assert [e.agent_id for e in store.of(DECISION, at_least=2)] == ["late", "lost"]
    assert caplog.records == []  # and nobody is alarmed


@given(cut=st.integers(0, 2000))
@settings(max_examples=30, deadline=None)
def test_a_cut_line_costs_nothing_but_itself(fakes: Any, tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder, store = tmp_path_factory.mktemp("spill"), fakes.MemoryStore()
    spill = Spill(folder)
    spill.add([decision("a"), decision("b"), decision("c")])
    spill.close()
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - cut if cut < len(whole) else 0])
    Spill(folder).drain(store)
    kept = whole[: max(0, len(whole) - cut)].count(b"\n")
    assert [e.agent_id for e in store.of(DECISION, at_least=kept)] == ["a", "b", "c"][:kept]


SPILLING = """
import sys, time
from pathlib import Path
from ultracore.distillation.events import GatewayPausedEvent
from ultracore.distillation.serve.spill import Spill
spill = Spill(Path(sys.argv[1]))
assert spill.add([GatewayPausedEvent.record(reason=sys.argv[2])])
print("kept", flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_left_is_taken_over_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    store, spill = SqliteEventStore(tmp_path / "log.db"), Spill(tmp_path / "spill")
    running = [
        subprocess.Popen([sys.executable, "-c", SPILLING, tmp_path / "spill", name], stdout=subprocess.PIPE, text=True)
        for name in ("killed", "living")
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "kept\n"
        os.kill(running[0].pid, signal.SIGKILL)
        running[0].wait()
        spill.drain(store)
        assert [e.reason for e in store.read() if isinstance(e, GatewayPausedEvent)] == ["killed"]
        assert len(list((tmp_path / "spill").iterdir())) == 1
    finally:
        for process in running:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    spill.drain(store)
    assert len(list(store.read())) == 2
    store.close()


def test_a_file_that_cannot_be_written_is_no_promise(fakes: Any, tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("a file where the folder should be")
    store = fakes.MemoryStore()
    store.down = True
    journal = Journal(store, spill=Spill(tmp_path / "spill"), strict=False)
    with pytest.raises(Exception, match="refused"):
        run(journal.durable(decision("x")))
    assert journal.lost == 1


def test_readiness_tells_of_the_log_and_metrics_alarm(fakes: Any, world: Any) -> None:
    app = world.app(None)

    async def ask() -> tuple[list[int], str]:
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client,
        ):
            statuses = [(await client.get("/readyz")).status_code]
            world.store.down = True
            await client.post("/v1/chat/completions", json=fakes.chat())
            statuses.append((await client.get("/readyz")).status_code)
            return statuses, (await client.get("/metrics")).text

    statuses, metrics = run(ask())
    assert statuses == [200, 503]
    assert "distill_events_lost_total 2.0" in metrics
    assert "distill_log_healthy 0.0" in metrics
    assert 'distill_refused_total{status="503"} 1.0' in metrics
