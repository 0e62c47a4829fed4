"""What the demo starts, it stops."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ultracore.distillation.demo.bank import Bank
from ultracore.distillation.demo.servers import free_port, process, teacher_server, wait_until_ready
from ultracore.distillation.errors import ConfigurationError

COMMAND = [sys.executable, "-c", "from ultracore.distillation.cli import main; main()", "demo"]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_teacher_answers_like_an_openai_server_until_it_is_stopped() -> None:
    bank = Bank(0)
    with teacher_server(bank.decide, "scripted") as url:
        port = int(url.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        asked = {
            "messages": [{"role": "user", "content": "My customer number is C204817, what is my balance?"}],
            "tools": bank.tools,
        }
        connection.request("POST", "/v1/chat/completions", json.dumps(asked))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_customer"
        assert (answer["model"], answer["choices"][0]["finish_reason"]) == ("scripted", "tool_calls")
    assert not listens(port)


def test_a_command_that_ends_at_once_is_told_with_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "said"
    with (
        process(["serve", "--no-such-option"], log) as child,
        pytest.raises(ConfigurationError, match="no-such-option"),
    ):
        wait_until_ready(free_port(), child, log)
    assert child.poll() is not None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_comes_to_its_table_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--fast", "--seed", "1", "--keep", str(tmp_path / "kept")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SYNTHETIC" in done.stdout
    assert "audits until noticed" in done.stdout
    assert "get_account" in done.stdout
    assert not listens(int(re.search(r"127\.0\.0\.1:(\d+)", done.stdout)[1]))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_stops_every_server(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [*COMMAND, "--keep", str(tmp_path / "kept")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert running.stdout is not None
    line = running.stdout.readline().decode()
    port = int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])
    assert listens(port)
    time.sleep(3)
    running.send_signal(signal.SIGINT)
    assert running.wait(90) == 130
    assert not listens(port)
    running.stdout.close()


def test_the_demo_never_touches_the_log_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOG_URL", "postgresql://user@production/log")
    monkeypatch.setenv("DISTILL_TENANT", "acme")
    with process(["settings", "--json"], tmp_path / "said", {"DISTILL_HOME": str(tmp_path)}) as child:
        assert child.wait(60) == 0
    settings = json.loads((tmp_path / "said").read_text())
    assert (settings["log_url"], settings["tenant"], settings["home"]) == (None, "default", str(tmp_path))
