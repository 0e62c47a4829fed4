"""A commit whose answer is lost on the way is neither doubled nor acknowledged by guess."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from benchmarks.postgres_server import PostgresServer

from ultracore.distillation.errors import EventError, LogUnavailableError
from ultracore.distillation.events import AgentDecisionEvent, Event
from ultracore.distillation.events.postgres.store import PostgresEventStore

SOCKET = ".s.PGSQL.5432"


def fact(event_id: str) -> Event:
    return AgentDecisionEvent.record(agent_id="a", event_id=event_id)


def ids_of(store: PostgresEventStore) -> list[str]:
    return [row.event_id for _, row in store.rows()]


class Proxy:
    """Passes bytes between clients and the server, and treats one COMMIT as its `mode` says.

    `lose_request` drops it, `lose_reply` delivers it and drops the answer, `late` cuts the client off first
    and delivers it half a second later. While `gone` is set, new clients are turned away.
    """

    def __init__(self, server: Path, folder: Path) -> None:
        self.folder = folder
        self.mode = ""
        self.gone = False
        self._server = str(server / SOCKET)
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = self._socket()
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen()
        self._start(self._accept)

    def close(self) -> None:
        for connection in self._sockets:
            _cut(connection)
        for thread in self._threads:
            thread.join(5)
        for connection in self._sockets:
            connection.close()

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        self._sockets.append(made)
        return made

    def _start(self, target: object, *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments))  # type: ignore[arg-type]
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                if self.gone:
                    _cut(client)
                    continue
                upstream = self._socket()
                upstream.connect(self._server)
                self._start(self._requests, client, upstream)
                self._start(_pump, upstream, client)

    def _requests(self, client: socket.socket, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if b"COMMIT\0" in data and self.mode:
                    self._meddle(data, client, upstream)
                    break
                upstream.sendall(data)
        _cut(upstream)

    def _meddle(self, data: bytes, client: socket.socket, upstream: socket.socket) -> None:
        mode, self.mode = self.mode, ""
        _cut(client)
        if mode == "late":
            time.sleep(0.5)
        if mode != "lose_request":
            upstream.sendall(data)
            time.sleep(0.2)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _cut(sink)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="proxy-") as folder:  # a socket's path must be short
        made = Proxy(postgres.folder, Path(folder))
        yield made
        made.close()


@pytest.fixture
def url(proxy: Proxy, database: str) -> str:
    """The empty database, through the proxy."""
    return f"{database.split('?')[0]}?host={proxy.folder}"


@pytest.mark.parametrize("mode", ["lose_reply", "late"])
def test_a_commit_whose_answer_is_lost_is_found(proxy: Proxy, url: str, mode: str) -> None:
    store = PostgresEventStore(url)
    proxy.mode = mode
    assert store.append([fact("x"), fact("y")]) == [1, 2]
    assert store.append([fact("z")]) == [3]
    assert ids_of(store) == ["x", "y", "z"]
    store.close()


def test_a_commit_that_never_arrived_is_not_acknowledged(proxy: Proxy, url: str) -> None:
    store = PostgresEventStore(url)
    proxy.mode = "lose_request"
    with pytest.raises(LogUnavailableError):
        store.append([fact("x")])
    assert store.append([fact("x")]) == [1]
    assert ids_of(store) == ["x"]
    store.close()


def test_an_outcome_that_cannot_be_learned_is_called_unknown(proxy: Proxy, url: str) -> None:
    store = PostgresEventStore(url, patience=0.4)
    proxy.mode, proxy.gone = "lose_reply", True
    with pytest.raises(LogUnavailableError, match="not known"):
        store.append([fact("x")])
    proxy.gone = False
    with pytest.raises(EventError, match="already"):
        store.append([fact("x")])
    assert ids_of(store) == ["x"]
    store.close()
