"""The gateway as processes: several that share an address, one that dies, all that are told to stop."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ultracore.distillation.serve.workers import Supervisor, bind

DECISION, OUTCOME = "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED"


def gone(pid: int, within: float = 15.0) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.05)
    return False


def ask(url: str, fakes: Any, **changes: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/chat/completions", json=fakes.chat(**changes), timeout=20)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_worker_that_dies_is_started_again_and_nobody_notices(
    bench: Any, fakes: Any, teachers: Any, serving: Any
) -> None:
    teacher = teachers.enter_context(bench.teacher())
    gateway = serving(teacher.url, workers=2).ready()
    assert ask(gateway.url, fakes).content == fakes.ROME
    before = gateway.children
    assert len(before) == 2
    until = time.monotonic() + 15
    while not gateway.events(OUTCOME) and time.monotonic() < until:  # it is logged after it was passed on
        time.sleep(0.1)
    os.kill(before[0], signal.SIGKILL)
    for _ in range(10):
        assert ask(gateway.url, fakes).status_code == 200
    until = time.monotonic() + 15
    while len(set(gateway.children) - set(before)) < 1 and time.monotonic() < until:
        time.sleep(0.1)
    after = gateway.children
    assert len(after) == 2
    assert gateway.stop() == 0
    assert all(gone(pid) for pid in [*before, *after])
    decisions, outcomes = gateway.events(DECISION), gateway.events(OUTCOME)
    assert (len(decisions), len(outcomes)) == (11, 11)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_a_parent_that_is_killed(bench: Any, teachers: Any, serving: Any) -> None:
    gateway = serving(teachers.enter_context(bench.teacher()).url, workers=2).ready()
    children = gateway.children
    os.kill(gateway.process.pid, signal.SIGKILL)
    assert all(gone(pid) for pid in children)


def test_told_to_stop_under_load_nothing_acknowledged_is_lost(
    bench: Any, fakes: Any, teachers: Any, serving: Any
) -> None:
    stopped_under_load(bench, fakes, teachers, serving)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_told_to_stop_under_load_fifty_times(bench: Any, fakes: Any, teachers: Any, serving: Any) -> None:
    for _ in range(50):
        stopped_under_load(bench, fakes, teachers, serving)


def stopped_under_load(bench: Any, fakes: Any, teachers: Any, serving: Any) -> None:
    gateway = serving(teachers.enter_context(bench.teacher(bench.scenes.after(0.05))).url).ready()
    receipts: list[str] = []

    def client(number: int) -> None:
        with contextlib.suppress(httpx2.HTTPError), httpx2.Client(timeout=20) as session:
            while True:
                reply = session.post(f"{gateway.url}/chat/completions", json=fakes.chat(stream=number % 2 == 0))
                if reply.status_code == 200:
                    receipts.append(reply.headers["x-distill-receipt"])
                elif reply.status_code == 503:
                    return

    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(client, number)
        until = time.monotonic() + 30
        while len(receipts) <= 20 and time.monotonic() < until:  # under load: however long that takes
            time.sleep(0.05)
        began = time.monotonic()
        code = gateway.stop()
        took = time.monotonic() - began
    assert code == 0
    assert took < 12
    assert len(receipts) > 10
    logged = {event.metadata.event_id for event in gateway.events(DECISION)}
    outcomes = [event.decision_id for event in gateway.events(OUTCOME)]
    assert set(receipts) <= logged
    assert len(outcomes) == len(set(outcomes))
    assert set(receipts) <= set(outcomes)


def test_killed_while_it_starts_it_starts_the_next_time(bench: Any, fakes: Any, teachers: Any, serving: Any) -> None:
    killed_while_starting(bench, fakes, teachers, serving, times=2)


@pytest.mark.slow
def test_killed_while_it_starts_fifty_times(bench: Any, fakes: Any, teachers: Any, serving: Any) -> None:
    killed_while_starting(bench, fakes, teachers, serving, times=50)


def killed_while_starting(bench: Any, fakes: Any, teachers: Any, serving: Any, times: int) -> None:
    teacher = teachers.enter_context(bench.teacher())
    first = serving(teacher.url).ready()
    for number in range(times):
        first.close()
        first = serving(teacher.url, home=first.home)
        time.sleep(0.02 + (number * 0.37) % 1.2)
        os.killpg(first.process.pid, signal.SIGKILL)
        first.close()
    assert ask(serving(teacher.url, home=first.home).ready().url, fakes).status_code == 200


class Script:
    """A supervisor of a tiny program, on a thread that is not the main one."""

    def __init__(self, program: str, workers: int, monkeypatch: Any) -> None:
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # only the main thread may
        self.listener = bind("127.0.0.1", 0)
        self.supervisor = Supervisor([sys.executable, "-c", program], workers, self.listener)
        self.code: list[int] = []
        self.thread = threading.Thread(target=lambda: self.code.append(self.supervisor.run()))
        self.thread.start()

    def stop(self) -> None:
        self.supervisor._stop.set()
        self.thread.join(30)
        self.listener.close()


def test_a_worker_that_keeps_dying_is_started_less_and_less_often(tmp_path: Path, monkeypatch: Any) -> None:
    note = tmp_path / "starts"
    program = f"import time; open({str(note)!r}, 'a').write(f'{{time.time()}}\\n'); raise SystemExit(1)"
    script = Script(program, 1, monkeypatch)
    time.sleep(4.0)
    script.stop()
    starts = [float(line) for line in note.read_text().split()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert 2 <= len(pauses) <= 3
    assert pauses[0] >= 0.5
    assert pauses[1] >= 1.0


def test_workers_that_cannot_be_configured_end_everything(monkeypatch: Any) -> None:
    script = Script("raise SystemExit(2)", 2, monkeypatch)
    script.thread.join(20)
    assert script.code == [2]
    script.stop()


def test_an_address_that_is_taken_is_told(bench: Any, teachers: Any, serving: Any) -> None:
    gateway = serving(teachers.enter_context(bench.teacher()).url).ready()
    second = subprocess.run(
        [*gateway.PROGRAM, "serve", "--workers", "2", "--upstream", "http://127.0.0.1:9/v1"],
        env={**os.environ, "DISTILL_HOME": str(gateway.home), "DISTILL_PORT": str(gateway.port)},
        capture_output=True,
        timeout=60,
    )
    assert second.returncode == 2
    assert b"cannot listen on 127.0.0.1" in second.stderr
    assert json.loads(httpx2.get(gateway.url.replace("/v1", "/healthz")).content)["status"] == "ok"
