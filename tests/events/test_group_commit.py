"""One thread writes for all, and nobody who submits waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ultracore.distillation.errors import EventError, LogError
from ultracore.distillation.events import group_commit
from ultracore.distillation.events.block import Row
from ultracore.distillation.events.group_commit import Batch, GroupCommit
from ultracore.distillation.events.spool import Spool
from ultracore.distillation.events.sqlite.writer import Writer


class Disk:
    """A target that keeps batches in groups; its syncs take as long as `go` is closed."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.syncing = threading.Event()
        self.groups: list[list[Batch]] = []
        self.group: list[Batch] = []
        self.failing = False
        self.refused: set[int] = set()
        self.closings: list[bool] = []
        self.releases = 0
        self.joins = False

    def begin(self, group: Sequence[Batch]) -> None:
        self.group = []

    def write(self, batch: Batch) -> list[int]:
        if id(batch) in self.refused:
            raise EventError("refused")
        self.group.append(batch)
        return [len(self.group)]

    def write_together(self, batches: Batch) -> list[int] | None:
        if not self.joins:
            return None
        self.group.append(batches)
        return list(range(len(batches.rows)))

    def commit(self) -> None:
        self.syncing.set()
        assert self.go.wait(20)
        if self.failing:
            raise OSError("sync failed")
        self.groups.append(self.group)

    def tend(self, *, closing: bool) -> float | None:
        self.closings.append(closing)
        return None

    def abandon(self, error: Exception) -> LogError:
        return LogError(f"told: {error}")

    def release(self) -> None:
        self.releases += 1


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def group(disk: Disk) -> Iterator[GroupCommit]:
    made = GroupCommit(disk)
    yield made
    disk.go.set()
    made.close()


def batch() -> Batch:
    return Batch(Spool(Path("unused")), None)


def submit(group: GroupCommit, n: int) -> list[Batch]:
    batches = [batch() for _ in range(n)]
    for one in batches:
        group.submit(one)
    return batches


def test_a_group_is_whatever_came_during_the_last_sync(group: GroupCommit, disk: Disk) -> None:
    disk.go.clear()
    first = submit(group, 1)
    assert disk.syncing.wait(5)
    rest = submit(group, 50)
    disk.go.set()
    assert [one.future.result(5) for one in first + rest] == [[1], *([k] for k in range(1, 51))]
    assert disk.groups == [first, rest]


def patient() -> Batch:
    return Batch(Spool(Path("unused")), None, patient=True)


def test_what_nobody_waits_for_is_written_together_and_soon(
    group: GroupCommit, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE_SECONDS", 0.5)  # five milliseconds may pass between two lines here
    batches = [patient() for _ in range(3)]
    for one in batches:
        group.submit(one)
        time.sleep(0.0005)
    assert [one.future.result(5) for one in batches] == [[1], [2], [3]]
    assert disk.groups == [batches]


def test_who_waits_is_not_held_back_by_who_does_not(
    group: GroupCommit, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE_SECONDS", 30.0)
    for _ in range(3):  # whoever was in a hurry before leaves nothing behind that would end the next one's patience
        before, waits = patient(), batch()
        group.submit(before)
        time.sleep(0.02)
        assert not before.future.done()
        group.submit(waits)
        waits.future.result(5)
        before.future.result(5)
    assert [len(written) for written in disk.groups] == [2, 2, 2]
    last = patient()
    group.submit(last)
    group.close()
    assert last.future.result(5) == [1]


def test_a_hurry_that_is_over_ends_nobodys_patience(disk: Disk) -> None:
    group = GroupCommit(disk)
    group._queue.put(batch())
    group._hurry()
    assert len(group._take(None)[0]) == 1
    assert group._calm.locked()


def row(name: str) -> Row:
    return Row(name, "T", 1, name, "thing", "t", None, None, "2026-01-01T00:00:00+00:00", None, None, b"{}")


def test_a_group_that_is_written_together_gives_each_batch_its_own_positions(group: GroupCommit, disk: Disk) -> None:
    disk.joins = True
    disk.go.clear()
    first = submit(group, 1)
    assert disk.syncing.wait(5)
    batches = [batch() for _ in range(3)]
    for number, one in enumerate(batches):
        for place in range(number):
            one.rows.add(row(f"{number}.{place}"))
        group.submit(one)
    disk.go.set()
    assert [one.future.result(5) for one in first + batches] == [[1], [], [0], [1, 2]]
    assert [len(written) for written in disk.groups] == [1, 1]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_in_a_group_written_together_only_the_bad_batch_is_refused(tmp_path: Path, bad: int) -> None:
    writer = Writer(tmp_path / "log.db", "FULL", 5.0, 1.0)
    writer.open(create=True)
    batches = [Batch(Spool(tmp_path), None) for _ in range(3)]
    for number, one in enumerate(batches):
        one.rows.add(row(f"{number}.0"))
        one.rows.add(row(f"{number}.0" if number == bad else f"{number}.1"))
    results = GroupCommit(writer)._write(batches)
    stored = [name for (name,) in writer.open().execute("SELECT event_id FROM events ORDER BY position")]
    writer.release()
    assert [isinstance(result, EventError) for result in results] == [number == bad for number in range(3)]
    assert sorted(place for result in results if isinstance(result, list) for place in result) == [1, 2, 3, 4]
    assert stored == [f"{number}.{place}" for number in range(3) if number != bad for place in range(2)]


def test_nobody_who_submits_waits_for_a_sync(group: GroupCommit, disk: Disk) -> None:
    disk.go.clear()
    submit(group, 1)
    assert disk.syncing.wait(5)
    began = time.monotonic()
    submit(group, 1000)
    assert time.monotonic() - began < 1


def test_nobody_who_submits_waits_for_a_fork(group: GroupCommit, disk: Disk) -> None:
    disk.go.clear()
    submit(group, 1)
    assert disk.syncing.wait(5)
    fork = threading.Thread(target=group.before_fork)
    fork.start()  # waits for the sync; nobody waits for it
    began = time.monotonic()
    waiting = submit(group, 10)
    assert time.monotonic() - began < 1
    disk.go.set()
    fork.join(5)
    released = disk.releases
    group.after_fork_in_parent()
    assert released
    assert all(one.future.result(5) for one in waiting)


def test_after_a_fork_the_child_begins_with_an_empty_queue(group: GroupCommit, disk: Disk) -> None:
    submit(group, 1)[0].future.result(5)
    thread = group._thread
    group.before_fork()
    group.after_fork_in_child()
    assert group._thread is None
    assert submit(group, 1)[0].future.result(5) == [1]
    assert group._thread is not thread


def test_a_refused_batch_does_not_fail_its_neighbours(group: GroupCommit, disk: Disk) -> None:
    disk.go.clear()
    submit(group, 1)
    assert disk.syncing.wait(5)
    batches = [batch() for _ in range(3)]
    disk.refused = {id(batches[1])}
    for one in batches:
        group.submit(one)
    disk.go.set()
    assert [one.future.exception(5) is None for one in batches] == [True, False, True]


def test_a_failed_sync_is_told_to_all_of_its_group_and_to_no_other(group: GroupCommit, disk: Disk) -> None:
    disk.failing = True
    with pytest.raises(LogError, match="told: sync failed"):
        submit(group, 1)[0].future.result(5)
    disk.failing = False
    assert submit(group, 1)[0].future.result(5) == [1]


def test_close_writes_what_was_submitted_and_says_that_it_closes(group: GroupCommit, disk: Disk) -> None:
    batches = submit(group, 200)
    group.close()
    assert all(one.future.done() for one in batches)
    assert disk.closings[-1] is True
    assert True not in disk.closings[:-1]
    with pytest.raises(LogError, match="closed"):
        submit(group, 1)


def test_whoever_submits_while_it_closes_gets_an_answer(disk: Disk) -> None:
    for _ in range(30):
        group = GroupCommit(disk)
        taken: list[Batch] = []

        def race(group: GroupCommit = group, taken: list[Batch] = taken) -> None:
            while True:
                one = batch()
                try:
                    group.submit(one)
                except LogError:
                    return
                taken.append(one)
                time.sleep(0)

        threads = [threading.Thread(target=race) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.001)
        group.close()
        for thread in threads:
            thread.join(5)
        for one in taken:
            assert one.future.exception(5) is None or isinstance(one.future.exception(5), LogError)


def test_a_target_that_wants_to_be_called_again_is(disk: Disk) -> None:
    disk.tend = lambda *, closing: disk.closings.append(closing) or 0.01  # type: ignore[method-assign, func-returns-value]
    group = GroupCommit(disk)
    submit(group, 1)[0].future.result(5)
    deadline = time.monotonic() + 5
    while len(disk.closings) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    group.close()
    assert len(disk.closings) >= 5
