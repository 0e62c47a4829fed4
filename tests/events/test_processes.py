"""D1, D9, D10: several processes on one log, some of them killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from ultracore.distillation.events import AgentDecisionEvent
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.events.sqlite.ledger import SqliteLedger
from ultracore.distillation.events.verify import verify

LONG = [pytest.mark.slow, pytest.mark.timeout(1800)]
PREAMBLE = """
import os, sys
from pathlib import Path
from ultracore.distillation.errors import ConcurrencyError
from ultracore.distillation.events import AgentDecisionEvent, Expected
from ultracore.distillation.events.sqlite import SqliteEventStore
path = Path(sys.argv[1])
def fact(**data): return AgentDecisionEvent.record(agent_id="a", **data)
"""
WRITER = """
store = SqliteEventStore(path)
while True:
    futures = [store.submit([fact(context={"n": n})]) for n in range(5)]
    for future in futures: os.write(1, f"{future.result()[0]}\\n".encode())
"""
READER = "store = SqliteEventStore(path)\nfor event in store.follow(): pass"


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREAMBLE + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=1500)
    assert process.returncode == 0, err
    return out


def check(path: Path) -> int:
    """Everything is there once, in order, and chained; how many events."""
    store = SqliteEventStore(path)
    positions = [position for position, _ in store.rows()]
    assert positions == list(range(1, store.last_position() + 1))
    assert len({row.event_id for _, row in store.rows()}) == len(positions)
    store.close()
    ledger = SqliteLedger(path)
    assert verify(ledger).findings == []
    ledger.close()
    return len(positions)


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=LONG)])
def test_no_acknowledged_event_is_lost_to_kill_9(tmp_path: Path, kills: int) -> None:
    """Four writers and a reader; each time one of the writers is killed and another begins."""
    path, chance = tmp_path / "log.db", random.Random(7)
    reader, acknowledged = run(READER, path), set[int]()
    writers = [run(WRITER, path) for _ in range(4)]
    for _ in range(kills):
        victim = writers.pop(0)
        assert victim.stdout is not None
        victim.stdout.readline()  # it has started to write
        time.sleep(chance.uniform(0, 0.03))
        acknowledged |= killed(victim)
        writers.append(run(WRITER, path))
    for process in writers:
        acknowledged |= killed(process)
    killed(reader)
    began = time.process_time()
    SqliteEventStore(path).close()
    assert time.process_time() - began < 1
    assert check(path) >= max(acknowledged) > kills
    connection = apsw.Connection(str(path))
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


def killed(process: subprocess.Popen[str]) -> set[int]:
    """The positions that it had acknowledged in whole lines before it died."""
    process.send_signal(signal.SIGKILL)
    out = process.communicate()[0]
    return {int(line) for line in out[: out.rfind("\n") + 1].split()}


@pytest.mark.parametrize("each", [100, pytest.param(2500, marks=LONG)])
def test_eight_processes_leave_no_gap_and_followers_skip_nothing(tmp_path: Path, each: int) -> None:
    path = tmp_path / "log.db"
    SqliteEventStore(path).close()
    append = """
store, n = SqliteEventStore(path), int(sys.argv[2])
for start in range(0, n, 20):
    for future in [store.submit([fact()]) for _ in range(20)]: print(future.result()[0])
store.append([fact()])
for _ in range(5):
    try: store.append([fact()], expected=Expected("nobody", 1))
    except ConcurrencyError: pass
    else: sys.exit("a stale expectation was taken")
"""
    follow = """
from itertools import islice
store, n = SqliteEventStore(path), int(sys.argv[2])
seen = [event.metadata.position for event in islice(store.follow(timeout=100), n)]
assert seen == list(range(1, n + 1)), seen
"""
    total = 8 * (each + 1)
    followers = [run(follow, path, total) for _ in range(3)]
    positions = [int(line) for p in [run(append, path, each) for _ in range(8)] for line in output(p).split()]
    for follower in followers:
        output(follower)
    assert len(set(positions)) == 8 * each
    assert check(path) == total


@pytest.mark.parametrize("times", [1, pytest.param(50, marks=LONG)])
def test_many_processes_may_open_a_fresh_log_at_once(tmp_path: Path, times: int) -> None:
    code = """
import warnings
from ultracore.distillation.events.privacy.protection import Protection
warnings.simplefilter("ignore", DeprecationWarning)
go, told = os.pipe()
children = []
for _ in range(32):
    child = os.fork()
    if child == 0:
        os.close(told)
        os.read(go, 1)  # all begin when the pipe is closed
        store = SqliteEventStore(path, protection=Protection(path.parent, redact="off", encrypt=False))
        store.append([fact()])
        store.close()
        os._exit(0)
    children.append(child)
os.close(told)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""
    for number in range(times):
        path = tmp_path / str(number) / "log.db"
        path.parent.mkdir()
        output(run(code, path))
        assert check(path) == 32


def test_one_process_moves_the_write_ahead_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultracore.distillation.events.election import Election
    from ultracore.distillation.events.sqlite import writer

    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 20)
    path = tmp_path / "log.db"
    rival = Election(tmp_path / "log.db.lock")
    assert rival.win()
    store = SqliteEventStore(path)

    def append(n: int) -> int:
        for _ in range(n):
            store.append([AgentDecisionEvent.record(agent_id="a", context={"x": os.urandom(9000).hex()})])
        return (tmp_path / "log.db-wal").stat().st_size

    assert append(60) > 60 * 16_384  # another is elected: nobody moves it
    rival.resign()
    append(1)
    before = append(1)
    assert append(60) == before  # it begins anew now and then
    assert not rival.win()
    store.close()
    assert rival.win()
    rival.resign()
