"""How fast are the data products on a large log: point and filtered queries, aggregates, exports, rebuild, lag, memory?

The log holds decisions of the scripted bank, cut to about 2 KiB, of 20 agents and 30 days, nine in ten with an
outcome; another process writes it, so that the peak memory is that of the products alone. CPU time is that of this
process. What this file does not know: students.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.log import Took, append_ready, events_of_bank, prepared, timed
from benchmarks.sections import Section, Table, number
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.writer import Writer
from ultracore.distillation.products import AgentDecisionHistoryProduct
from ultracore.distillation.products.export import export
from ultracore.distillation.products.sql import open_session

__all__ = ["measure_products"]

AGENTS = 20
DAYS = 30
START = datetime(2026, 10, 1, tzinfo=UTC)
PIECE = 50_000
POINTS, FILTERED, PERSONAL = 5_000, 500, 200
RATE, LAG_SECONDS = 2_000, 15
AGGREGATE = (
    "SELECT agent_id, count(*), avg(success::INT), avg(confidence), sum(cost_usd), count(DISTINCT tool_selected) "
    "FROM agent_decision_history GROUP BY 1"
)


def measure_products(*, quick: bool = False) -> Section:
    """Project, ask, aggregate, export, follow."""
    n = 5_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(dir=os.environ.get("DISTILL_BENCH_DISK")) as folder:
        home = Path(folder)
        _apart(_make_log, home, n)
        store = SqliteEventStore(home / "log.db", protection=Protection(home / "keys", redact="off", encrypt=False))
        product = AgentDecisionHistoryProduct(store, home=home)
        rows: list[list[str]] = []
        figures: dict[str, Any] = {"decisions": n}

        def add(name: str, goal: str, shown: str, **raw: Any) -> None:
            figures[name] = raw
            rows.append([name, goal, shown])

        rebuilt = timed(product.rows.refresh)
        add("rebuild, s", "120", _seconds(rebuilt), **rebuilt._asdict())
        _queries(product, n, add, quick=quick)
        _whole(product, n, home, add)
        size = sum(file.stat().st_size for file in (home / "projections").rglob("*") if file.is_file())
        lags = _lags(home, product, seconds=2 if quick else LAG_SECONDS)
        add(f"lag at {RATE:,} decisions/s, p99 and greatest, s", "1", _ends(lags, 1.0), lags=len(lags))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        add("peak memory, MB", "1,000", number(peak, 0), megabytes=peak)
        add("rows on disk, bytes each", "-", number(size / n, 0), bytes=size)
        store.close()
    about = f"{n:,} decisions of the scripted bank, about 2 KiB each, {AGENTS} agents, {DAYS} days, not encrypted"
    columns = ["what", "goal", "measured, CPU (wall)"]
    return Section("products", about, [Table("Data products", columns, rows)], "", figures)


def _queries(product: AgentDecisionHistoryProduct, n: int, add: Callable[..., None], *, quick: bool) -> None:
    chance = random.Random(0)
    ids = [key for (key,) in product.rows.tuples("SELECT event_id FROM decisions")]
    chosen = chance.choices(ids, k=200 if quick else POINTS)
    took = timed(lambda: [product.query({"event_id": key}, limit=1) for key in chosen])
    rate = len(chosen) / took.cpu
    add(
        "point queries a second, one core",
        "1,000",
        f"{rate:,.0f} ({len(chosen) / took.wall:,.0f})",
        n=len(chosen),
        **took._asdict(),
    )
    filtered = [_filter(chance) for _ in range(50 if quick else FILTERED)]
    times = [timed(lambda wanted=wanted: product.query(wanted, limit=100)) for wanted in filtered]  # type: ignore[misc]
    add("filtered query, 100 rows, p50 and p99, ms", "50 (p99)", _percentiles(times), n=len(times))
    times = [
        timed(lambda wanted=wanted: product.query(wanted, limit=20, personal=True))  # type: ignore[misc]
        for wanted in filtered[:PERSONAL]
    ]
    add("the same with personal columns from the log, 20 rows, ms", "-", _percentiles(times), n=len(times))


def _filter(chance: random.Random) -> dict[str, Any]:
    """An agent's decisions of some days, all or those that went well or wrong."""
    first = START + timedelta(days=chance.uniform(0, DAYS - 3))
    window = {"gte": first.isoformat(), "lte": (first + timedelta(days=chance.uniform(0.01, 3))).isoformat()}
    chosen = {"agent_id": f"agent-{chance.randrange(AGENTS)}", "timestamp": window}
    return chosen | chance.choice([{}, {"success": True}, {"success": False}])


def _whole(product: AgentDecisionHistoryProduct, n: int, home: Path, add: Callable[..., None]) -> None:
    figures = timed(lambda: product.get_statistics(time_window_hours=None))
    add("aggregate over all, statistics, s", "1", _seconds(figures), **figures._asdict())
    first = timed(lambda: open_session(product.rows, product.tenant).close())
    add("first copy in columns, s", "-", _seconds(first), **first._asdict())
    opened = timed(lambda: open_session(product.rows, product.tenant).close())
    add("open a SQL session, s", "-", _seconds(opened), **opened._asdict())
    session = open_session(product.rows, product.tenant)
    asked = timed(lambda: session.ask(AGGREGATE))
    session.close()
    add("aggregate over all, SQL by agent, s", "1", _seconds(asked), **asked._asdict())
    written = timed(lambda: export(product, home / "rows.parquet"))
    shown = f"{n / written.cpu:,.0f} ({n / written.wall:,.0f})"
    add("export to Parquet, rows/s", "200,000", shown, **written._asdict())
    measured = timed(lambda: product.measure_quality(record=False))
    add("measure every quality rule, s", "-", _seconds(measured), **measured._asdict())


def _lags(home: Path, product: AgentDecisionHistoryProduct, seconds: float) -> list[float]:
    """Seconds between a decision and its row, seen by whoever refreshes ten times a second."""
    writer = multiprocessing.get_context("spawn").Process(target=_write_steadily, args=(home, seconds))
    product.rows.refresh()
    reached = product.rows.tuples("SELECT max(position) FROM decisions")[0][0]
    writer.start()
    lags: list[float] = []
    while writer.is_alive():
        product.rows.refresh()
        now = datetime.now(UTC)
        new = product.rows.tuples("SELECT position, timestamp FROM decisions WHERE position > ?", (reached,))
        lags += [(now - datetime.fromisoformat(at)).total_seconds() for _, at in new]
        reached = new[-1][0] if new else reached
        time.sleep(0.1)
    writer.join()
    return lags


def _write_steadily(home: Path, seconds: float) -> None:
    store = SqliteEventStore(home / "log.db", protection=Protection(home / "keys", redact="off", encrypt=False))
    (event,) = (e for e in store.read(limit=1) if isinstance(e, AgentDecisionEvent))
    data = {name: getattr(event, name) for name in event.__struct_fields__ if name != "metadata"}
    began = time.monotonic()
    for step in range(int(seconds * 20)):
        store.append([AgentDecisionEvent.record(**data) for _ in range(RATE // 20)])
        time.sleep(max(0.0, began + (step + 1) / 20 - time.monotonic()))
    store.close()


def _make_log(home: Path, n: int) -> None:
    events, _, _ = events_of_bank(home, 60 if n < PIECE else 600)
    chance = random.Random(0)
    told = [_lived(event, chance) for event in events if isinstance(event, AgentDecisionEvent)]
    plain = Protection(home / "plain", redact="off", encrypt=False)
    path = home / "log.db"
    for start in range(0, n, PIECE):
        rows, parts = prepared(told, min(PIECE, n - start), plain)
        rows = [row._replace(occurred_at=_time((start + i) / n)) for i, row in enumerate(rows)]
        writer = Writer(path, "FULL", 60.0, 1.0)
        writer.open(create=True)
        append_ready(writer, home, rows, parts)


def _lived(event: AgentDecisionEvent, chance: random.Random) -> AgentDecisionEvent:
    told = {"success": chance.random() < 0.9, "execution_time_ms": chance.uniform(10, 900), "cost_usd": 0.001}
    outcome = told if chance.random() < 0.9 else None
    agent = f"agent-{chance.randrange(AGENTS)}"
    return msgspec.structs.replace(event, agent_id=agent, confidence=chance.random(), outcome=outcome)


def _time(share: float) -> str:
    return (START + timedelta(days=DAYS * share)).isoformat()


def _apart(work: Callable[..., None], *arguments: Any) -> None:
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{work.__name__} ended with {process.exitcode}")


def _seconds(took: Took) -> str:
    return f"{took.cpu:,.2f} ({took.wall:,.2f})"


def _percentiles(times: list[Took]) -> str:
    cpu, wall = np.array([t.cpu for t in times]) * 1e3, np.array([t.wall for t in times]) * 1e3
    return ", ".join(f"{np.percentile(cpu, q):.2f} ({np.percentile(wall, q):.2f})" for q in (50, 99))


def _ends(values: list[float], scale: float) -> str:
    if not values:
        return "-"
    return f"({np.percentile(values, 99) * scale:.2f}, {max(values) * scale:.2f})"
