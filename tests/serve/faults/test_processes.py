"""The gateway as processes: several that share an address, one that dies, all that are told to stop."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ultracore.distillation.events.opening import open_store
from ultracore.distillation.serve.workers import Supervisor, bind

PROGRAM = "from ultracore.distillation.cli import main; main()"
DECISION, OUTCOME = "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED"


class Serving:
    """`distill serve` in processes of its own."""

    def __init__(self, home: Path, upstream: str, *, workers: int = 1) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.home = home
        command = [sys.executable, "-c", PROGRAM, "serve", "--upstream", upstream, "--port", str(self.port)]
        if workers > 1:
            command += ["--workers", str(workers)]
        env = {**os.environ, "DISTILL_HOME": str(home), "OPENAI_API_KEY": "sk-test"}
        self.process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, start_new_session=True)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def ready(self, within: float = 30.0) -> Serving:
        until = time.monotonic() + within
        while time.monotonic() < until:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(self.url.replace("/v1", "/healthz"), timeout=20).status_code == 200:
                    return self
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.05)
        raise AssertionError("the gateway did not start")

    @property
    def children(self) -> list[int]:
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def stop(self, within: float = 30.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process.stderr.close()

    def events(self, *types: str) -> list[Any]:
        store = open_store(self.home)
        try:
            return list(store.read(types=types))
        finally:
            store.close()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Any]:
    started: list[Serving] = []

    def start(upstream: str, **options: Any) -> Serving:
        started.append(Serving(tmp_path / f"home{len(started)}", upstream, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


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
        first = Serving(first.home, teacher.url)
        time.sleep(0.02 + (number * 0.37) % 1.2)
        os.killpg(first.process.pid, signal.SIGKILL)
        first.close()
    last = Serving(first.home, teacher.url)
    try:
        assert ask(last.ready().url, fakes).status_code == 200
    finally:
        last.close()


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
        [sys.executable, "-c", PROGRAM, "serve", "--workers", "2", "--upstream", "http://127.0.0.1:9/v1"],
        env={**os.environ, "DISTILL_HOME": str(gateway.home), "DISTILL_PORT": str(gateway.port)},
        capture_output=True,
        timeout=60,
    )
    assert second.returncode == 2
    assert b"cannot listen on 127.0.0.1" in second.stderr
    assert json.loads(httpx2.get(gateway.url.replace("/v1", "/healthz")).content)["status"] == "ok"
