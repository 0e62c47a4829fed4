"""A number of slots, given by turns to those who wait: each tenant one, then each the next.

Whoever floods waits behind its own requests; another tenant's next request waits for one slot at most per tenant
before it, not for the whole queue. What this file does not know: what a slot is for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

__all__ = ["Slots"]


class Slots:
    """A semaphore that is fair between tenants, for one event loop.

    Args:
        count: How many may be held at a time.

    Example:
        >>> async def order():
        ...     slots, served = Slots(1), []
        ...     async def ask(tenant):
        ...         await slots.take(tenant)
        ...         served.append(tenant)
        ...         slots.give()
        ...     await slots.take("first")
        ...     tasks = [asyncio.create_task(ask(tenant)) for tenant in ("flood", "flood", "flood", "calm")]
        ...     await asyncio.sleep(0)
        ...     slots.give()
        ...     await asyncio.gather(*tasks)
        ...     return served
        >>> asyncio.run(order())
        ['flood', 'calm', 'flood', 'flood']
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: OrderedDict[str, dict[asyncio.Future[None], None]] = OrderedDict()

    @property
    def full(self) -> bool:
        """Whether `take` would wait."""
        return self._free == 0

    async def take(self, tenant: str) -> None:
        """Hold one slot, until `give`."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, {})[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(tenant, turn)
            else:  # it was given in the same turn of the event loop
                self.give()
            raise

    def give(self) -> None:
        """Let go of one; whoever's turn it is holds it then."""
        while self._waiting:
            turn = self._next()
            if not turn.cancelled():  # else its task is yet to hear of it
                turn.set_result(None)
                return
        self._free += 1

    def _next(self) -> asyncio.Future[None]:
        tenant, turns = self._waiting.popitem(last=False)
        turn = next(iter(turns))
        del turns[turn]
        if turns:
            self._waiting[tenant] = turns  # after all others
        return turn

    def _forget(self, tenant: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(tenant, {})
        turns.pop(turn, None)
        if not turns:
            self._waiting.pop(tenant, None)
