"""The demo's script: observe, learn, certify, take over; the teacher changes; notice, revoke, train anew, recover.

Everything that decides is the product: `distill serve`, `distill loop`, the log. The script only lets customers talk,
looks into the log, and compares each answer with what the teacher would have said. What this file does not know: how it
is shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.agreement import strict
from ultracore.distillation.demo.bank import Answer, Bank, Message
from ultracore.distillation.errors import DistillationError
from ultracore.distillation.events import (
    AuditRecordedEvent,
    CertificateRevokedEvent,
    Event,
    EventStore,
    LoopDecidedEvent,
    RetrainTriggeredEvent,
)
from ultracore.distillation.students.models import active_model
from ultracore.distillation.tools import parse_call, parse_tool

__all__ = ["Chapter", "DemoError", "Figures", "Plan", "Play"]

Tell = Callable[[str], None]
CUSTOMERS = 4
BATCH = 8


class DemoError(DistillationError):
    """The demo did not come to its end; the message says where it stopped."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long each part is; conversations.

    Attributes:
        learned: To learn from, at first.
        shown: To show what is new, after the change was noticed.
        measured: To measure agreement on.
        patience: Conversations in one step after which it only waits.
        seconds: Most for any one step.
        pause: Seconds between looks into the log.
    """

    learned: int = 215
    shown: int = 24
    measured: int = 60
    patience: int = 800
    seconds: float = 600.0
    pause: float = 1.5


class Chapter(NamedTuple):
    """What happened in a part.

    Attributes:
        decisions: In all.
        sent: Of them, by the student.
        right: Of these, as the teacher would have decided at that moment.
    """

    decisions: int = 0
    sent: int = 0
    right: int = 0

    @property
    def agreement(self) -> float | None:
        """Of the calls that were sent (0..1)."""
        return self.right / self.sent if self.sent else None

    @property
    def coverage(self) -> float:
        """Sent over all decisions (0..1)."""
        return self.sent / self.decisions if self.decisions else 0.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo ends with.

    Attributes:
        before: After the take-over, before the change.
        during: From the change until it was noticed.
        after: Once the new model answers.
        all: From the first request to the last.
        audits: In all.
        audits_until_noticed: Labelled audits from the change to the revocation.
        revoked: Which actions.
        seconds: Wall clock.
    """

    before: Chapter
    during: Chapter
    after: Chapter
    all: Chapter
    audits: int
    audits_until_noticed: int
    revoked: list[str]
    seconds: float


class Play:
    """Plays the demo.

    Args:
        bank: Customers and teacher.
        ask: Sends a request to the gateway.
        store: The log.
        plan: How long each part is.
        tell: Told what happens.
    """

    def __init__(self, bank: Bank, ask: Callable[..., Answer], store: EventStore, plan: Plan, tell: Tell) -> None:
        self._bank, self._ask, self._store, self._plan, self._tell = bank, ask, store, plan, tell
        self._rows: list[tuple[bool, bool]] = []
        self._lock = threading.Lock()
        self._said = 0

    def run(self) -> Figures:
        """All of it.

        Raises:
            DemoError: A step did not happen within the plan.
        """
        began, plan = time.monotonic(), self._plan
        self._tell("observe: every request goes to the teacher and is written down")
        first = self._until("a certified student", lambda: active_model(self._store), plan.learned)
        self._tell(f"take over: model {first} answers what it is certified for")
        before = self._measure()
        self._tell("the teacher changes its policy on one tool, and a new tool appears; nobody tells the gateway")
        start, audits, self._bank.changed = len(self._rows), self._audits(), True
        found = self._until("a revocation", lambda: self._revoked(first))
        during, noticed = self._chapter(start), self._audits() - audits
        self._tell(f"noticed after {noticed} audits: the certificate is revoked for {', '.join(found) or 'all tools'}")
        second = self._until("another model", lambda: self._other(first), plan.shown)
        self._tell(f"recover: model {second} answers")
        after = self._measure()
        return Figures(
            before=before, during=during, after=after, all=self._chapter(0), audits=self._audits(),
            audits_until_noticed=noticed, revoked=found, seconds=time.monotonic() - began,
        )  # fmt: skip

    def _talk(self, conversations: int) -> None:
        if not conversations:
            return
        with ThreadPoolExecutor(CUSTOMERS) as pool:
            for done in [pool.submit(self._bank.converse, self._ask, self._decided) for _ in range(conversations)]:
                done.result()
        self._tell_decisions()

    def _until(self, what: str, found: Callable[[], Any], at_once: int = 0) -> Any:
        """Talk until something is found; while the loop trains nobody talks, or there would be more and more to learn.

        Args:
            what: For the error.
            found: Looks into the log.
            at_once: Conversations before the first look.
        """
        deadline, begun = time.monotonic() + self._plan.seconds, at_once
        self._talk(at_once)
        while not (seen := found()):
            if time.monotonic() > deadline:
                raise DemoError(f"{what} did not come in {self._plan.seconds:g} s and {begun} conversations")
            time.sleep(self._plan.pause)
            self._tell_decisions()
            if begun <= self._plan.patience and not self._busy():  # a comparison grows with what it compares
                self._talk(BATCH)
                begun += BATCH
        return seen

    def _measure(self) -> Chapter:
        time.sleep(1.0)  # the gateway looks into the log four times a second
        start = len(self._rows)
        self._talk(self._plan.measured)
        return self._chapter(start)

    def _decided(self, messages: list[Message], tools: list[Message], answer: Answer) -> None:
        sent, right = answer.source == "student", True
        if sent:
            wanted = self._bank.decide(messages, tools).get("tool_calls") or []
            mine = answer.message.get("tool_calls") or []
            right = bool(strict([parse_call(c) for c in mine], [parse_call(c) for c in wanted], map(parse_tool, tools)))
        with self._lock:
            self._rows.append((sent, right))

    def _chapter(self, start: int) -> Chapter:
        rows = self._rows[start:]
        return Chapter(len(rows), sum(sent for sent, _ in rows), sum(sent and right for sent, right in rows))

    def _audits(self) -> int:
        events = self._store.read(types=[AuditRecordedEvent.event_type])
        return sum(isinstance(e, AuditRecordedEvent) and e.agrees is not None for e in events)

    def _revoked(self, model_id: str) -> list[str]:
        for event in self._store.read(types=[CertificateRevokedEvent.event_type], aggregate=model_id):
            if isinstance(event, CertificateRevokedEvent):
                return event.actions or ["all tools"]
        return []

    def _other(self, first: str) -> str | None:
        model_id = active_model(self._store)
        return model_id if model_id != first else None

    def _busy(self) -> bool:
        """Whether the loop has asked for a training whose end is not written down."""
        last: Event | None = None
        for event in self._store.read(types=[RetrainTriggeredEvent.event_type, LoopDecidedEvent.event_type]):
            if isinstance(event, RetrainTriggeredEvent) or getattr(event, "agent", "") == "model_trainer":
                last = event
        return isinstance(last, RetrainTriggeredEvent)

    def _tell_decisions(self) -> None:
        events = self._store.read(types=[LoopDecidedEvent.event_type], after=self._said)
        for event in events:
            self._said = event.metadata.position or self._said
            if isinstance(event, LoopDecidedEvent):
                self._tell(f"  {event.agent}: {event.action}: {'; '.join(event.reasons)}")
