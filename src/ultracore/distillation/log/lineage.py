"""What led to an event and what came of it: from a served call over its model to the decisions it was learned from.

Links are causation ids and, where an event names a decision, a model, a data set or an import, that thing's own
events. What this file does not know: how a chain is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ultracore.distillation.errors import DataError
from ultracore.distillation.events import (
    EVENT_TYPES,
    AgentDecisionEvent,
    DatasetManifestEvent,
    Event,
    EventStore,
    ModelDeployedEvent,
    ModelTrainedEvent,
    TracesImportedEvent,
)
from ultracore.distillation.events.moment import parse_position
from ultracore.distillation.log.words import plain

__all__ = ["Link", "causes", "effects", "find_event"]

SHOWN = 3
"""Of many alike, so many are shown."""


class Link(NamedTuple):
    """A step of a chain.

    Attributes:
        depth: Steps from where it began.
        event: What is there; `None` where words must do.
        note: How many alike there are, and the like.
    """

    depth: int
    event: Event | None
    note: str = ""


Neighbours = Callable[[EventStore, Event], Iterator[Event]]
Summary = Callable[[EventStore, Event, int], Iterator[Link]]


def find_event(store: EventStore, key: str) -> Event:
    """The event at a position, or of an id.

    Raises:
        DataError: There is none.
    """
    position = parse_position(key)
    found = _of_id(store, key) if position is None else _at(store, position)
    if found is None:
        raise DataError(
            f"the log has no event {plain(key)}; give a position or an event id, as `distill log tail` prints them"
        )
    return found


def causes(store: EventStore, event: Event) -> Iterator[Link]:
    """What led to an event, the nearest first."""
    return _walk(store, event, _parents, _sources)


def effects(store: EventStore, event: Event) -> Iterator[Link]:
    """What came of an event: of a decision, the models that learned from it; of a model, what it answered."""
    return _walk(store, event, _children, _answers)


def _walk(store: EventStore, start: Event, neighbours: Neighbours, summary: Summary) -> Iterator[Link]:
    """Depth first, each event once; behind those of an event stands its summary."""
    seen = {start.metadata.event_id}

    def step(event: Event, depth: int) -> Iterator[Link]:
        for found in neighbours(store, event):
            if found.metadata.event_id not in seen:
                seen.add(found.metadata.event_id)
                yield Link(depth, found)
                yield from step(found, depth + 1)
        yield from summary(store, event, depth)

    return step(start, 1)


def _parents(store: EventStore, event: Event) -> Iterator[Event]:
    position = event.metadata.position or 0
    if event.metadata.causation_id and (cause := _of_id(store, event.metadata.causation_id)):
        yield cause
    if isinstance(event, AgentDecisionEvent) and event.source == "student":
        yield from _latest(store, ModelDeployedEvent, str(_model(event)), position, event.metadata.tenant_id)
    if isinstance(event, AgentDecisionEvent) and event.source == "import":
        yield from _latest(store, TracesImportedEvent, str(event.metadata.correlation_id))
    if isinstance(event, ModelTrainedEvent):
        yield from store.read(types=[DatasetManifestEvent.event_type], aggregate=event.dataset_id)
    decision = getattr(event, "decision_id", None)
    if decision and decision != event.metadata.causation_id:
        yield from _own(store, decision)


def _sources(store: EventStore, manifest: Event, depth: int) -> Iterator[Link]:
    """The decisions that a data set lists: how many, the first of them, and where they were read."""
    if not isinstance(manifest, DatasetManifestEvent):
        return
    wanted, found, imports = set(manifest.event_ids), 0, Counter[str]()
    for event in store.read(types=[AgentDecisionEvent.event_type], until=manifest.metadata.position):
        if event.metadata.event_id in wanted:
            found += 1
            if isinstance(event, AgentDecisionEvent) and event.source == "import":
                imports[str(event.metadata.correlation_id)] += 1
            if found <= SHOWN:
                yield Link(depth, event)
    note = f"{found:,} source decisions of {len(wanted):,} are in the log"
    yield Link(depth, None, f"{note}, {found - SHOWN:,} more than shown" if found > SHOWN else note)
    for data_id, n in imports.items():
        for event in _latest(store, TracesImportedEvent, data_id):
            yield Link(depth + 1, event, f"{n:,} of them came with it")


def _children(store: EventStore, event: Event) -> Iterator[Event]:
    after, identity = event.metadata.position or 0, event.metadata.event_id
    if isinstance(event, AgentDecisionEvent):
        yield from (e for e in store.read(after=after, aggregate=identity) if e.metadata.event_id != identity)
        if event.source != "student":
            manifests = store.read(after=after, types=[DatasetManifestEvent.event_type])
            yield from (e for e in manifests if isinstance(e, DatasetManifestEvent) and identity in e.event_ids)
    if isinstance(event, TracesImportedEvent):
        return  # its decisions are too many to follow; ask for one of them
    if isinstance(event, DatasetManifestEvent):
        trained = store.read(after=after, types=[ModelTrainedEvent.event_type])
        yield from (e for e in trained if isinstance(e, ModelTrainedEvent) and e.dataset_id == event.dataset_id)
    yield from (e for e in store.read(after=after, types=LINKING) if e.metadata.causation_id == identity)


def _answers(store: EventStore, deployed: Event, depth: int) -> Iterator[Link]:
    """The calls that a model sent after it was deployed: the first of them, and how many."""
    if not isinstance(deployed, ModelDeployedEvent):
        return
    found, after, tenant = 0, deployed.metadata.position or 0, deployed.metadata.tenant_id
    for event in store.read(after=after, types=[AgentDecisionEvent.event_type], tenant=tenant):
        if isinstance(event, AgentDecisionEvent) and event.source == "student" and _model(event) == deployed.model_id:
            found += 1
            if found <= SHOWN:
                yield Link(depth, event)
    yield Link(depth, None, f"{found:,} calls sent by this model since")


def _model(event: AgentDecisionEvent) -> Any:
    return (event.serving or {}).get("model_id")


def _latest(
    store: EventStore, kind: type[Event], aggregate: str, until: int | None = None, tenant: str | None = None
) -> list[Event]:
    return list(store.read(types=[kind.event_type], aggregate=aggregate, until=until, tenant=tenant))[-1:]


def _at(store: EventStore, position: int) -> Event | None:
    return next(store.read(after=position - 1, until=position), None) if position > 0 else None


def _own(store: EventStore, event_id: str) -> Iterator[Event]:
    return (e for e in store.read(aggregate=event_id) if e.metadata.event_id == event_id)


LINKING = sorted(set(EVENT_TYPES) - {AgentDecisionEvent.event_type})
"""A decision is about itself and found by its id; all others are few beside the decisions, or looked through."""


def _of_id(store: EventStore, event_id: str) -> Event | None:
    if not store.known([event_id]):
        return None
    own = next(_own(store, event_id), None)
    others = (e for e in store.read(types=LINKING) if e.metadata.event_id == event_id)
    return own or next(others, None)
