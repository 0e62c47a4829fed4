"""What does the gateway cost a request? Relayed, recalled and decided, beside servers that do less or the same.

Every server is a process of its own on this machine, as are the teacher (a fixed answer) and the load
generator. CPU is that of the server's process, all threads; a rate holds for this machine with all of
them on it. What this file does not know: how good a student can be (`students`).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.data import MissingDataError, bank
from benchmarks.litellm_peer import litellm
from benchmarks.load import Answer, Load, post, run_load
from benchmarks.sections import Section, Table, number, share
from benchmarks.servers import Process, nginx, started
from benchmarks.speed import first_tasks
from benchmarks.stages import REQUESTS, stage_times, stages_table
from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision
from ultracore.distillation.tools import ToolCall, parse_call
from ultracore.distillation.train.fit import fit_compact

__all__ = ["measure_gateway"]

WEIGHT = 8.0
"""How often each context that the student remembers counts as seen: recurring work."""

ZIPF = 0.97
"""The exponent with which the k-th most frequent request is asked, 1 / k ** ZIPF; so that a fifth and more is new."""

CONNECTIONS = 64

FEW = 8
"""Connections where the student is to decide all: with more some would wait too long for it, and go to the teacher."""

OFFERED = 10_000
"""Requests a second that the goal wants held."""


RECALLED = "gateway: recurring, answered from memory"


class Scale(NamedTuple):
    """How much to measure: conversations of the bank, decisions to fit on, requests in a round, rounds."""

    conversations: int
    train: int
    requests: int
    rounds: int


FULL, QUICK = Scale(3600, 3000, 6000, 3), Scale(40, 150, 120, 1)


class Mix(NamedTuple):
    """Requests with what the teacher decided, and the orders in which they are asked.

    Attributes:
        decisions: What each request is about.
        requests: As bytes, one for each decision.
        orders: Places in `requests`: to warm up, of each round, and of the run at half the rate. What the student
            does not remember is in one of them only: a gate does not decide twice about the same bytes.
    """

    decisions: list[Decision]
    requests: list[bytes]
    orders: list[list[int]]


class Row(NamedTuple):
    """What one server did with one mix.

    Attributes:
        name: Of the server and what it had to do.
        n: Requests in a round.
        most: Requests a second, as many as were answered with 64 under way; one for each round.
        cpu_us: Microseconds of CPU a request, in the same rounds.
        p50, p99: Milliseconds at half that rate, from when a request was due.
        local: Share that the student answered.
        agreement: Share of those that agree strictly with the teacher.
    """

    name: str
    n: int
    most: list[float]
    cpu_us: list[float]
    p50: float
    p99: float
    local: float | None = None
    agreement: float | None = None


def measure_gateway(*, quick: bool = False, with_litellm: bool = False) -> Section:
    """All servers, one after the other.

    Raises:
        MissingDataError: This is not Linux: CPU of other processes is read from /proc.
    """
    if not sys.platform.startswith("linux"):
        raise MissingDataError("CPU time of other processes is read from /proc, so this needs Linux")
    scale = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        mixes = _prepare(Path(folder), scale)
        recurring, zipf = mixes.recurring, mixes.zipf
        rows, absent = _rows(Path(folder), stack, scale, mixes, with_litellm)
        offered = _offered(Path(folder), zipf, scale)
        bodies = [request.split(b"\r\n\r\n", 1)[1] for request in recurring.requests]
        stages = stage_times(Path(folder) / "model", Path(folder) / "keys", bodies)
        added = _added_latency(Path(folder), recurring, 200 if quick else 2000)
        sync = _sync_ms(Path(folder), 50 if quick else 500)
    section = _section(rows, absent, added, sync, zipf, mixes.misses)
    whole = next(statistics.median(row.cpu_us) for row in rows if row.name == RECALLED)
    section.tables[1:1] = [_offered_table(offered), stages_table(stages, min(REQUESTS, len(bodies)), whole)]
    section.figures |= {"offered": [row._asdict() for row in offered], "stages_us": stages}
    return section


class Mixes(NamedTuple):
    """What is asked.

    Attributes:
        recurring: Contexts that the student remembers.
        zipf: All contexts, by a Zipf law.
        new: Contexts that it does not remember, each of another conversation than the one before.
        live: Such contexts, conversation after conversation, step by step.
        misses: Share of the draws of `zipf` that it does not remember.
    """

    recurring: Mix
    zipf: Mix
    new: Mix
    live: Mix
    misses: float


def _prepare(folder: Path, scale: Scale) -> Mixes:
    """Fit a student on the first decisions, and mix what it is asked."""
    train, rest = first_tasks(bank(scale.conversations), scale.train)
    student = fit_compact([msgspec.structs.replace(d, weight=WEIGHT) for d in train]).student
    student.save(folder / "model")
    tools = {tool.name: tool.fingerprint for decision in train for tool in decision.state.tools}
    (folder / "tools.json").write_bytes(msgspec.json.encode(tools))
    known, other = _distinct(train), _distinct(rest)
    known_keys = {d.state.key for d in known}
    other = [d for d in other if d.state.key not in known_keys]
    rng = np.random.default_rng(0)
    runs = scale.rounds + 2
    ranks = 1.0 / np.arange(1, len(known) + len(other) + 1) ** ZIPF
    zipf = [
        _own_tail(rng.choice(len(ranks), scale.requests, p=ranks / ranks.sum()).tolist(), len(known), part)
        for part in _parts(len(other), runs, rng)
    ]
    drawn = [place for order in zipf for place in order]
    misses = sum(place >= len(known) for place in drawn) / len(drawn)
    few = max(1, min(scale.requests // 6, len(other) // runs))
    return Mixes(
        _mix(known, [rng.integers(len(known), size=scale.requests).tolist() for _ in range(runs)]),
        _mix([*known, *other], zipf),
        _mix(other, [part[:few] for part in _parts(len(other), runs, rng)]),
        _mix(other, [part[:few] for part in _parts(len(other), runs)]),
        misses,
    )


def _parts(count: int, runs: int, rng: np.random.Generator | None = None) -> list[list[int]]:
    """Every place once, in as many parts as there are runs: as they stand, or shuffled."""
    places = np.arange(count) if rng is None else rng.permutation(count)
    return [part.tolist() for part in np.array_split(places, runs)]


def _own_tail(ranks: Sequence[int], known: int, own: Sequence[int]) -> list[int]:
    """Places in a mix: ranks beyond what the student knows become contexts of this run alone, one for each rank."""
    tail = dict.fromkeys(rank for rank in ranks if rank >= known)
    places = {rank: known + own[place % len(own)] for place, rank in enumerate(tail)}
    return [places.get(rank, rank) for rank in ranks]


def _distinct(decisions: Sequence[Decision]) -> list[Decision]:
    """One decision of each context, where that is a call."""
    return list({d.state.key: d for d in decisions if d.is_call}.values())


def _mix(decisions: list[Decision], orders: list[list[int]]) -> Mix:
    return Mix(decisions, [post(_body(decision)) for decision in decisions], orders)


def _body(decision: Decision) -> bytes:
    tools = [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
        for t in decision.state.tools
    ]
    return msgspec.json.encode({"model": "teacher", "messages": decision.state.messages, "tools": tools})


def _rows(
    folder: Path, stack: ExitStack, scale: Scale, mixes: Mixes, with_litellm: bool
) -> tuple[list[Row], list[str]]:
    """What was measured, and what was not, with the reason."""
    recurring = mixes.recurring
    teacher = stack.enter_context(started("teacher"))
    url = f"http://127.0.0.1:{teacher.port}/v1"
    model = str(folder / "model")
    rows = [_measure("the teacher itself (a fixed answer)", lambda: teacher, recurring, scale)]
    absent = [] if with_litellm else ["LiteLLM's proxy (not asked for: --with-litellm installs it)"]
    with nginx() as peer:
        if peer is None:
            absent.append("nginx (not installed)")
        else:
            rows.append(_measure("nginx, a fixed answer", lambda: peer, recurring, scale))
    with started("bare") as bare:
        rows.append(_measure("uvicorn + msgspec, decodes, a fixed answer", lambda: bare, recurring, scale))
    plans: list[tuple[str, Mix, list[str], int]] = [
        ("gateway: relayed", recurring, [], CONNECTIONS),
        (RECALLED, recurring, [model, "0.5"], CONNECTIONS),
        (
            "gateway: Zipf mix, new contexts in each round, the sure answered, the rest relayed",
            mixes.zipf,
            [model, "0.5"],
            CONNECTIONS,
        ),
        ("gateway: contexts never asked before, all decided by the student", mixes.new, [model, "0"], FEW),
        ("gateway: the same, conversation after conversation, step by step", mixes.live, [model, "0"], FEW),
    ]
    for place, (name, mix, words, connections) in enumerate(plans):
        with started("gateway", str(folder / f"home{place}"), url, *words) as gateway:
            rows.append(_measure(name, lambda: gateway, mix, scale, connections))
    if with_litellm:
        with litellm(url) as peer:
            few = recurring._replace(orders=[order[: max(20, scale.requests // 20)] for order in recurring.orders])
            rows.append(_measure("LiteLLM proxy, relayed", lambda: peer, few, scale, connections=4))
    return rows, absent


def _measure(name: str, server: Callable[[], Process], mix: Mix, scale: Scale, connections: int = CONNECTIONS) -> Row:
    process = server()
    warm, *rounds, last = mix.orders
    run_load(process.port, mix.requests, warm[: max(20, len(warm) // 10)], connections=min(8, connections))
    most, cpu, answers = [], [], []
    for order in rounds:
        before = process.cpu_seconds
        load = run_load(process.port, mix.requests, order, connections=connections)
        cpu.append(1e6 * (process.cpu_seconds - before) / len(order))
        most.append(len(order) / load.seconds)
        answers += load.answers
    paced = run_load(process.port, mix.requests, last, connections=4 * connections, rate=statistics.median(most) / 2)
    bad = [answer for answer in answers + paced.answers if answer.status != 200]
    if bad:
        raise RuntimeError(f"{name}: {len(bad)} answers are not 200, the first: {bad[0]}")
    p50, p99 = (float(np.percentile([a.milliseconds for a in paced.answers], q)) for q in (50, 99))
    return Row(name, len(last), most, cpu, p50, p99, *_judged(answers, mix))


class Offered(NamedTuple):
    """What came of a rate that was offered: answers a second, CPU of each, how long they took, and who gave them."""

    name: str
    n: int
    held: float
    cpu_us: float
    p50: float
    p99: float
    sent_p50: float
    sent_p99: float
    local: float


def _offered(folder: Path, mix: Mix, scale: Scale) -> list[Offered]:
    """The goal's rate, to the teacher alone (what the load generator can do) and to the gateway with the Zipf mix."""
    rows = []
    order = [*mix.orders[1], *mix.orders[-1]]
    with started("teacher") as teacher:
        words = [str(folder / "offered"), f"http://127.0.0.1:{teacher.port}/v1", str(folder / "model"), "0.5"]
        with started("gateway", *words) as gateway:
            for name, server in (("the teacher itself", teacher), ("gateway, Zipf mix", gateway)):
                run_load(server.port, mix.requests, mix.orders[0][: scale.requests // 10], connections=8)
                before = server.cpu_seconds
                load = run_load(server.port, mix.requests, order, connections=4 * CONNECTIONS, rate=OFFERED)
                cpu = 1e6 * (server.cpu_seconds - before) / len(order)
                times = [[a.milliseconds for a in load.answers], [a.once_sent for a in load.answers]]
                quantiles = [float(np.percentile(values, q)) for values in times for q in (50, 99)]
                local = sum(a.source == b"student" for a in load.answers) / len(order)
                rows.append(Offered(name, len(order), len(order) / load.seconds, cpu, *quantiles, local))
    return rows


def _offered_table(rows: Sequence[Offered]) -> Table:
    cells = [
        [row.name, number(row.held, 0), number(row.cpu_us, 0), f"{number(row.p50, 1)} / {number(row.p99, 1)}",
         f"{number(row.sent_p50, 1)} / {number(row.sent_p99, 1)}", share(row.local), number(row.n, 0)] for row in rows
    ]  # fmt: skip
    note = (
        f"256 connections, a request every {1e6 / OFFERED:.0f} us whether the last were answered or not; milliseconds "
        "from when each was due: where the rate is not held they are the length of the load generator's own queue. "
        "Once sent: the server's part of it."
    )
    columns = ["server", "answers/s", "CPU us a request", "p50 / p99 ms", "once sent", "local %", "n"]
    return Table(f"{OFFERED:,} requests a second offered", columns, cells, note)


def _judged(answers: Sequence[Answer], mix: Mix) -> tuple[float | None, float | None]:
    """The share that the student answered, and the share of those that agree with the teacher."""
    if not any(answer.source for answer in answers):
        return None, None
    local = [answer for answer in answers if answer.source == b"student"]
    agreeing = [_agrees(answer, mix.decisions[answer.request]) for answer in local]
    return len(local) / len(answers), (sum(agreeing) / len(agreeing) if agreeing else None)


def _agrees(answer: Answer, decision: Decision) -> bool:
    message = msgspec.json.decode(answer.body)["choices"][0]["message"]
    calls: list[ToolCall] = [parse_call(call["function"]) for call in message["tool_calls"]]
    return strict(calls, decision.calls, decision.state.tools)


def _added_latency(folder: Path, mix: Mix, n: int) -> dict[str, list[float]]:
    """Milliseconds with one request under way: straight to the teacher, and through the gateway."""
    loads: dict[str, Load] = {}
    with ExitStack() as stack:
        teacher = stack.enter_context(started("teacher"))
        words = [str(folder / "alone"), f"http://127.0.0.1:{teacher.port}/v1"]
        both = {"direct": teacher, "relayed": stack.enter_context(started("gateway", *words))}
        for name, process in both.items():
            run_load(process.port, mix.requests, mix.orders[0][:100], connections=1)
            loads[name] = run_load(process.port, mix.requests, mix.orders[1][:n], connections=1)
    return {name: [answer.milliseconds for answer in load.answers] for name, load in loads.items()}


def _sync_ms(folder: Path, n: int) -> list[float]:
    """Milliseconds of an append of 4 KiB with fdatasync, in the folder of the logs."""
    took = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(n):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            took.append(1000.0 * (time.perf_counter() - began))
    return took


def _section(
    rows: Sequence[Row],
    absent: Sequence[str],
    added: dict[str, list[float]],
    sync: Sequence[float],
    mix: Mix,
    misses: float,
) -> Section:
    sizes = [len(request) for request in mix.requests]
    about = (
        f"synthetic example bank; {len(mix.requests):,} distinct bodies of {min(sizes):,} to {max(sizes):,} bytes, "
        f"median {statistics.median(sizes):,.0f}; Zipf exponent {ZIPF:g}, {misses:.1%} of the draws not in the "
        "student's memory"
    )
    figures: dict[str, Any] = {"rows": [row._asdict() for row in rows], "misses": misses, "absent": list(absent)}
    figures |= {"added_ms": {name: _quantiles(values) for name, values in added.items()}, "sync_ms": _quantiles(sync)}
    return Section("gateway", about, [_table(rows, absent), _latency_table(added, sync)], figures=figures)


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": float(np.percentile(values, q)) for q in (50, 99)} | {"n": len(values)}


def _table(rows: Sequence[Row], absent: Sequence[str]) -> Table:
    cells = [
        [
            row.name,
            f"{number(statistics.median(row.cpu_us), 0)} [{number(min(row.cpu_us), 0)}, {number(max(row.cpu_us), 0)}]",
            f"{number(statistics.median(row.most), 0)} [{number(min(row.most), 0)}, {number(max(row.most), 0)}]",
            f"{number(row.p50, 2)} / {number(row.p99, 2)}",
            share(row.local),
            share(row.agreement),
            f"{number(row.n, 0)} x {len(row.most)}",
        ]
        for row in rows
    ]
    columns = ["server", "CPU us a request", "requests/s", "p50 / p99 ms at half", "local %", "agree %", "n"]
    note = (
        "Median of the rounds, in brackets least and most; 64 requests under way (LiteLLM: 4; where the student is to"
        " decide all: 8). Local answers are sent after their decision is synced. The student is for this table only: "
        "every threshold is 0.5 (0 for contexts never asked before), without a certificate. A context that it does "
        "not remember is asked in one round only: a gate does not decide twice about the same bytes. Step by step the"
        " student has a message or two to read, drawn from all conversations a whole one."
    )
    if absent:
        note += f" Not measured here: {', '.join(absent)}."
    return Table("Gateway, one process", columns, cells, note)


def _latency_table(added: dict[str, list[float]], sync: Sequence[float]) -> Table:
    names = {"direct": "straight to the teacher", "relayed": "through the gateway"}
    rows = [(names[name], values) for name, values in added.items()]
    rows.append(("append of 4 KiB + fdatasync, same folder", list(sync)))
    cells = [
        [name, number(float(np.percentile(v, 50)), 3), number(float(np.percentile(v, 99)), 3), number(len(v), 0)]
        for name, v in rows
    ]
    return Table("One request under way", ["what", "p50 ms", "p99 ms", "n"], cells)
