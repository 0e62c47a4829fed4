"""The script of the demo against a log in which somebody else plays gateway and loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ultracore.distillation.cli.demo import table_of
from ultracore.distillation.demo.bank import NEW_TOOL, Answer, Bank
from ultracore.distillation.demo.play import Chapter, DemoError, Plan, Play
from ultracore.distillation.events import AuditRecordedEvent, CertificateRevokedEvent, ModelDeployedEvent
from ultracore.distillation.events.sqlite import SqliteEventStore

FIGURES = {"accuracy_vs_teacher": 0.97, "latency_ms": 1.0, "cost_per_request_usd": 0.0, "training_duration_hours": 0.1}


class Gateway:
    """A student that knows the old policy answers; after five audits it is revoked, and later one comes that knows the new."""

    def __init__(self, bank: Bank, store: Any, *, notices: bool = True) -> None:
        self.bank, self.store, self.notices = bank, store, notices
        self.asked = self.wrong = 0

    def deploy(self, name: str) -> None:
        self.store.append([ModelDeployedEvent.record(model_id=name, model_name="m", model_size=1, **FIGURES)])

    def ask(self, request: dict[str, Any], session: str) -> Answer:
        self.asked += 1
        if self.asked == 60:
            self.deploy("m1")
        right = self.bank.decide(request["messages"], request["tools"])
        if self.asked <= 60 or not right.get("tool_calls"):
            return Answer(right, "teacher")
        old = self.bank.decide(request["messages"], [t for t in request["tools"] if t["function"]["name"] != NEW_TOOL])
        if old == right or self.wrong >= 10:
            return Answer(right, "student")
        self.wrong += 1
        self.store.append(
            [
                AuditRecordedEvent.record(
                    decision_id=str(self.asked),
                    model_id="m1",
                    action="get_account",
                    agrees=False,
                    sampling_probability=1.0,
                )
            ]
        )
        if self.wrong == 10 and self.notices:
            revoked = CertificateRevokedEvent.record(model_id="m1", reason="audits", actions=["get_account"])
            self.store.append([revoked])
            self.deploy("m2")
        return Answer(old, "student")


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = SqliteEventStore(tmp_path / "log.db")
    yield store
    store.close()


def test_the_figures_are_those_of_what_happened(store: Any) -> None:
    bank, told = Bank(0), []
    gateway = Gateway(bank, store)
    plan = Plan(learned=16, shown=4, measured=12, pause=0.0)
    figures = Play(bank, gateway.ask, store, plan, told.append).run()
    assert (figures.before.agreement, figures.after.agreement) == (1.0, 1.0)
    assert figures.during.agreement is not None
    assert figures.during.sent - figures.during.right == 10
    assert (figures.audits, figures.audits_until_noticed, figures.revoked) == (10, 10, ["get_account"])
    assert figures.all.decisions == gateway.asked
    assert [words.split(":")[0].split(" ")[0] for words in told] == ["observe", "take", "the", "noticed", "recover"]
    assert "SYNTHETIC" in str(table_of(figures).columns[0].header)


def test_a_step_that_does_not_come_is_an_error_that_says_which(store: Any) -> None:
    bank = Bank(0)
    gateway = Gateway(bank, store, notices=False)
    plan = Plan(learned=16, measured=4, patience=40, seconds=3.0, pause=0.01)
    with pytest.raises(DemoError, match="a revocation did not come"):
        Play(bank, gateway.ask, store, plan, lambda words: None).run()
    assert gateway.asked < 700  # about 5 a conversation: after its patience it only waits


def test_a_chapter_without_anything_sent_has_no_agreement() -> None:
    assert (Chapter().agreement, Chapter().coverage) == (None, 0.0)
    assert (Chapter(10, 4, 3).agreement, Chapter(10, 4, 3).coverage) == (0.75, 0.4)
