"""How soon is a bad student found out, how often is a good one accused, and how often do detectors cry wolf?

    python -m benchmarks watching

Simulated audits whose true agreement is known, through the very `Wealth` that watches a gateway, many runs at a
time; simulated traffic through the very detectors. What this file does not know: how good any student is.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.sections import Section, Table
from ultracore.distillation.events import AgentDecisionEvent, AlertRaisedEvent, AuditRecordedEvent, Event
from ultracore.distillation.settings import Settings
from ultracore.distillation.watch import conditions
from ultracore.distillation.watch.alerts import Alerts, Condition
from ultracore.distillation.watch.audits import FOR_ALL, RISK
from ultracore.distillation.watch.bounds import Bounds, Wealth
from ultracore.distillation.watch.latency import Latencies
from ultracore.distillation.watch.traffic import WINDOW, Traffic

__all__ = ["measure_watching"]

FLOOR, TOOLS, GOOD = 0.93, 7, 0.97
NEVER = np.iinfo(np.int64).max
CHUNK = 1000
COMPARISONS_A_MONTH = 30 * 10_000 // WINDOW

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Found(NamedTuple):
    """Of each run: after how many audits all calls, and any action, were refuted; `NEVER` where they were not."""

    whole: IntArray
    action: IntArray
    of_its_own: IntArray
    """Audits of that action until then."""

    @property
    def first(self) -> IntArray:
        return np.minimum(self.whole, self.action)


def measure_watching(*, quick: bool = False) -> Section:
    """Revocations, weights, drift, flapping."""
    runs = 200 if quick else 5000
    rng = np.random.default_rng(0)
    tables = [_worse(runs, rng), _false(runs, rng), _changed(runs, rng), _valid(runs, rng), _weighted(runs, rng)]
    tables += [_drift(30 if quick else 3 * COMPARISONS_A_MONTH), _flapping(2 if quick else 20)]
    about = f"simulated audits of {TOOLS} tools at a floor of {FLOOR:.0%}, {runs:,} runs a row; simulated traffic"
    return Section("watching", about, tables=tables, figures={"runs": runs})


def _worse(runs: int, rng: np.random.Generator) -> Table:
    rows = []
    for good in (0, 1000, 10_000):
        n = runs if good < 10_000 else min(runs, 1000)
        agrees = [GOOD] * good + [FLOOR - 0.13] * 800
        found = _watch(*_audits(np.array(agrees), n, rng))
        rows.append([f"{good:,}", f"{n:,}", *_delays(found.whole - good), *_delays(found.first - good)])
    columns = [
        "good audits before",
        "runs",
        "all calls: median",
        "95 %",
        "within 200",
        "anything: median",
        "95 %",
        "within 200",
    ]
    note = "audits with a label until CERTIFICATE_REVOKED; `all calls` as if no action had been revoked before"
    return Table("A student 13 points below its floor, in every action", columns, rows, note)


def _false(runs: int, rng: np.random.Generator) -> Table:
    rows = []
    for agreement in (FLOOR, 0.95, GOOD):
        wrong = int((_watch(*_audits(np.full(5000, agreement), runs, rng)).first < NEVER).sum())
        rows.append([f"{agreement:.0%}", f"{runs:,}", str(wrong), f"{wrong / runs:.3%}", _upto(wrong, runs)])
    columns = ["true agreement", "runs", "revoked, of anything", "share", "95 % upper limit of the share"]
    return Table("False revocations in 5,000 audits", columns, rows, f"promised: at most {RISK:.1%} for all time")


def _changed(runs: int, rng: np.random.Generator) -> Table:
    rows = []
    for before, now in itertools.product((0, 1000), (0.0, 0.3, 0.5)):
        actions = rng.integers(TOOLS, size=(runs, before + 400))
        chance = np.where((actions == 0) & (np.arange(before + 400) >= before), now, GOOD)
        found = _watch(rng.random(actions.shape) < chance, actions)
        delay, earlier = found.first - before, (actions[:, :before] == 0).sum(axis=1)
        own = np.where(found.action < NEVER, found.of_its_own - earlier, NEVER)
        rows.append([f"{before:,}", f"{now:.0%}", *_delays(delay, 150), *_delays(own, 150)])
    columns = ["good audits before", "agreement of that tool now", "audits of all tools: median", "95 %", "within 150"]
    columns += ["audits of that tool: median", "95 %", "within 150"]
    return Table(
        "The teacher's policy changed for 1 of 7 tools",
        columns,
        rows,
        f"{runs:,} runs a row; the tools are asked for alike",
    )


def _valid(runs: int, rng: np.random.Generator) -> Table:
    rows = []
    for mean in (0.5, 0.8, FLOOR, 0.99):
        wealth, ever = Wealth(np.full(runs, mean)), np.zeros(runs, dtype=bool)
        for _ in range(3000):
            wealth.bet((rng.random(runs) < mean).astype(float))
            ever |= wealth.total >= 1 / 0.05
        rows.append([f"{mean:.2f}", f"{ever.mean():.2%}"])
    return Table(
        "Bound at risk 5 %, ever wrong within 3,000 looks", ["true mean", "share of runs"], rows, f"{runs:,} runs"
    )


def _weighted(runs: int, rng: np.random.Generator) -> Table:
    truth, chance, share = 0.951, (0.99, 0.86), (0.02, 0.10)
    bad = rng.random((min(runs, 1000), 20_000)) < 0.3
    agrees, probability = rng.random(bad.shape) < np.where(bad, *chance[::-1]), np.where(bad, *share[::-1])
    drawn = rng.random(bad.shape) < probability
    rows = []
    for name, weight in (("weighted by inverse probability", share[0] / probability), ("plain", np.ones(bad.shape))):
        kept = weight * drawn
        estimate = (kept * agrees).sum(axis=1) / kept.sum(axis=1)
        wealth, refuted = Wealth(np.full(len(bad), truth)), np.zeros(len(bad), dtype=bool)
        for step in range(bad.shape[1]):
            wealth.bet(agrees[:, step].astype(float), kept[:, step])
            refuted |= wealth.total >= 1 / 0.05
        rows.append([name, f"{estimate.mean() - truth:+.2%}", f"{refuted.mean():.1%}"])
    columns = ["estimate", "bias", f"the true {truth:.1%} ever refuted at risk 5 %"]
    note = f"{len(bad):,} runs of 20,000 sent calls; 30 % agree at 86 % and are audited at 10 %; the rest 99 %, 2 %"
    return Table("Two kinds of calls, the worse one audited five times as often", columns, rows, note)


def _drift(comparisons: int) -> Table:
    rng, alarms, highest = np.random.default_rng(1), Counter[str](), dict[str, float]()
    now, traffic = datetime(2026, 1, 1, tzinfo=UTC), Traffic()
    for number in range(comparisons):
        if number % COMPARISONS_A_MONTH == 0:  # another deployment, another reference
            traffic = Traffic()
            for event in _traffic(rng, WINDOW):
                traffic.apply(event)
        for event in _traffic(rng, WINDOW):
            traffic.apply(event)
        for found in traffic.compare(now, None):
            alarms[found.detector] += found.alarmed
            highest[found.detector] = max(highest.get(found.detector, 0.0), found.score)
    months = comparisons / COMPARISONS_A_MONTH
    rows = [
        [name, str(alarms[name]), f"{alarms[name] / months:.2f}", f"{highest[name]:.3f}"] for name in sorted(highest)
    ]
    columns = ["detector", "false alarms", "a month", "highest score"]
    return Table(
        f"Unchanged traffic, {months:.1f} months of 10,000 decisions a day",
        columns,
        rows,
        "alarm above 0.1 with p <= 0.001",
    )


def _flapping(runs: int) -> Table:
    rows = []
    for truth in (0.95, 0.90, 0.85):
        raised = [_agreement_alerts(seed, truth) for seed in range(runs)]
        rows.append([f"agreement {truth:.0%}", "agreement_low", f"{np.mean(raised):.2f}", str(max(raised))])
    for p95 in (150.0, 200.0, 260.0):
        raised = [_latency_alerts(seed, p95) for seed in range(runs)]
        rows.append([f"p95 {p95:.0f} ms", "latency_high", f"{np.mean(raised):.2f}", str(max(raised))])
    columns = ["truth", "alert", "raised in 30 days, mean", "most"]
    note = f"{runs} runs a row, a look every 15 minutes; 50 audits a day, 200 answers an hour; limits 90 % and 200 ms"
    return Table("Flapping", columns, rows, note)


def _agreement_alerts(seed: int, truth: float) -> int:
    rng, bounds, settings = np.random.default_rng(seed), Bounds(FLOOR), Settings()

    def look(step: int) -> Condition:
        for _ in range(rng.poisson(50 / 96)):
            bounds.observe(bool(rng.random() < truth), 0.01)
        return conditions.agreement(settings, bounds.upper(conditions.AGREEMENT_RISK), bounds.mean)

    return _thirty_days(look)


def _latency_alerts(seed: int, p95: float) -> int:
    rng, settings, hour = np.random.default_rng(seed), Settings(), Latencies()

    def look(step: int) -> Condition:
        nonlocal hour
        hour = Latencies() if step % 4 == 0 else hour
        for took in p95 * np.exp(0.5 * (rng.standard_normal(50) - 1.645)):
            hour.add(float(took))
        return conditions.latency(settings, hour)

    return _thirty_days(look)


def _thirty_days(look: Callable[[int], Condition]) -> int:
    """How often an alert is raised."""
    alerts, now, raised = Alerts("default"), datetime(2026, 1, 1, tzinfo=UTC), 0
    for step in range(30 * 96):
        now += timedelta(minutes=15)
        for event in alerts.follow([look(step)], "m", lambda: now):  # noqa: B023  asked at once
            alerts.apply(event)
            raised += isinstance(event, AlertRaisedEvent)
    return raised


def _audits(
    agreement: NDArray[np.float64], runs: int, rng: np.random.Generator
) -> tuple[BoolArray, NDArray[np.integer]]:
    agrees = rng.random((runs, len(agreement)), dtype=np.float32) < agreement
    return agrees, rng.integers(TOOLS, size=agrees.shape, dtype=np.int8)


def _watch(agrees: BoolArray, actions: NDArray[np.integer]) -> Found:
    """Rows are runs, columns audits in order."""
    if len(agrees) > CHUNK:
        parts = [_watch(agrees[k : k + CHUNK], actions[k : k + CHUNK]) for k in range(0, len(agrees), CHUNK)]
        return Found(*(np.concatenate(side) for side in zip(*parts, strict=True)))
    whole = _refuted(agrees, RISK * FOR_ALL)
    action, own = np.full(len(agrees), NEVER), np.full(len(agrees), NEVER)
    for tool in range(TOOLS):
        mine = actions == tool
        order = np.argsort(~mine, axis=1, kind="stable")[:, : mine.sum(axis=1).max()]
        count = _refuted(np.take_along_axis(agrees, order, axis=1), RISK * (1 - FOR_ALL) / TOOLS)
        found = np.flatnonzero(count <= mine.sum(axis=1))  # what comes after a run's own audits is another's
        position = order[found, count[found] - 1] + 1
        better = position < action[found]
        action[found[better]], own[found[better]] = position[better], count[found[better]]
    return Found(whole, action, own)


def _refuted(agrees: BoolArray, risk: float) -> IntArray:
    wealth, found = Wealth(np.full(len(agrees), FLOOR)), np.full(len(agrees), NEVER)
    for step in range(agrees.shape[1]):
        wealth.bet(agrees[:, step].astype(float))
        found[(found == NEVER) & (wealth.total >= 1 / risk)] = step + 1
    return found


def _delays(delay: IntArray, within: int = 200) -> list[str]:
    """Median, 95 % quantile and the share within a number; a revocation before the change would be negative."""
    median, most = (np.quantile(delay, q, method="higher") for q in (0.5, 0.95))
    said = [str(int(value)) if value < 10**9 else "later" for value in (median, most)]
    return [*said, f"{(delay <= within).mean():.1%}"]


def _upto(count: int, runs: int) -> str:
    return f"{stats.beta.ppf(0.95, count + 1, runs - count):.3%}"


def _traffic(rng: np.random.Generator, n: int) -> Iterator[Event]:
    """Episodes of five decisions about one subject; contexts occur again, the teacher contradicts itself at times."""
    for _ in range(n // 5):
        session, tool = f"{rng.integers(10**12)}", int(rng.choice(TOOLS, p=[0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05]))
        for _ in range(5):
            number, local = int(rng.integers(15)), bool(rng.random() < 0.5)
            chosen = tool if rng.random() < 0.95 else int(rng.integers(TOOLS))
            words = " ".join(f"w{'abcdefghijkl'[k]}{'xyz'[tool % 3]}" for k in rng.integers(12, size=6))
            said = f"subject{'abcdefg'[tool]} {words if number > 9 else number}"
            event = AgentDecisionEvent.record(
                agent_id="a", session_id=session, source="student" if local else "teacher",
                context={"messages": [{"role": "user", "content": said}]},
                tools_available=[{"name": f"tool_{k}"} for k in range(TOOLS)],
                tool_selected=f"tool_{chosen}", tool_calls=[{"name": f"tool_{chosen}", "arguments": {}}],
                serving={"reason": None if local else ("low_confidence", "text_reply")[int(rng.random() < 0.3)]},
            )  # fmt: skip
            yield event
            if local and rng.random() < 0.05:
                yield AuditRecordedEvent.record(
                    decision_id=event.metadata.event_id, model_id="m", action="x", agrees=True,
                    sampling_probability=0.05, teacher_calls=[{"name": f"tool_{chosen}", "arguments": {}}],
                )  # fmt: skip
