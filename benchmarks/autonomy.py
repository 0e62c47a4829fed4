"""The loop end to end: the teacher changes its policy on one of seven tools; is it noticed, and is it won back?

    python -m benchmarks autonomy

The gateway and the student are scripted (a student is a table of what it saw), so that a run takes a second; the log,
the watcher, the cycle of the four agents, the paired comparison and the roll-back are the product's own. Every figure
is about simulated traffic. What this file does not know: the product's inner workings; it only talks through the log.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from scipy import stats

from benchmarks.sections import Section, Table, number, share
from ultracore.distillation.autonomy.backend import (
    compare_candidate,
    stopped_actions,
    training_decisions,
)
from ultracore.distillation.autonomy.cycle import Cycle
from ultracore.distillation.autonomy.promotion import candidate_of
from ultracore.distillation.autonomy.rules import PromotionRules, RetrainRules
from ultracore.distillation.autonomy.traffic import Model
from ultracore.distillation.autonomy.work import Compared
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.events import (
    AgentDecisionEvent,
    AuditRecordedEvent,
    CertificateDecidedEvent,
    CertificateRevokedEvent,
    Event,
    ModelDeployedEvent,
    ModelEvaluatedEvent,
    ModelStagedEvent,
    ModelTrainedEvent,
)
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.settings import Settings
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.students.registry import ModelRegistry
from ultracore.distillation.tools import REPLY, ToolCall, parse_tool
from ultracore.distillation.watch.watcher import Watcher

__all__ = ["PROMOTION", "RETRAINING", "Run", "TableStudent", "World", "measure_autonomy", "run_once"]

TOOLS = 7
WORDS = 21
NOISE = 0.01
TURNS = 4
PROMOTION = PromotionRules(cool_down_seconds=0.0, settle_seconds=30.0, canary_share=0.3)
RETRAINING = RetrainRules(first_decisions=400, after_change=200, least_hours=0.0, most_a_day=1000, new_decisions=10**6)
FIGURES = {"accuracy_vs_teacher": 0.99, "latency_ms": 1.0, "cost_per_request_usd": 0.0, "training_duration_hours": 0.0}


class TableStudent:
    """Knows what it saw for each word; how sure it is, is how often it saw the same."""

    def __init__(self, model_id: str, table: dict[str, tuple[str, float]]) -> None:
        self.model_id, self.table = model_id, table

    @classmethod
    def fit(cls, decisions: Sequence[Decision]) -> TableStudent:
        """Majority of each word, by weight."""
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        for d in decisions:
            seen[_word(d.state)][d.action if d.calls else ""] += d.weight  # type: ignore[assignment]
        table = {}
        for word, counts in sorted(seen.items()):
            tool, most = counts.most_common(1)[0]
            table[word] = (tool, round(most / (sum(counts.values()) + 1.0), 6))
        digest = hashlib.sha256(msgspec.json.encode(table)).hexdigest()[:16]
        return cls(digest, table)

    def save(self, folder: Path) -> str:
        """See `Savable`."""
        (folder / "weights").write_bytes(msgspec.json.encode([self.model_id, self.table]))
        return self.model_id

    def propose(self, state: State) -> Proposal:
        """See `Student`."""
        tool, confidence = self.table.get(_word(state), ("", 0.0))
        return Proposal((ToolCall(tool, {}),) if tool else (), confidence)

    def propose_batch(self, states: Sequence[State]) -> list[Proposal]:
        """See `Student`."""
        return [self.propose(state) for state in states]


def load_table(folder: Path) -> TableStudent:
    """A student from its file."""
    model_id, table = msgspec.json.decode((folder / "weights").read_bytes(), type=tuple[str, dict[str, Any]])
    return TableStudent(model_id, {word: (tool, sure) for word, (tool, sure) in table.items()})


class World:
    """Traffic, a teacher whose policy may change, and a gateway that follows the log.

    Args:
        folder: Home of the log and of the models.
        seed: Of everything random.
        audit_share: Of the calls that are sent (0..1).
        after_fit: Spoils or replaces a student before it is published.
        promotion: Rules.
        retraining: Rules.
    """

    def __init__(
        self,
        folder: Path,
        seed: int = 0,
        audit_share: float = 0.1,
        after_fit: Any = lambda s: s,
        promotion: PromotionRules = PROMOTION,
        retraining: RetrainRules = RETRAINING,
    ) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.store = SqliteEventStore(folder / "log.db", synchronous="NORMAL")
        self.registry = ModelRegistry(folder, self.store, load_table)
        self.draw = random.Random(seed)
        self.audit_share, self.after_fit, self.promotion = audit_share, after_fit, promotion
        self.tools = [{"name": f"tool_{i}"} for i in range(TOOLS)]
        self.policy = {f"w{i}": f"tool_{i % TOOLS}" for i in range(WORDS)} | {"hello": ""}
        self.sent: list[tuple[str, bool]] = []
        self.decisions = 0
        self.audits = 0
        watcher = Watcher(self.store, Settings(home=str(folder)), clock=self.clock)
        self.cycle = Cycle(
            self.store, folder, "default", self, look=watcher.look, retraining=retraining,
            clock=self.clock, registry=self.registry,
        )  # fmt: skip
        self._active: Model | None = None
        self._canary: Model | None = None

    def clock(self) -> datetime:
        """The simulated time."""
        return self.now

    def change(self) -> None:
        """The teacher's policy on tool_0 changes: a new tool is called instead."""
        self.tools = [*self.tools, {"name": "tool_new"}]
        self.policy = {word: "tool_new" if tool == "tool_0" else tool for word, tool in self.policy.items()}

    def talk(self, conversations: int) -> None:
        """So many conversations, then a round of the loop after each tenth."""
        for _ in range(conversations):
            self.now += timedelta(seconds=20)
            session = f"s{self.draw.random()}"
            model = self._canary if self._canary and self.draw.random() < self.promotion.canary_share else self._active
            self.store.append([e for _ in range(TURNS) for e in self._turn(session, model)])
            if self.draw.random() < 0.1:
                self.round()

    def round(self) -> None:
        """One of the loop, and what the gateway then hears."""
        self.cycle.round()
        candidate = candidate_of(self.store, "default")
        tried = candidate is not None and candidate.stage == "canary"
        self._canary = self._model(candidate.model_id) if candidate is not None and tried else None
        self._active = self._model(self.registry.active_id())

    def train(self) -> dict[str, Any]:
        """See `TrainingBackend.train`: the table, with a certificate for words of which it is sure."""
        decisions = training_decisions(self.store, "default")
        student = self.after_fit(TableStudent.fit(decisions))
        self.registry.publish(student)
        actions = {tool for tool, _ in student.table.values() if tool}
        offered = {t.name: t.fingerprint for d in decisions for t in d.state.tools}
        issued = Certificate(
            certified=True, model_id=student.model_id, thresholds=dict.fromkeys(sorted(actions), 0.9), coverage=0.9,
            tools=offered, target=0.93, sent=1, agreeing=1,
        )  # fmt: skip
        self.registry.save_certificate(issued)
        active = self.registry.active_id()
        about: dict[str, Any] = {"model_id": student.model_id, "clock": self.clock}
        verdict: Event = ModelDeployedEvent.record(model_name="table", model_size=1, **FIGURES, **about)
        if active not in (None, student.model_id):
            rules = msgspec.to_builtins(self.promotion)
            verdict = ModelStagedEvent.record(stage="shadow", reason="certified", against=active, rules=rules, **about)
        n = len(decisions)
        facts = [
            ModelTrainedEvent.record(
                model_name="table", dataset_id="d", decisions=n, episodes=n, training_seconds=0.0, seed=0, **about
            ),
            ModelEvaluatedEvent.record(data_id="d", decisions=n, metrics=FIGURES, **about),
            CertificateDecidedEvent.record(certified=True, certificate=msgspec.to_builtins(issued), **about),
            verdict,
        ]
        self.store.append(facts)
        return {"status": "trained", "reason": "", "model_id": student.model_id, "decisions": n}

    def compare(self) -> Compared:
        """See `TrainingBackend.compare`."""
        return compare_candidate(self.store, self.registry, "default", self.clock)

    def _model(self, name: str | None) -> Model | None:
        if name is None:
            return None
        stopped = stopped_actions(self.store, "default", name)
        return Model(self.registry.load(name), self.registry.load_certificate(name), stopped)

    def _turn(self, session: str, model: Model | None) -> list[Event]:
        self.decisions += 1
        word = self.draw.choice(sorted(self.policy))
        messages = [{"role": "user", "content": word}]
        right = self.policy[word]
        if self.draw.random() < NOISE:
            right = self.draw.choice([t["name"] for t in self.tools])
        state = State(messages, [parse_tool(tool) for tool in self.tools])
        sends = model.sends(Decision(state=state, episode=session, task=session)) if model else None
        model_id = model.student.model_id if model else ""
        done = right if sends is None else sends[0].name
        decision = AgentDecisionEvent.record(
            agent_id="support", session_id=session, context={"messages": messages}, tools_available=self.tools,
            tool_selected=done or REPLY, tool_calls=[{"name": done, "arguments": {}}] if done else [],
            source="teacher" if sends is None else "student", serving={"model_id": model_id}, teacher_model="t",
            label_probability=1.0 if sends is None else self.audit_share, clock=self.clock,
        )  # fmt: skip
        if sends is None:
            return [decision]
        self.sent.append((model_id, done == right))
        if self.draw.random() >= self.audit_share:
            return [decision]
        self.audits += 1
        audit = AuditRecordedEvent.record(
            decision_id=decision.metadata.event_id, model_id=model_id, action=done, agrees=done == right,
            sampling_probability=self.audit_share, clock=self.clock,
            teacher_calls=[{"name": right, "arguments": {}}] if right else [],
        )  # fmt: skip
        return [decision, audit]

    def close(self) -> None:
        """Let go of files."""
        self.cycle.close()
        self.store.close()


def _word(state: State) -> str:
    return str(state.messages[-1]["content"])


class Run(NamedTuple):
    """One run.

    Attributes:
        audits: Labelled audits after the change until a certificate was revoked; `None` where none was.
        tool_only: Whether the tool's own certificate was revoked, and no other's.
        before: Agreement of the calls sent before the change (0..1).
        during: After the change, until the revocation.
        after: Of those that the new model sent once it answered all; `None` where none came to answer.
        coverage_before: Sent calls over all decisions.
        coverage_after: Likewise, by the new model.
        decisions: From the change to the new model's deployment.
    """

    audits: int | None
    tool_only: bool
    before: float
    during: float | None
    after: float | None
    coverage_before: float
    coverage_after: float | None
    decisions: int


def run_once(seed: int, *, settle: int = 250, after: int = 250, patience: int = 1500) -> Run:
    """Learn, take over, change, notice, win back; conversations of `TURNS` decisions."""
    with tempfile.TemporaryDirectory(prefix="distill-autonomy-") as folder:
        world = World(Path(folder), seed)
        try:
            return _run(world, settle, after, patience)
        finally:
            world.close()


def _run(world: World, settle: int, after: int, patience: int) -> Run:
    while world.registry.active_id() is None and world.decisions < 10_000:
        world.talk(10)
    first, start, decided = world.registry.active_id(), len(world.sent), world.decisions
    world.talk(settle)
    before, coverage = _agreement(world.sent[start:]), (len(world.sent) - start) / (world.decisions - decided)
    world.change()
    sent, audits, at = len(world.sent), world.audits, world.decisions
    while not _revoked(world) and world.decisions < at + TURNS * patience:
        world.talk(5)
    found = _revoked(world)
    needed = world.audits - audits if found else None
    during = _agreement(world.sent[sent:])
    while world.registry.active_id() in (first, None) and world.decisions < at + 2 * TURNS * patience:
        world.talk(10)
    won = world.registry.active_id() not in (first, None)
    took, start = world.decisions - at, len(world.sent)
    world.talk(after)
    sent_after = len(world.sent) - start
    covered = sent_after / (world.decisions - at - took)
    tool_only = {a for event in found for a in event.actions} == {"tool_0"}
    won_back = _agreement(world.sent[start:]) if won else None
    return Run(needed, tool_only, before or 0.0, during, won_back, coverage, covered if won else None, took)


def _revoked(world: World) -> list[CertificateRevokedEvent]:
    events = world.store.read(types=[CertificateRevokedEvent.event_type])
    return [event for event in events if isinstance(event, CertificateRevokedEvent)]


def _agreement(sent: Sequence[tuple[str, bool]]) -> float | None:
    return sum(right for _, right in sent) / len(sent) if sent else None


def measure_autonomy(*, quick: bool = False) -> Section:
    """The runs, and what was promised of them."""
    runs = [run_once(seed) for seed in range(2 if quick else 20)]
    noticed = sum(run.audits is not None and run.audits <= 150 for run in runs)
    back = sum(run.after is not None and run.after >= run.before - 0.01 for run in runs)
    rows = [
        ["noticed within 150 audits", ">= 95 % of runs", _of(noticed, len(runs))],
        ["the changed tool's certificate alone revoked", "all", _of(sum(r.tool_only for r in runs), len(runs))],
        ["agreement within 1 point of before", "all", _of(back, len(runs))],
        ["audits until noticed, mean (largest)", "<= 150", _mean([r.audits for r in runs])],
        ["agreement before, %", "", _mean([100 * r.before for r in runs])],
        ["agreement until noticed, %", "", _mean([None if r.during is None else 100 * r.during for r in runs])],
        ["agreement after, %", "", _mean([None if r.after is None else 100 * r.after for r in runs])],
        ["decisions until the new model answers", "", _mean([r.decisions for r in runs])],
    ]
    table = Table("A teacher that changes its policy on 1 of 7 tools", ["what", "promised", "measured"], rows)
    about = (
        f"{len(runs)} simulated runs, seeds 0 to {len(runs) - 1}; audit share 10 %; a scripted gateway and student, "
        "the product's log, watcher, agents and comparison; brackets are exact 95 % intervals"
    )
    return Section("autonomy", about, [table], figures={"runs": [run._asdict() for run in runs]})


def _of(good: int, n: int) -> str:
    interval = stats.binomtest(good, n).proportion_ci()
    return f"{good} of {n}, {share(good / n, (interval.low, interval.high))} %"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{number(sum(known) / len(known))} ({number(max(known))}), n = {len(known)}"
