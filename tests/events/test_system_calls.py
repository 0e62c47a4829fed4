"""D3, D4, D5: what the log asks of the kernel, and what it says when the kernel refuses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from ultracore.distillation.errors import LogError
from ultracore.distillation.events import AgentDecisionEvent, Event
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.ledger import SqliteLedger
from ultracore.distillation.events.verify import verify

STRACE = shutil.which("strace")
with_strace = pytest.mark.skipif(STRACE is None, reason="needs strace: apt-get install strace")

APPENDER = """
import os, sys
from pathlib import Path
from ultracore.distillation.errors import LogError
from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.sqlite import SqliteEventStore
path, n = Path(sys.argv[1]), int(sys.argv[2])
store = SqliteEventStore(path, protection=Protection(path.parent, redact="off", encrypt=False))
for i in range(n):
    event = AgentDecisionEvent.record(event_id=f"e{i}", agent_id="a", context={"text": "x" * 500})
    try:
        os.write(1, f"ack e{i} {store.append([event])[0]}\\n".encode())
    except LogError as error:
        os.write(1, f"error e{i} {error}\\n".encode())
store.close()
"""


OPENER = """
import sys
from pathlib import Path
from ultracore.distillation.errors import LogError
from ultracore.distillation.events.sqlite import SqliteEventStore
try:
    SqliteEventStore(Path(sys.argv[1]))
except LogError as error:
    print(error)
"""


def traced(*words: str, path: Path, appends: int) -> tuple[list[str], str]:
    """What the appender printed, and the trace of its system calls."""
    trace = path.with_suffix(".trace")
    command = [STRACE, "-f", "-y", "-o", str(trace), *words, sys.executable, "-c", APPENDER, str(path), str(appends)]
    done = run(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), trace.read_text(errors="replace")


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=1500, check=False)


def unsynced_acks(trace: str) -> tuple[int, int]:
    """How many acknowledgements were written, and how many of them while the write-ahead log was not synced."""
    dirty, acks, early = False, 0, 0
    for line in trace.splitlines():
        if re.search(r"pwrite64\(\d+<[^>]*-wal>", line):
            dirty = True
        elif re.search(r"f(data)?sync\(\d+<[^>]*-wal>\)\s+= 0", line):
            dirty = False
        elif re.search(r'write\(1<[^>]*>, "ack', line):
            acks += 1
            early += dirty
    return acks, early


@with_strace
@pytest.mark.parametrize("appends", [150, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_no_acknowledgement_is_written_before_its_sync_returned(tmp_path: Path, appends: int) -> None:
    _, trace = traced("-e", "trace=pwrite64,fsync,fdatasync,write", path=tmp_path / "log.db", appends=appends)
    assert unsynced_acks(trace) == (appends, 0)


def test_an_acknowledgement_before_its_sync_would_be_found_out() -> None:
    write, sync, ack = (
        '1 pwrite64(5</x/log.db-wal>, "", 9, 0) = 9',
        "1 fdatasync(5</x/log.db-wal>) = 0",
        '1 write(1<p>, "ack',
    )
    assert unsynced_acks("\n".join([write, sync, ack, write, ack, sync])) == (2, 1)


def intact(path: Path) -> set[str]:
    """Ids in a log that opens, verifies and takes one more."""
    store = SqliteEventStore(path)
    ids = {event.metadata.event_id for event in store.read()}
    assert store.append([AgentDecisionEvent.record(agent_id="a")]) == [len(ids) + 1]
    store.close()
    ledger = SqliteLedger(path)
    assert verify(ledger).findings == []
    ledger.close()
    return ids


def check_failing_sync(path: Path, when: str) -> list[str]:
    """Syncs fail at `when`: the lines printed."""
    inject = ["-e", "trace=fdatasync,fsync", "-e", f"inject=fdatasync,fsync:error=EIO:when={when}"]
    lines, _ = traced(*inject, path=path, appends=25)
    acknowledged = {line.split()[1] for line in lines if line.startswith("ack")}
    assert acknowledged <= intact(path)
    return lines


@with_strace
@pytest.mark.parametrize("when", [8, 13, *(pytest.param(n, marks=pytest.mark.slow) for n in range(9, 24) if n != 13)])
def test_one_failed_sync_is_told_and_heals(tmp_path: Path, when: int) -> None:
    kinds = [line.split()[0] for line in check_failing_sync(tmp_path / "log.db", str(when))]
    assert kinds.count("error") <= 1
    assert kinds[-1] == "ack"


@with_strace
@pytest.mark.parametrize("when", ["1+", "7+"])
def test_a_log_that_could_not_be_made_says_why_and_can_be_made_later(tmp_path: Path, when: str) -> None:
    path = tmp_path / "log.db"
    inject = ["-e", "trace=fdatasync,fsync", "-e", f"inject=fdatasync,fsync:error=EIO:when={when}"]
    done = run([STRACE, "-f", "-o", "/dev/null", *inject, sys.executable, "-c", OPENER, str(path)])
    assert done.stdout.startswith(f"the decision log {path}")
    assert "disk I/O error" in done.stdout
    assert intact(path) == set()


@with_strace
@pytest.mark.parametrize("when", [8, 15, *(pytest.param(n, marks=pytest.mark.slow) for n in range(16, 39))])
def test_while_syncs_fail_nothing_is_acknowledged(tmp_path: Path, when: int) -> None:
    kinds = [line.split()[0] for line in check_failing_sync(tmp_path / "log.db", f"{when}+")]
    if "error" in kinds:
        first = kinds.index("error")
        assert kinds[first:] == ["error"] * (len(kinds) - first)


@with_strace
def test_a_failed_sync_is_met_at_all(tmp_path: Path) -> None:
    assert any(line.startswith("error") and "disk" in line for line in check_failing_sync(tmp_path / "log.db", "9+"))


class FullDisk(apsw.VFS):
    """The default VFS of a disk with so many bytes."""

    def __init__(self) -> None:
        self.base = apsw.vfs_names()[0]
        self.left = 1 << 60
        super().__init__("full", self.base, makedefault=True)

    def xOpen(self, name, flags):  # type: ignore[no-untyped-def]  # noqa: N802
        return FullFile(self, name, flags)


class FullFile(apsw.VFSFile):
    def __init__(self, disk: FullDisk, name, flags) -> None:  # type: ignore[no-untyped-def]
        self.disk = disk
        super().__init__(disk.base, name, flags)

    def xWrite(self, data, offset):  # type: ignore[no-untyped-def]  # noqa: N802
        self.disk.left -= len(data)
        if self.disk.left < 0:
            raise apsw.FullError("no space left")
        super().xWrite(data, offset)


@pytest.fixture
def disk() -> Iterator[FullDisk]:
    vfs = FullDisk()
    yield vfs
    vfs.unregister()


def event(size: int = 3000) -> Event:
    return AgentDecisionEvent.record(
        agent_id="a", context={"text": "".join(map(chr, range(32, 32 + 90))) * (size // 90)}
    )


@pytest.mark.parametrize("space", [0, 20_000, 100_000, 300_000])
def test_a_full_disk_is_told_and_heals_by_itself(tmp_path: Path, disk: FullDisk, space: int) -> None:
    store = SqliteEventStore(tmp_path / "log.db")
    acknowledged = [store.append([event()])[0] for _ in range(10)]
    disk.left = space
    told: list[str] = []
    for _ in range(60):
        try:
            acknowledged += store.append([event()])
        except LogError as error:
            told.append(str(error))
    assert len(told) > 30
    assert all("disk" in text or "no space" in text for text in told), told
    disk.left = 1 << 60
    acknowledged += store.append([event()])
    assert acknowledged[-1] == store.last_position()
    store.close()
    assert len(intact(tmp_path / "log.db")) >= len(acknowledged)


def test_a_small_real_disk(tmp_path: Path) -> None:
    """On a file system of 4 MiB where one can be mounted; `RLIMIT_FSIZE` stands for it elsewhere (`test_sqlite`)."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        return
    try:
        path, ballast, acknowledged, refused = tmp_path / "log.db", tmp_path / "ballast", 0, 0
        ballast.write_bytes(bytes(2 << 20))
        store = SqliteEventStore(path)
        for _ in range(1000):
            try:
                acknowledged += len(store.append([AgentDecisionEvent.record(agent_id="a", context={"t": "x" * 900})]))
            except LogError:
                refused += 1
        assert acknowledged
        assert refused
        ballast.unlink()
        assert store.append([event()]) == [store.last_position()]
        store.close()
        assert len(intact(path)) > acknowledged
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
