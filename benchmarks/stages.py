"""Where does the CPU of an answer from memory go? The gateway's own stages, one after the other, in this process.

Each stage does what the gateway does with the same requests; the least of the passes counts, so that other work on
the machine adds little. What the server needs besides (HTTP, the event loop, the thread that writes the log) is
what `gateway` measures of the whole process, less these. What this file does not know: rates and latencies.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.sections import Table, number
from benchmarks.servers import gate_of
from ultracore.distillation.agreement import NO_COMPARATORS
from ultracore.distillation.events.facts import Event, utc_now
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.rows import row_of
from ultracore.distillation.serve.dialect import CHAT
from ultracore.distillation.serve.exchange import Exchange
from ultracore.distillation.serve.gate import Escalate, Reason
from ultracore.distillation.serve.offer import read_offer
from ultracore.distillation.serve.policy import workload_of
from ultracore.distillation.serve.recent import Recent
from ultracore.distillation.serve.recurring import recurring_of
from ultracore.distillation.serve.wire import ChatRequest

__all__ = ["REQUESTS", "stage_times", "stages_table"]

PASSES = 15
REQUESTS = 300
PLENTY = 1 << 30
"""Bytes: here everything that was asked is remembered, and in the gateway what fits."""


def stage_times(model: Path, keys: Path, bodies: Sequence[bytes]) -> dict[str, dict[str, float]]:
    """Microseconds of CPU of each stage, for requests that are new and for the same ones again.

    Args:
        model: Folder of a student that knows the requests.
        keys: Folder for a keyring.
        bodies: Of requests, all different.
    """
    bodies, gate, protection = bodies[:REQUESTS], gate_of(model, 0.5), Protection(keys)

    def exchange(request: ChatRequest) -> Exchange:
        offer = read_offer(request.tools)
        return Exchange(
            dialect=CHAT, request=request, offer=offer, receipt=uuid.uuid4().hex, session=request.session,
            verdict=gate.at_once(request) or Escalate(Reason.LOW_CONFIDENCE), agent_id=workload_of(request.messages),
            tenant="default", model_id=gate.student.model_id, certificate_id=gate.certificate_id,
            comparators=NO_COMPARATORS, audit_share=0.05, started=time.perf_counter(), clock=utc_now,
        )  # fmt: skip

    def read(body: bytes) -> ChatRequest:
        return recent.parse(CHAT, "default", body)

    def decision(e: Exchange) -> Event:
        return recurring_of(e).decision(e, utc_now())

    def outcome(e: Exchange) -> Event:
        return e.outcome("ok")

    def store(event: Event) -> Any:
        return row_of(event, protection)

    def stages() -> Iterable[tuple[str, Callable[[Any], Any], Sequence[Any]]]:
        yield "read the request", read, bodies
        requests = [recent.parse(CHAT, "default", body) for body in bodies]
        yield "verdict of the gate, by heart", gate.at_once, requests
        exchanges = [exchange(request) for request in requests]
        yield "what it has in common with those before", recurring_of, exchanges
        yield "decision event", decision, exchanges
        yield "decision: encode, redact, seal", store, [decision(e) for e in exchanges]
        yield "headers and body", lambda e: (recurring_of(e).lines(e), recurring_of(e).body(e, utc_now())), exchanges
        yield "outcome event", outcome, exchanges
        yield "outcome: encode, redact", store, [outcome(e) for e in exchanges]

    recent = Recent(PLENTY)
    times: dict[str, dict[str, float]] = {"new": {}, "again": {}}
    for name, work, items in stages():
        times["new"][name] = _least(work, items, 1)
    for name, work, items in stages():
        times["again"][name] = _least(work, items, PASSES)
    return times


def _least(work: Callable[[Any], Any], items: Sequence[Any], passes: int) -> float:
    took = []
    for _ in range(passes):
        began = time.thread_time()
        for item in items:
            work(item)
        took.append(time.thread_time() - began)
    return 1e6 * min(took) / len(items)


def stages_table(times: dict[str, dict[str, float]], n: int, whole: float) -> Table:
    """The stages as a table.

    Args:
        times: See `stage_times`.
        n: Requests.
        whole: Microseconds of the whole server process for an answer from memory, as measured.
    """
    again = times["again"]
    inside = sum(again.values())
    rows = [[name, number(times["new"][name]), number(took)] for name, took in again.items()]
    rows.append(["all of these", "", number(inside)])
    rows.append(["the whole process, as measured above", "", number(whole, 0)])
    note = (
        f"{n} requests, each read once (new), then {PASSES} times again, least pass; thread CPU. What is left of the "
        "whole is HTTP, the event loop, and the thread that writes the log, with caches colder than here."
    )
    return Table("An answer from memory, stage by stage", ["stage", "new, CPU us", "again, CPU us"], rows, note)
