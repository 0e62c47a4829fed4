"""Slots are given by turns, whoever gives up costs nobody one, and none is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from ultracore.distillation.serve.upstream.slots import Slots


async def served(slots: Slots, tenants: Sequence[str]) -> list[str]:
    """Who got the one slot, in order, where all asked while it was held."""
    order: list[str] = []

    async def ask(tenant: str) -> None:
        await slots.take(tenant)
        order.append(tenant)
        slots.give()

    await slots.take("holder")
    tasks = [asyncio.create_task(ask(tenant)) for tenant in tenants]
    await asyncio.sleep(0)
    slots.give()
    await asyncio.gather(*tasks)
    return order


def test_each_tenant_has_its_turn_however_many_wait_before_it() -> None:
    order = asyncio.run(served(Slots(1), ["flood"] * 50 + ["calm"] * 2 + ["third"]))
    assert order[:5] == ["flood", "calm", "third", "flood", "calm"]
    assert order[5:] == ["flood"] * 48


def test_one_tenant_is_served_in_order() -> None:
    async def order() -> list[int]:
        slots, seen = Slots(1), []

        async def ask(number: int) -> None:
            await slots.take("one")
            seen.append(number)
            slots.give()

        await slots.take("one")
        tasks = [asyncio.create_task(ask(number)) for number in range(10)]
        await asyncio.sleep(0)
        slots.give()
        await asyncio.gather(*tasks)
        return seen

    assert asyncio.run(order()) == list(range(10))


def test_many_that_give_up_in_one_turn_of_the_loop_are_passed_over() -> None:
    async def go() -> bool:
        slots = Slots(1)
        await slots.take("a")
        gone = [asyncio.create_task(slots.take("a")) for _ in range(3000)]
        last = asyncio.create_task(slots.take("a"))
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        slots.give()  # before one of them has heard of it
        await asyncio.wait_for(last, 1)
        slots.give()
        await asyncio.gather(*gone, return_exceptions=True)
        return slots.full

    assert asyncio.run(go()) is False


def test_no_slot_is_lost_or_given_twice_whoever_is_cancelled_when() -> None:
    async def go(seed: int) -> None:
        rng, slots, held = random.Random(seed), Slots(3), 0

        async def ask(tenant: str) -> None:
            nonlocal held
            await slots.take(tenant)
            held += 1
            assert held <= 3
            try:
                await asyncio.sleep(0)
            finally:
                held -= 1
                slots.give()

        tasks = [asyncio.create_task(ask(rng.choice("abc"))) for _ in range(200)]
        for _ in range(60):
            await asyncio.sleep(0)
            rng.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(3):
            assert not slots.full
            await slots.take("z")
        assert slots.full

    for seed in range(20):
        asyncio.run(go(seed))
