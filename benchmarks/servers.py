"""The servers that are measured, each a process of its own: `python -m benchmarks.servers KIND PORT ...`.

What this file does not know: who asks them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httptools
import msgspec
import uvicorn
import uvloop

from benchmarks.provenance import ROOT

__all__ = ["Process", "gate_of", "nginx", "started"]

COMPLETION = msgspec.json.encode(
    {
        "id": "chatcmpl-t",
        "object": "chat.completion",
        "created": 1,
        "model": "teacher",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "call_t", "type": "function", "function": {"name": "no_such", "arguments": "{}"}}
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 2000, "completion_tokens": 20, "total_tokens": 2020},
    }
)


TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

NGINX = """worker_processes 1; daemon off; error_log {folder}/errors; pid {folder}/pid;
events {{}}
http {{
  {temporary}
  server {{
    listen 127.0.0.1:{port}; access_log off; client_max_body_size 20m; default_type application/json;
    return 200 '{{"object": "chat.completion"}}';
  }}
}}
"""


class Process:
    """A server's process.

    Attributes:
        port: Where it listens on this machine.
    """

    def __init__(self, command: list[str], port: int, **environment: str) -> None:
        self.port = port
        self._process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})

    @property
    def cpu_seconds(self) -> float:
        """User and system time of the process, its threads and its children that live (Linux)."""
        return sum(_cpu(pid) for pid in [self._process.pid, *_children(self._process.pid)])

    def ready(self, within: float = 60.0) -> Process:
        """Wait until it takes connections."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with code {self._process.returncode}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        raise RuntimeError("the server did not start in time")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def started(kind: str, *words: str) -> Iterator[Process]:
    """A server of this file, running while the `with` block does."""
    port = free_port()
    process = Process([sys.executable, "-m", "benchmarks.servers", kind, str(port), *words], port)
    try:
        yield process.ready()
    finally:
        process.stop()


@contextmanager
def nginx() -> Iterator[Process | None]:
    """Nginx that answers the same bytes to everything; `None` where it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        temporary = "".join(f"{name}_temp_path {folder}/{name};" for name in TEMPORARY)
        (Path(folder) / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, temporary=temporary))
        process = Process([program, "-c", f"{folder}/nginx.conf", "-p", folder], port)
        try:
            yield process.ready()
        finally:
            process.stop()


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text().split()] if file.exists() else []


class _Teacher(asyncio.Protocol):
    """Answers every whole request with the same completion."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(COMPLETION)
        self._transport.write(head + COMPLETION)  # type: ignore[attr-defined]


class _Message(msgspec.Struct):
    role: str
    content: Any = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    tools: msgspec.Raw = msgspec.Raw()


async def _bare(scope: Any, receive: Any, send: Any) -> None:
    """What an ASGI application costs that only decodes the body and answers a fixed completion."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    msgspec.json.decode(body, type=_Body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(COMPLETION))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": COMPLETION})


def _gateway(port: int, home: str, upstream: str, model: str = "", threshold: str = "0") -> None:
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.serve.app import create_app
    from ultracore.distillation.serve.server import serve
    from ultracore.distillation.serve.upstream import Upstream
    from ultracore.distillation.settings import Settings

    settings = Settings(home=home, port=port, audit_rate=0.0)
    gate = gate_of(Path(model), float(threshold)) if model else None
    store = open_store(settings.home_path)
    serve(create_app(store=store, upstream=Upstream(upstream), gate=gate, settings=settings), settings)
    store.close()


def gate_of(model: Path, threshold: float) -> Any:
    from ultracore.distillation.serve.gate import Gate
    from ultracore.distillation.students.certificate import Certificate
    from ultracore.distillation.students.compact.artefact import load_student

    tools = msgspec.json.decode((model.parent / "tools.json").read_bytes(), type=dict[str, str])
    student = load_student(model)
    thresholds = dict.fromkeys(tools, threshold)
    return Gate(student, Certificate(certified=True, thresholds=thresholds, model_id=student.model_id, tools=tools))


async def _teach(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Teacher, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main(kind: str, port: str, *words: str) -> None:
    """Run one server until it is told to stop."""
    if kind == "teacher":
        uvloop.run(_teach(int(port)))
    elif kind == "bare":
        uvicorn.run(_bare, port=int(port), loop="uvloop", http="httptools", lifespan="off", log_level="warning")
    else:
        _gateway(int(port), *words)


if __name__ == "__main__":
    main(*sys.argv[1:])
