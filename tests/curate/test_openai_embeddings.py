import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ultracore.distillation.curate import OpenAIEmbeddings, SemDeDup
from ultracore.distillation.curate import openai_embeddings as module
from ultracore.distillation.errors import ConfigurationError, EncoderError

Answer = Callable[[list[str]], tuple[int, Any]]


class Service:
    """A server on the loopback that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.keys: list[str | None] = []
        self.answers: list[Answer] = []
        self.retry_after: str | None = None
        self.location: str | None = None
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert (self.path, body["model"]) == ("/v1/embeddings", "small")
                service.asked.append(body["input"])
                service.keys.append(self.headers["authorization"])
                answer = service.answers.pop(0) if service.answers else embedded
                status, said = answer(body["input"])
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                if service.location is not None:
                    self.send_header("location", service.location)
                if service.retry_after is not None:
                    self.send_header("retry-after", service.retry_after)
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                service.keys.append(self.headers["authorization"])
                self.send_response(404)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


def embedded(texts: list[str]) -> tuple[int, Any]:
    """Vectors out of order, as the service may send them."""
    data = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(texts)]
    return 200, {"data": data[::-1]}


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    thread = threading.Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.server.shutdown()
    thread.join()
    running.server.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    return waited


def test_vectors_come_in_the_order_of_the_texts_in_batches(service: Service) -> None:
    encoder = OpenAIEmbeddings(service.url, "small", api_key="k", batch=2)
    E = encoder.encode(["a", "bb", "ccc", "x" * 30_000])
    assert E[:, 0].tolist() == [1.0, 2.0, 3.0, float(module.CHARACTERS)]
    assert [len(texts) for texts in service.asked] == [2, 2]
    assert service.keys == ["Bearer k"] * 2
    assert "k" not in vars(encoder)["base_url"] + encoder.name


def test_a_busy_service_is_asked_again(service: Service, no_waiting: list[float]) -> None:
    service.answers = [lambda texts: (429, {}), lambda texts: (503, {})]
    service.retry_after = "7"
    assert OpenAIEmbeddings(service.url, "small").encode(["a"]).tolist() == [[1.0, 1.0]]
    assert no_waiting == [7.0, 7.0]


def test_a_service_that_stays_busy_loses_nothing(service: Service, row: Callable[..., Any]) -> None:
    rows = [row("a"), row("b" * 60), row("b" * 60)]
    dedup, encoder = SemDeDup(1.0), OpenAIEmbeddings(service.url, "small", attempts=2)
    service.answers = [lambda texts: (503, {})] * 2
    with pytest.raises(EncoderError, match="HTTP 503; what was embedded is kept, run again"):
        asyncio.run(dedup.deduplicate(rows, encoder))
    assert len(service.asked) == 2
    kept, _ = asyncio.run(dedup.deduplicate(rows, encoder))
    assert len(kept) == 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda texts: (401, {}), "refused: HTTP 401"),
        (lambda texts: (200, b"not JSON"), "one embedding for each"),
        (lambda texts: (200, {"data": [{"index": 0, "embedding": [1.0]}]}), "one embedding for each"),
        (lambda texts: (200, {"data": [{"index": i, "embedding": [1.0] * (i + 1)} for i in range(2)]}), "lengths"),
    ],
)
def test_an_answer_that_is_none_is_one_clear_error(service: Service, answer: Answer, says: str) -> None:
    service.answers = [answer]
    with pytest.raises(EncoderError, match=says):
        OpenAIEmbeddings(service.url, "small").encode(["a", "b"])
    assert len(service.asked) == 1


def test_nobody_there(no_waiting: list[float]) -> None:
    with pytest.raises(EncoderError, match="out of reach"):
        OpenAIEmbeddings("http://127.0.0.1:1/v1", "small", attempts=3).encode(["a"])
    assert no_waiting == [0.5, 1.0]


@pytest.mark.parametrize("arguments", [{"base_url": "file:///etc/passwd"}, {"batch": 0}, {"attempts": 0}])
def test_unusable_settings(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        OpenAIEmbeddings(**{"base_url": "http://h/v1", "model": "m", **arguments})


def test_no_texts_ask_nobody(service: Service) -> None:
    assert len(OpenAIEmbeddings(service.url, "small").encode([])) == 0
    assert service.asked == []


def test_a_redirect_does_not_get_the_key(service: Service) -> None:
    service.location = service.url.replace("/v1", "/elsewhere")
    service.answers = [lambda texts: (302, b"")]
    with pytest.raises(EncoderError, match="302"):
        OpenAIEmbeddings(service.url, "small", api_key="k").encode(["a"])
    assert service.keys == ["Bearer k"]
