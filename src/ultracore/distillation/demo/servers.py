"""Starts what the demo needs on loopback, and stops all of it: the teacher's server, the gateway, the loop.

Children end with this process, however it ends. What this file does not know: what is asked.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ultracore.distillation.demo.bank import Answer, Message
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.settings import PREFIX

__all__ = ["Client", "free_port", "process", "teacher_server", "wait_until_ready"]

PROGRAM = (
    "from ultracore.distillation.serve.workers import end_with_parent; end_with_parent(); "
    "from ultracore.distillation.cli import main; main()"
)
HOST = "127.0.0.1"
STOP_SECONDS = 20.0

Decide = Callable[[Sequence[Message], Sequence[Message]], Message]


@contextmanager
def teacher_server(decide: Decide, model: str) -> Iterator[str]:
    """An OpenAI-compatible server of a scripted teacher; gives its base URL."""
    server = ThreadingHTTPServer((HOST, 0), _handler(decide, model))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(decide: Decide, model: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            message = decide(asked["messages"], asked.get("tools", ()))
            reason = "tool_calls" if message.get("tool_calls") else "stop"
            usage = {"prompt_tokens": len(str(asked["messages"])) // 4, "completion_tokens": len(str(message)) // 4}
            body = json.dumps({
                "id": "chatcmpl-synthetic", "object": "chat.completion", "created": 0, "model": model,
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {**usage, "total_tokens": sum(usage.values())},
            }).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def process(
    words: Sequence[str], log: Path, variables: Mapping[str, str] | None = None, *, stop_seconds: float = STOP_SECONDS
) -> Iterator[subprocess.Popen[bytes]]:
    """A `distill` command that runs beside this one; what it says goes to a file, and it ends within `stop_seconds`.

    Of the settings in the environment it gets `variables` alone: what is synthetic goes into no real log.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = {**others, **(variables or {})}
    with log.open("wb") as said:
        child = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-c", PROGRAM, *words], stdin=subprocess.PIPE, stdout=said, stderr=said, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(stop_seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if child.stdin is not None:
                child.stdin.close()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until_ready(port: int, child: subprocess.Popen[bytes], log: Path, seconds: float = 60.0) -> None:
    """Wait until the gateway answers.

    Raises:
        ConfigurationError: It ended, or did not answer in time; the message has its last line.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and child.poll() is None:
        try:
            connection = http.client.HTTPConnection(HOST, port, timeout=2)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    raise ConfigurationError(f"the demo's gateway does not answer on port {port}: {last}")


class Client:
    """A connection to the gateway, one a thread.

    Args:
        port: Where it listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()

    def ask(self, request: dict[str, Any], session: str) -> Answer:
        """One request of the chat API.

        Raises:
            ConfigurationError: It was not answered.
        """
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(HOST, self._port, timeout=60)
        headers = {"content-type": "application/json", "x-distill-session": session, "x-distill-agent": "bank"}
        connection.request("POST", "/v1/chat/completions", json.dumps(request), headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ConfigurationError(f"the demo's gateway answered {response.status}: {body[:300]!r}")
        message = json.loads(body)["choices"][0]["message"]
        return Answer(message, response.getheader("x-distill-source") or "")
