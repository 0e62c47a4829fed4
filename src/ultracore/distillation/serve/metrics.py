"""What `/metrics` tells: counts of what this process decided and wrote down.

Labels are closed lists and endpoint names; nothing that a client sent, no key, no tenant. Several worker
processes share their counts through the folder that `PROMETHEUS_MULTIPROC_DIR` names. What this file
does not know: how anything is decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import ClassVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ultracore.distillation.events import (
    AuditRecordedEvent,
    DecisionOutcomeEvent,
    Event,
    FeedbackRecordedEvent,
    ShadowRecordedEvent,
    ToolSchemaChangedEvent,
    UpstreamAttemptedEvent,
)
from ultracore.distillation.serve.exchange import Exchange

__all__ = ["Metrics"]

TELL_SECONDS = 0.1
"""After which other worker processes see a count."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600)


class Metrics:
    """Counts; a `Observer` of the journal. A count with its labels is looked up once, which is most of its cost.

    Args:
        healthy: Tells whether the log can be written.
        paused: Tells whether the gateway is paused.
        waiting: Tells how many bytes wait in the spill file.
    """

    of: ClassVar[tuple[type[Event], ...]] = (
        AuditRecordedEvent, DecisionOutcomeEvent, FeedbackRecordedEvent, ShadowRecordedEvent, ToolSchemaChangedEvent,
        UpstreamAttemptedEvent,
    )  # fmt: skip

    def __init__(self, healthy: Callable[[], bool], paused: Callable[[], bool], waiting: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self._asked: dict[str, str] = {}
        self._state = _State(
            ("log_healthy", "Whether the log took the last write.", healthy),
            ("paused", "Whether an operator sent everything to the teacher.", paused),
            ("spill_bytes", "Bytes of events that wait for the log.", waiting),
        )

        def counter(name: str, text: str, *labels: str) -> Callable[..., Counter]:
            return functools.cache(Counter(f"distill_{name}", text, labels, registry=registry).labels)

        self._requests = counter("requests", "Requests by who answered them, and why.", "endpoint", "source", "reason")
        self._outcomes = counter("outcomes", "Answers by how they ended.", "source", "status")
        self._audits = counter("audits", "Audited local answers, by what the teacher said.", "agrees")
        self._shadows = counter("shadows", "Shadow decisions, by what the teacher said.", "would_send", "agrees")
        self._feedback = counter("feedback", "Feedback by what it said.", "success")
        self._attempts = counter("upstream_attempts", "Requests sent to the teacher.", "role", "status")
        self._cost = counter("cost_usd", "What the teacher cost, where that is known.", "role")
        self._unknown_cost = counter("unknown_cost", "Requests to the teacher of which the cost is not known.", "role")
        changes = "Tools offered with another definition than certified."
        self._schemas = Counter("distill_tool_schema_changes", changes, registry=registry)
        lost = "Events that could not be written anywhere. Alarm on any."
        self._lost = Counter("distill_events_lost", lost, registry=registry)
        self._refused = counter("refused", "Requests refused by the gateway.", "status")
        seconds = Histogram(
            "distill_request_seconds", "Until the answer ended.", ["source"], registry=registry, buckets=SECONDS
        )
        self._seconds = functools.cache(seconds.labels)
        self._pending: Tally[Counter] = Tally()
        self._took: list[tuple[Histogram, float]] = []

    def decided(self, exchange: Exchange) -> None:
        """A request has its verdict."""
        self._asked[exchange.receipt] = source = "student" if exchange.reason is None else "teacher"
        self._count(self._requests(exchange.dialect.path, source, exchange.reason or ""))

    def refused(self, status: int) -> None:
        """A request was refused with this status."""
        self._refused(str(status)).inc()

    def wrote(self, event: Event) -> None:
        """See `Observer.wrote`."""
        match event:
            case DecisionOutcomeEvent():
                source = self._asked.pop(event.decision_id, "teacher")
                self._took.append((self._seconds(source), (event.execution_time_ms or 0.0) / 1000))
                self._count(self._outcomes(source, event.status))
            case AuditRecordedEvent():
                self._audits(_word(event.agrees)).inc()
            case ShadowRecordedEvent():
                self._shadows(_word(event.would_send), _word(event.agrees)).inc()
            case UpstreamAttemptedEvent():
                self._attempts(event.role, event.status).inc()
                if event.cost_usd is None:
                    self._unknown_cost(event.role).inc()
                else:
                    self._cost(event.role).inc(event.cost_usd)
            case FeedbackRecordedEvent():
                self._feedback(_word(event.success)).inc()
            case ToolSchemaChangedEvent():
                self._schemas.inc()

    def lost(self, count: int) -> None:
        """See `Observer.lost`."""
        self._lost.inc(count)

    def _count(self, counter: Counter) -> None:
        """One more, told in a moment with all others: a count costs a lock and five calls, and cold ones at that."""
        if not self._pending:
            with contextlib.suppress(RuntimeError):  # no event loop: `render` will
                asyncio.get_running_loop().call_later(TELL_SECONDS, self.tell)
        self._pending[counter] += 1

    def tell(self) -> None:
        """Add what was counted a moment ago."""
        pending, took = self._pending, self._took
        self._pending, self._took = Tally(), []
        for counter, count in pending.items():
            counter.inc(count)
        for histogram, seconds in took:
            histogram.observe(seconds)

    def render(self) -> bytes:
        """The page, in Prometheus' text format; what is a state, not a count, is this process's own."""
        self.tell()
        shared = CollectorRegistry()
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        else:
            shared = self._registry
        state = CollectorRegistry()
        state.register(self._state)
        return generate_latest(shared) + generate_latest(state)


class _State(Collector):
    """Figures that are asked for when the page is."""

    def __init__(self, *figures: tuple[str, str, Callable[[], float]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, text, tell in self._figures:
            yield GaugeMetricFamily(f"distill_{name}", text, value=float(tell()))


def _word(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[value]
