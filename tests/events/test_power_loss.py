"""D2: at whatever moment the power goes, nothing that was acknowledged is lost, and the log goes on."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest
from tests.events.recording import Disk, Step, recording

from ultracore.distillation.errors import LogError
from ultracore.distillation.events import AgentDecisionEvent, Event
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.sqlite import SqliteEventStore, writer
from ultracore.distillation.events.sqlite.ledger import SqliteLedger
from ultracore.distillation.events.verify import verify

APPENDS = 60


def open_log(folder: Path, **options: object) -> SqliteEventStore:
    plain = Protection(folder / "keys", redact="off", encrypt=False)
    return SqliteEventStore(folder / "log.db", protection=plain, **options)  # type: ignore[arg-type]


def events(chance: random.Random) -> list[Event]:
    size = chance.choice((10, 2_000, 60_000))
    return [
        AgentDecisionEvent.record(agent_id="a", context={"text": chance.randbytes(size).hex()})
        for _ in range(chance.choice((1, 1, 3)))
    ]


def work(folder: Path, **options: object) -> list[Step]:
    """What a log writes that is opened three times, checkpointed often, and appended to; with its acknowledgements."""
    chance = random.Random(2)
    with recording() as recorder:
        trace = recorder.trace
        for _ in range(3):
            store = open_log(folder, **options)
            for _ in range(APPENDS // 3):
                position = store.append(events(chance))[-1]
                trace.append(Step("ack", at=position, time=time.monotonic()))
            store.close()
    return trace


@pytest.fixture(autouse=True)
def short_write_ahead_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 30)


def lost(trace: list[Step], folder: Path, cuts: int, seed: int) -> list[tuple[float, float]]:
    """Ages of the oldest acknowledged event that is missing after each cut where one is; all else is asserted."""
    chance, disk, acks, missing = random.Random(seed), Disk(), list[Step](), list[tuple[float, float]]()
    points = sorted(chance.sample(range(len(trace)), min(cuts, len(trace))))
    now = 0.0
    for number, step in enumerate(trace):
        if step.kind == "ack":
            acks.append(step)
        disk.take(step)
        now = step.time or now
        if points and number == points[0]:
            points.pop(0)
            last = after_cut(disk, folder / "cut", chance)
            gone = [ack for ack in acks if ack.at > last]
            if gone:
                missing.append((now - gone[0].time, gone[0].at))
    return missing


def after_cut(disk: Disk, folder: Path, chance: random.Random) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    disk.cut(folder, chance)
    store = open_log(folder)
    last = store.last_position()
    assert [event.metadata.position for event in store.read()] == list(range(1, last + 1))
    assert store.append([AgentDecisionEvent.record(agent_id="a")]) == [last + 1]
    store.close()
    ledger = SqliteLedger(folder / "log.db")
    assert verify(ledger).findings == []
    ledger.close()
    return last


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    trace = work(tmp_path / "work")
    kinds = {step.kind for step in trace}
    assert kinds >= {"write", "sync", "ack"}
    assert lost(trace, tmp_path, cuts=60, seed=0) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_acknowledged_is_lost_at_a_thousand_points(tmp_path: Path) -> None:
    done = 0
    for seed in range(1, 12):
        trace = work(tmp_path / f"work-{seed}")
        cuts = min(len(trace), 1000 - done)
        assert lost(trace, tmp_path, cuts, seed) == []
        done += cuts
        if done >= 1000:
            break
    assert done == 1000


def test_a_log_that_does_not_sync_would_be_found_out(tmp_path: Path) -> None:
    trace = work(tmp_path / "work", synchronous="NORMAL", loss_window=60.0)
    assert lost(trace, tmp_path, cuts=40, seed=3)


def test_a_relaxed_log_loses_no_more_than_its_window(tmp_path: Path) -> None:
    window = 0.05
    with recording() as recorder:
        trace = recorder.trace
        store = open_log(tmp_path / "work", synchronous="NORMAL", loss_window=window)
        for _ in range(40):
            trace.append(
                Step("ack", at=store.append([AgentDecisionEvent.record(agent_id="a")])[-1], time=time.monotonic())
            )
            time.sleep(0.01)
        time.sleep(6 * window)  # it syncs by itself when nothing comes any more
        trace.append(Step("end", time=time.monotonic()))
        idle = len(trace)
        store.close()
    took = [age for age, _ in lost(trace[:idle], tmp_path, cuts=40, seed=4)]
    assert took
    assert max(took) < window + 0.5  # a busy machine may take its time to begin the sync
    disk = Disk()
    for step in trace[:idle]:
        disk.take(step)
    assert after_cut(disk, tmp_path / "cut", random.Random(5)) == 40


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("times", [1, 2, 3, 5])
@pytest.mark.parametrize("first", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 10))])
def test_what_is_acknowledged_does_not_stand_on_what_a_failed_sync_lost(
    tmp_path: Path, first: int, times: int, reading: bool
) -> None:
    """A kernel that failed to sync pages may call them clean: they can be read, and are gone after a power cut."""
    with recording() as recorder:
        trace = recorder.trace
        store = open_log(tmp_path / "work")
        for number in range(25):
            if number == 8:
                recorder.failing = range(recorder.syncs + first, recorder.syncs + first + times)
                _ = list(store.read()) if reading else None  # with another connection, closing one copies nothing
            try:
                position = store.append(events(random.Random(number)))[-1]
                trace.append(Step("ack", at=position, time=time.monotonic()))
            except LogError:
                assert number >= 8
        end = len(trace)
        store.close()
    failed = [number for number, step in enumerate(trace) if step.kind == "failed"]
    acks = [step for step in trace[failed[0] :] if step.kind == "ack"][:4]
    assert len(acks) == 4
    disk = Disk()
    for step in trace[:end]:
        disk.take(step)
        if step in acks:
            assert after_cut(disk, tmp_path / "cut", random.Random(first)) >= step.at
