"""What one turn of the event loop brings is one append; what the log refuses of it holds up nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import pytest

from ultracore.distillation.errors import LogError
from ultracore.distillation.events import AgentDecisionEvent, Event
from ultracore.distillation.serve.journal import Journal


def decision(name: str) -> AgentDecisionEvent:
    return AgentDecisionEvent.record(event_id=name, agent_id=name)


def counting(fakes: Any) -> tuple[Any, list[list[str]]]:
    """A store, and the ids of each append."""
    appends: list[list[str]] = []

    class Store(fakes.MemoryStore):  # type: ignore[misc, name-defined]
        def submit(self, events: Iterable[Event], *, expected: Any = None, patient: bool = False) -> Future[list[int]]:
            events = list(events)
            appends.append([event.metadata.event_id for event in events])
            future: Future[list[int]] = super().submit(events)
            return future

    return Store(), appends


def ids(store: Any) -> list[str]:
    return [event.metadata.event_id for event in store.events]


def test_a_turn_is_one_append_in_the_order_in_which_it_came(fakes: Any) -> None:
    store, appends = counting(fakes)
    journal = Journal(store)

    async def turn() -> None:
        waits = [asyncio.create_task(journal.durable(decision(f"waits {i}"))) for i in range(5)]
        await asyncio.sleep(0)  # they have begun, and the turn in which they did is over
        await asyncio.gather(*waits)
        journal.later(decision("last"))
        await asyncio.sleep(0)

    asyncio.run(turn())
    assert appends == [[f"waits {i}" for i in range(5)], ["last"]]
    assert ids(store) == [name for append in appends for name in append]


def test_what_nobody_waits_for_lets_what_has_just_come_go_first(fakes: Any) -> None:
    async def order(somebody_waits: bool) -> list[str]:
        seen: list[str] = []

        class Store(fakes.MemoryStore):  # type: ignore[misc, name-defined]
            def submit(
                self, events: Iterable[Event], *, expected: Any = None, patient: bool = False
            ) -> Future[list[int]]:
                seen.append("append")
                future: Future[list[int]] = super().submit(events)
                return future

        loop, journal = asyncio.get_running_loop(), Journal(Store())
        loop.call_soon(loop.call_soon, seen.append, "request")  # it comes in the next turn of the loop
        journal.later(decision("first"))
        if somebody_waits:
            await journal.durable(decision("second"))
        for _ in range(4):
            await asyncio.sleep(0)
        return seen

    assert asyncio.run(order(False)) == ["request", "append"]
    assert asyncio.run(order(True)) == ["append", "request"]


def test_durable_returns_after_the_sync_and_not_before(fakes: Any) -> None:
    store, _ = counting(fakes)

    async def turn() -> list[str]:
        await Journal(store).durable(decision("one"))
        return list(store.happened)

    assert asyncio.run(turn()) == ["synced AGENT_TOOL_SELECTED"]


def test_what_the_log_refuses_holds_up_nobody_else(fakes: Any) -> None:
    store, _ = counting(fakes)
    store.append([decision("twice")])
    journal = Journal(store)

    async def turn() -> list[BaseException | None]:
        journal.later(decision("a"))
        journal.once(decision("twice"))
        waits = [journal.durable(decision(name)) for name in ("b", "twice", "c")]
        return await asyncio.gather(*waits, return_exceptions=True)

    told = asyncio.run(turn())
    assert [type(error) for error in told] == [type(None), LogError, type(None)]
    assert sorted(ids(store)) == ["a", "b", "c", "twice"]
    assert journal.lost == 1  # the one that somebody waited for; of the other it is well that the log had it
    assert journal.healthy


def test_a_caller_that_is_cancelled_takes_nobody_with_it_and_its_event_is_kept(fakes: Any) -> None:
    store, _ = counting(fakes)
    journal = Journal(store)

    async def turn() -> None:
        gone = asyncio.create_task(journal.durable(decision("gone")))
        stays = asyncio.create_task(journal.durable(decision("stays")))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(turn())
    assert sorted(ids(store)) == ["gone", "stays"]


def test_without_an_event_loop_it_is_written_there_and_then(fakes: Any) -> None:
    store, _ = counting(fakes)
    Journal(store).later(decision("alone"))
    assert ids(store) == ["alone"]


def test_flush_hands_over_before_the_turn_ends(fakes: Any) -> None:
    store, appends = counting(fakes)

    async def turn() -> None:
        journal = Journal(store)
        journal.later(decision("now"))
        assert ids(store) == []
        journal.flush()
        assert ids(store) == ["now"]

    asyncio.run(turn())
    assert appends == [["now"]]
