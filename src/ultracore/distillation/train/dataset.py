"""A data set by its manifest: which decisions of the log, for which part, standing for how many.

The manifest is written once, as events of its own; whatever else speaks of the data set names its id,
which is the hash of what it lists and of what the decisions say. What this file does not know: how
they were chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.decisions import Decision
from ultracore.distillation.events import DatasetManifestEvent, Event, EventStore
from ultracore.distillation.tools import canonical_json
from ultracore.distillation.train.parts import Parts

__all__ = ["CALIBRATION", "TEST", "TRAIN", "Dataset", "Entry", "dataset_of_run", "read_entries", "unrecorded"]

TRAIN, CALIBRATION, TEST = "train", "calibration", "test"
"""The parts, as a manifest names them."""

CHUNK = 10_000
"""Entries in one event: about half a megabyte."""


class Entry(NamedTuple):
    """A decision in a data set.

    Attributes:
        event_id: Its event, "" where it is not in the log.
        part: What it is for: `train`, `calibration` or `test`.
        weight: How many source decisions it stands for; 0 where another stands for it.
    """

    event_id: str
    part: str
    weight: float


class Dataset(NamedTuple):
    """Decisions, and what names them.

    Attributes:
        entries: In the order of their use.
        content_hash: SHA-256 of the entries and of what the decisions say.
    """

    entries: list[Entry]
    content_hash: str

    @classmethod
    def of(cls, rows: Iterable[tuple[str, Decision]]) -> Dataset:
        """The data set of decisions with their weights, each with the name of its part."""
        entries, digest = [], hashlib.sha256()
        for part, decision in rows:
            entries.append(Entry(decision.event_id, part, decision.weight))
            said = msgspec.structs.replace(decision, weight=1.0, split="")
            digest.update(canonical_json([part, decision.weight, said]) + b"\n")
        return cls(entries, digest.hexdigest())

    @property
    def dataset_id(self) -> str:
        """Names it: equal for equal content."""
        return self.content_hash[:16]


def dataset_of_run(source: Sequence[Decision], parts: Parts, curated: Sequence[Decision]) -> Dataset:
    """The data set of a run of the loop: all that was given, what curation merged away included.

    Args:
        source: Decisions of the log in its order; test decisions of their own need not be among them.
        parts: How they were split.
        curated: What curation left of the training part, with its weights.
    """
    part_of = {d.event_id: name for name in (TRAIN, CALIBRATION, TEST) for d in getattr(parts, name)}
    stands_for = {d.event_id: d.weight for d in curated}
    known = {d.event_id for d in source}
    rows = [*source, *(d for d in parts.test if d.event_id not in known)]
    return Dataset.of((part_of[d.event_id], _weighed(d, part_of[d.event_id], stands_for)) for d in rows)


def unrecorded(dataset: Dataset, store: EventStore, *, clusters: Sequence[int] = (), **metadata: Any) -> list[Event]:
    """The facts that list a data set, in chunks; none where the log has them already.

    Args:
        dataset: What to list.
        store: The log.
        clusters: Which cluster each entry represents, -1 for none, where any does.
        **metadata: See `Event.record`.
    """
    types = [DatasetManifestEvent.event_type]
    if next(store.read(types=types, aggregate=dataset.dataset_id, limit=1), None) is not None:
        return []
    chunks = [dataset.entries[start : start + CHUNK] for start in range(0, len(dataset.entries), CHUNK)]
    return [
        DatasetManifestEvent.record(
            dataset_id=dataset.dataset_id,
            chunk=number,
            chunks=len(chunks),
            event_ids=[entry.event_id for entry in chunk],
            parts=[entry.part for entry in chunk],
            weights=[entry.weight for entry in chunk],
            clusters=list(clusters[(number - 1) * CHUNK :][: len(chunk)]),
            **metadata,
        )
        for number, chunk in enumerate(chunks, start=1)
    ]


def read_entries(store: EventStore, dataset_id: str) -> list[Entry]:
    """What a data set is made of, by the log; nothing where the log does not list it whole."""
    entries: list[Entry] = []
    for event in store.read(types=[DatasetManifestEvent.event_type], aggregate=dataset_id):
        if isinstance(event, DatasetManifestEvent):
            entries = entries if event.chunk > 1 else []
            entries += map(Entry, event.event_ids, event.parts, event.weights)
            if event.chunk == event.chunks:
                return entries
    return []


def _weighed(decision: Decision, part: str, stands_for: dict[str, float]) -> Decision:
    weight = stands_for.get(decision.event_id, 0.0) if part == TRAIN else decision.weight
    return msgspec.structs.replace(decision, weight=weight)
