"""Answers by heart on real connections: like those of the long way in every respect, and only where all is plain."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from ultracore.distillation.events import KeyRevokedEvent
from ultracore.distillation.serve.gate import Gate
from ultracore.distillation.serve.keys import Scope, issue
from ultracore.distillation.serve.recall import Heads, Recall, Recalled

DECISION, OUTCOME = "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED"
PLAIN = (b"host: localhost", b"content-type: application/json")


@pytest.fixture
def known(world: Any, fakes: Any) -> Any:
    """A world whose student knows every context by heart."""

    class Knowing(fakes.RuleStudent):  # type: ignore[misc, name-defined]
        def recall(self, state: Any) -> Any:
            return self.propose(state)

    world.student = Knowing()
    world.gate = Gate(world.student, fakes.certificate())
    return world


@pytest.fixture
def by_heart(monkeypatch: Any) -> list[Recalled]:
    """What was answered by heart."""
    found: list[Recalled] = []
    ask = Recall.ask

    def watched(recall: Recall, *asked: Any) -> Recalled | None:
        recalled = ask(recall, *asked)
        if recalled is not None:
            found.append(recalled)
        return recalled

    monkeypatch.setattr(Recall, "ask", watched)
    return found


@pytest.fixture
def body(fakes: Any) -> bytes:
    return json.dumps(fakes.chat()).encode()


def post(body: bytes, *headers: bytes, length: int | None = None, version: bytes = b"1.1") -> bytes:
    lines = [b"POST /v1/chat/completions HTTP/" + version, *PLAIN, *headers]
    size = len(body) if length is None else length
    return b"\r\n".join([*lines, b"content-length: %d" % size]) + b"\r\n\r\n" + body


class Client:
    """One connection."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=5)
        self._rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, dict[bytes, bytes], Any]:
        """The next answer: status, headers, body."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, self._rest = self._rest.split(b"\r\n\r\n", 1)
        first, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        while len(self._rest) < (size := int(headers[b"content-length"])):
            self._more()
        body, self._rest = self._rest[:size], self._rest[size:]
        return int(first.split(b" ")[1]), headers, json.loads(body)

    def ended(self) -> bool:
        """Whether the server closes without another word."""
        return not self._rest and self.socket.recv(1) == b""

    def _more(self) -> None:
        data = self.socket.recv(65536)
        assert data, "the connection ended"
        self._rest += data


@contextmanager
def connection(url: str) -> Iterator[Client]:
    client = Client(url)
    with client.socket:
        yield client


def asked(client: Client, data: bytes) -> tuple[int, dict[bytes, bytes], Any]:
    client.send(data)
    return client.answer()


def test_an_answer_by_heart_is_like_any_other(known: Any, fakes: Any, body: bytes, by_heart: list[Recalled]) -> None:
    with fakes.Running(known.app(None)) as url, connection(url) as client:
        answers = [asked(client, post(body)) for _ in range(3)]
    assert len(by_heart) == 2  # the first head had to be read
    statuses, headers, bodies = zip(*answers, strict=True)
    assert statuses == (200, 200, 200)
    own = {b"x-distill-receipt", b"date"}
    assert all(list(h) == list(headers[0]) for h in headers)
    assert len({tuple((k, v) for k, v in h.items() if k not in own) for h in headers}) == 1
    assert len({b["id"] for b in bodies}) == 3
    choices = [b["choices"][0]["message"]["tool_calls"][0]["function"] for b in bodies]
    assert choices == [{"name": "weather", "arguments": '{"city":"Rome"}'}] * 3
    receipts = [h[b"x-distill-receipt"].decode() for h in headers]
    assert [e.metadata.event_id for e in known.store.of(DECISION, at_least=3)] == receipts
    outcomes = known.store.of(OUTCOME, at_least=3)
    assert [(e.decision_id, e.status) for e in outcomes] == [(receipt, "ok") for receipt in receipts]


def test_a_body_of_another_length_needs_no_other_head(known: Any, fakes: Any, by_heart: list[Recalled]) -> None:
    with fakes.Running(known.app(None)) as url, connection(url) as client:
        for city in ("Rome", "Oslo", "Constantinople"):
            status, _, said = asked(client, post(json.dumps(fakes.chat(f"weather in {city}")).encode()))
            assert (status, city in json.dumps(said)) == (200, True)
    assert len(by_heart) == 2


def test_what_comes_while_an_answer_is_written_down_waits_its_turn(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled]
) -> None:
    with fakes.Running(known.app(None)) as url, connection(url) as client:
        asked(client, post(body))
        client.send(post(body))
        client.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        client.send(post(body) + post(body)[:-7])
        kinds = [client.answer()[2].get("object") for _ in range(3)]
        client.send(post(body)[-7:])
        assert [*kinds, client.answer()[2]["object"]] == ["chat.completion", None, *["chat.completion"] * 2]
    assert len(known.store.of(DECISION, at_least=4)) == 4
    assert by_heart


@pytest.mark.parametrize(
    "odd",
    [
        (b"expect: 100-continue",),
        (b"idempotency-key: k",),
        (b"connection: close",),
        (b"content-encoding: gzip",),
        (b"transfer-encoding: chunked",),
        (b"content-length: 3",),
        (b"x-distill-force: teacher",),
    ],
)
def test_what_is_not_plain_goes_the_long_way(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled], odd: tuple[bytes, ...]
) -> None:
    with fakes.Running(known.app(None)) as url:
        for _ in range(2):
            with connection(url) as client:
                client.send(post(body, *odd))
                client.socket.settimeout(0.3)
                with suppress(TimeoutError, AssertionError, KeyError):
                    client.answer()
    assert by_heart == []


def test_no_request_is_hidden_behind_a_known_head(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled]
) -> None:
    hidden = post(body)
    with fakes.Running(known.app(None)) as url, connection(url) as client:
        asked(client, hidden)
        asked(client, hidden)
        assert asked(client, post(hidden))[0] == 400  # the whole of it is the body, and no JSON
        client.send(post(body + b"GET /", length=len(body)))  # one request, and the beginning of another
        assert client.answer()[0] == 200
        client.send(b"healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert client.answer()[0] == 200
        client.send(post(body[:-5], length=len(body)))
        client.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.answer()  # a body that is not whole is waited for
    assert len(known.store.of(DECISION, at_least=3)) == 3
    assert len(by_heart) == 1


def hold(store: Any, seconds: float) -> None:
    """From now on a sync takes so long."""
    synced = store._synced
    store._synced = lambda *told: threading.Timer(seconds, synced, told).start()


def test_a_client_that_is_gone_before_its_answer_is_noted(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled]
) -> None:
    with fakes.Running(known.app(None)) as url:
        with connection(url) as client:
            asked(client, post(body))
            hold(known.store, 0.3)
            client.send(post(body))
            time.sleep(0.1)
        outcomes = known.store.of(OUTCOME, at_least=2)
    assert len(by_heart) == 1
    assert [event.status for event in outcomes] == ["ok", "cancelled"]


def test_told_to_stop_it_finishes_what_is_under_way_and_closes(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled]
) -> None:
    running = fakes.Running(known.app(None))
    with running as url, connection(url) as client:
        asked(client, post(body))
        hold(known.store, 0.3)
        client.send(post(body))
        time.sleep(0.1)
        running.server.should_exit = True
        status, headers, _ = client.answer()
        assert (status, headers[b"connection"]) == (200, b"close")
        assert client.ended()
    assert len(by_heart) == 1
    assert [event.status for event in known.store.of(OUTCOME, at_least=2)] == ["ok", "ok"]


@pytest.mark.parametrize("fault", ["down", "stuck"])
def test_without_the_log_nothing_is_answered(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled], fault: str
) -> None:
    app = known.app(None)
    app.state.gateway.journal._wait_seconds = 0.1
    with fakes.Running(app) as url, connection(url) as client:
        asked(client, post(body))
        setattr(known.store, fault, True)
        status, headers, said = asked(client, post(body))
        assert (status, said["error"]["code"], headers[b"retry-after"]) == (503, "log_unavailable", b"1")
        setattr(known.store, fault, False)
        assert asked(client, post(body))[0] == 200
    assert len(by_heart) == 2
    assert b'distill_refused_total{status="503"} 1.0' in app.state.gateway.metrics.render()


def test_who_may_not_ask_is_refused_though_the_head_is_known(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled]
) -> None:
    frequent, reader = issue("f", requests_per_minute=3), issue("r", Scope.READ)
    known.store.append([frequent.event, reader.event])
    app = known.app(None)
    requests = [post(body, b"authorization: Bearer " + new.secret.encode()) for new in (frequent, reader)]
    with fakes.Running(app) as url, connection(url) as client:
        assert [asked(client, requests[0])[0] for _ in range(5)] == [200, 200, 200, 429, 429]
        assert [asked(client, requests[1])[0] for _ in range(2)] == [403, 403]
        assert [asked(client, post(body))[0] for _ in range(2)] == [401, 401]
        app.state.ring.apply(KeyRevokedEvent.record(key_id=frequent.event.key_id))
        assert asked(client, requests[0])[0] == 401
    assert len(by_heart) == 2


def test_a_key_that_asks_once_at_a_time_may_ask_again_after_each_answer(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled]
) -> None:
    single = issue("s", concurrent=1)
    known.store.append([single.event])
    request = post(body, b"authorization: Bearer " + single.secret.encode())
    with fakes.Running(known.app(None)) as url, connection(url) as client, connection(url) as other:
        assert [asked(client, request)[0] for _ in range(3)] == [200] * 3
        hold(known.store, 0.3)
        client.send(request)
        time.sleep(0.1)
        assert asked(other, request)[0] == 429
        assert client.answer()[0] == 200
    assert len(by_heart) == 3


def test_a_paused_gateway_answers_nothing_by_heart(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled]
) -> None:
    app = known.app(None)
    with fakes.Running(app) as url, connection(url) as client:
        assert asked(client, post(body))[0] == 200
        app.state.gateway.switch.paused = True
        assert asked(client, post(body))[0] == 503  # there is no teacher
    assert by_heart == []


def test_a_connection_left_idle_after_an_answer_by_heart_is_closed(
    known: Any, fakes: Any, body: bytes, by_heart: list[Recalled]
) -> None:
    running = fakes.Running(known.app(None))
    running.server.config.timeout_keep_alive = 0.2
    with running as url, connection(url) as client:
        asked(client, post(body))
        asked(client, post(body))
        assert client.ended()
    assert len(by_heart) == 1


def test_a_head_is_found_before_exactly_its_body_only() -> None:
    class Cycle:
        keep_alive = True
        scope = {"path": "/p", "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")]}  # noqa: RUF012
        body = b"{}"

    heads, piece = Heads(), post(b"{}")
    assert heads.find(piece) is None
    heads.learn(piece, Cycle())  # type: ignore[arg-type]
    found = heads.find(post(b"[1]"))
    assert found is not None
    assert (found[0].path, found[1]) == ("/p", b"[1]")
    others = [
        piece + b"x",
        piece[:-1],
        b"\r\n" + piece,
        piece.replace(b"localhost", b"localh0st"),
        post(b"{}", b"x: y"),
    ]
    assert [heads.find(other) for other in others] == [None] * len(others)
