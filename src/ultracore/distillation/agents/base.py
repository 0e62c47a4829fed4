"""What every agent is: it looks at its input, decides what to do, and does it.

Its result goes to the caller; its only side effect is events in the decision log. What this file
does not know: the stages (each agent calls one).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from ultracore.distillation.events import Event, EventStore
from ultracore.distillation.events.facts import utc_now
from ultracore.distillation.settings import Settings, load_settings

__all__ = ["Agent"]

Observation = TypeVar("Observation")
Plan = TypeVar("Plan")


class Agent(ABC, Generic[Observation, Plan]):
    """A stage of the loop as an agent; construction opens nothing.

    Args:
        agent_id: Its name; that of its kind by default.
        store: Where its events go; by default the log in the home folder, opened with the first event.
        settings: Read from the environment with the first need, by default.
        clock: Tells the time of its events.
    """

    name: ClassVar[str] = "agent"
    capabilities: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        agent_id: str | None = None,
        *,
        store: EventStore | None = None,
        settings: Settings | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.agent_id = agent_id or self.name
        self.clock = clock
        if store is not None:
            self.store = store
        if settings is not None:
            self.settings = settings

    @abstractmethod
    async def perceive(self, context: Mapping[str, Any]) -> Observation:
        """Read and check the input of `execute`; changes nothing."""

    @abstractmethod
    async def decide(self, observation: Observation) -> Plan:
        """Choose what to do about it; changes nothing."""

    @abstractmethod
    async def act(self, plan: Plan) -> dict[str, Any]:
        """Do it, record the event, and give the result of `execute`."""

    async def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Perceive, decide, act."""
        return await self.act(await self.decide(await self.perceive(context)))

    async def record(self, event: Event) -> Event:
        """Append one event and wait until it is durable; it comes back with its position."""
        (stored,) = await self.record_all([event])
        return stored

    async def record_all(self, events: Sequence[Event]) -> list[Event]:
        """Append events, all or none, and wait until they are durable; they come back with their positions."""
        positions = await asyncio.to_thread(self._append, events)
        return [event.at(position) for event, position in zip(events, positions, strict=True)]

    def _append(self, events: Sequence[Event]) -> list[int]:
        return self.store.append(events)

    @cached_property
    def settings(self) -> Settings:
        """The settings of the process, unless others were given."""
        return load_settings()

    @cached_property
    def store(self) -> EventStore:
        """The log in the home folder, unless another was given; shared by all of this process."""
        from ultracore.distillation.events.opening import open_store  # an agent with its own store needs no SQLite

        return open_store(self.settings.home_path, self.settings)
