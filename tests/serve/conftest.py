"""Fakes of the gateway's neighbours: a log in memory that can fail, a teacher that can misbehave, a student by rule."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ultracore.distillation.decisions import State
from ultracore.distillation.errors import EventError, LogError
from ultracore.distillation.events import Event, EventStore
from ultracore.distillation.products.store import ProductStore
from ultracore.distillation.serve.app import create_app
from ultracore.distillation.serve.gate import Gate
from ultracore.distillation.serve.products import product_endpoints
from ultracore.distillation.serve.server import configure
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.settings import Settings
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.tools import ToolCall, parse_tool

TEACHER = "teacher-1"
SYSTEM = {"role": "system", "content": "You sell flights."}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
PING = {"type": "function", "function": {"name": "ping", "parameters": {"type": "object", "properties": {}}}}
TOOLS = [WEATHER, PING]


class MemoryStore:
    """The EventStore protocol in a list; `down` makes it fail, `stuck` makes it never answer."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.down = False
        self.stuck = False
        self.unreadable = False
        self.happened: list[str] = []
        self._lock = threading.Lock()

    def submit(self, events: Iterable[Event], *, expected: Any = None, patient: bool = False) -> Future[list[int]]:
        future: Future[list[int]] = Future()
        future.set_running_or_notify_cancel()
        events = list(events)
        if self.stuck:
            return future
        if self.down:
            future.set_exception(LogError("no space left on the secret disk"))
            return future
        with self._lock:
            positions = []
            known = {e.metadata.event_id for e in self.events}
            if any(e.metadata.event_id in known for e in events):
                future.set_exception(EventError("an event of this id is in the log"))
                return future
            for event in events:
                self.events.append(event.at(len(self.events) + 1))
                positions.append(len(self.events))
        threading.Timer(0.002, self._synced, (future, positions)).start()  # a disk takes its time
        return future

    def _synced(self, future: Future[list[int]], positions: list[int]) -> None:
        self.happened += [f"synced {self.events[p - 1].event_type}" for p in positions]
        future.set_result(positions)

    def append(self, events: Iterable[Event], *, expected: Any = None) -> list[int]:
        return self.submit(events).result()

    def read(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        types: Any = None,
        tenant: str | None = None,
        aggregate: str | None = None,
        limit: int | None = None,
        **_: Any,
    ) -> Iterator[Event]:
        if self.unreadable:
            raise LogError("the secret disk is gone")
        found = [e for e in self.events[after:until] if types is None or e.event_type in types]
        found = [e for e in found if aggregate in (None, e.metadata.aggregate_id)]
        found = [e for e in found if tenant in (None, e.metadata.tenant_id)]
        return iter(found[:limit])

    def known(self, event_ids: Any) -> set[str]:
        return {e.metadata.event_id for e in self.events} & set(event_ids)

    def last_position(self) -> int:
        if self.unreadable:
            raise LogError("the secret disk is gone")
        return len(self.events)

    def follow(self, *, after: int = 0, types: Any = None, timeout: float | None = None) -> Iterator[Event]:
        return self.read(after=after, types=types)

    def close(self) -> None:
        self.down = True

    def of(self, event_type: str, *, at_least: int = 1, within: float = 3.0) -> list[Any]:
        """The events of a type, once there are so many."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            found = list(self.read(types=[event_type]))
            if len(found) >= at_least:
                return found
            time.sleep(0.005)
        raise AssertionError(f"{at_least} x {event_type} expected, the log has {[e.event_type for e in self.events]}")


class RuleStudent:
    """Asks for the weather of the last word said, or does what a test tells it."""

    def __init__(self, model_id: str = "student-1") -> None:
        self.model_id = model_id
        self.rule: Callable[[State], Any] = self.weather
        self.asked = 0

    @staticmethod
    def weather(state: State) -> Proposal:
        city = str(state.messages[-1].get("content") or "x").split()[-1]
        return Proposal((ToolCall("weather", {"city": city}),), 0.99)

    def propose(self, state: State) -> Proposal:
        self.asked += 1
        return self.rule(state)

    def propose_batch(self, states: Sequence[State]) -> list[Proposal]:
        return [self.propose(state) for state in states]


def certificate(**changes: Any) -> Certificate:
    tools = {tool.name: tool.fingerprint for tool in map(parse_tool, TOOLS)}
    values: dict[str, Any] = {
        "certified": True,
        "thresholds": {"weather": 0.9, "ping": 0.9},
        "model_id": "student-1",
        "teacher": TEACHER,
        "tools": tools,
    }
    return Certificate(**(values | changes))


def chat(text: str = "weather in Rome", **changes: Any) -> dict[str, Any]:
    body = {"model": TEACHER, "messages": [SYSTEM, {"role": "user", "content": text}], "tools": TOOLS}
    return body | changes


def frames(*deltas: dict[str, Any], finish: str = "tool_calls") -> list[bytes]:
    head = {"id": "chatcmpl-t", "object": "chat.completion.chunk", "created": 1, "model": TEACHER}
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    events = [b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n" for choice in choices]
    return [*events, b"data: [DONE]\n\n"]


def call_delta(arguments: str, *, first: bool = True) -> dict[str, Any]:
    head = {"id": "call_t", "type": "function"} if first else {}
    name = {"name": "weather"} if first else {}
    return {"tool_calls": [{"index": 0, **head, "function": {**name, "arguments": arguments}}]}


STREAM = frames(
    {"role": "assistant", "content": None},
    call_delta('{"ci'),
    call_delta('ty": "Rom', first=False),
    call_delta('e"}', first=False),
)


def completion(message: dict[str, Any], finish: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    head = {"id": "chatcmpl-t", "object": "chat.completion", "created": 1, "model": TEACHER + "-2026"}
    return json.dumps({**head, "choices": [choice], "usage": usage}, indent=1).encode()


ROME = completion(
    {
        "tool_calls": [
            {"id": "call_t", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
        ]
    },
    "tool_calls",
)


ROME_CALL = {
    "type": "function_call",
    "id": "fc_t",
    "call_id": "call_t",
    "name": "weather",
    "arguments": '{"city": "Rome"}',
}


def response(*output: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    head = {"id": "resp_t", "object": "response", "created_at": 1, "model": TEACHER + "-2026", "error": None}
    return {**head, "status": status, "output": list(output), "usage": usage}


def events(whole: dict[str, Any]) -> list[bytes]:
    begun = {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}}
    ended = {"type": f"response.{whole['status']}", "response": whole}
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in (begun, ended)]


ROME_USE = {"type": "tool_use", "id": "toolu_t", "name": "weather", "input": {"city": "Rome"}}


def message(*content: dict[str, Any], reason: str = "tool_use") -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
    head = {"id": "msg_t", "type": "message", "role": "assistant", "model": TEACHER + "-2026"}
    return {**head, "content": list(content), "stop_reason": reason, "stop_sequence": None, "usage": usage}


def message_events(whole: dict[str, Any]) -> list[bytes]:
    usage = whole["usage"]
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    told: list[dict[str, Any]] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(whole["content"]):
        text = block["type"] == "text"
        whole_of_it = block["text"] if text else json.dumps(block.get("input"))
        pieces = [whole_of_it[start : start + 5] for start in range(0, len(whole_of_it), 5)]
        empty = {**block, **({"text": ""} if text else {"input": {}})}
        told.append({"type": "content_block_start", "index": index, "content_block": empty})
        for piece in pieces:
            delta = (
                {"type": "text_delta", "text": piece} if text else {"type": "input_json_delta", "partial_json": piece}
            )
            told.append({"type": "content_block_delta", "index": index, "delta": delta})
        told.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    told.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": usage["output_tokens"]}})
    told.append({"type": "message_stop"})
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in told]


class ScriptedTeacher:
    """A server that answers what the test says; `mode` picks the misbehaviour."""

    def __init__(self) -> None:
        self.reset()
        paths = ["GET", "POST", "DELETE"]
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/responses", self.respond, methods=["POST"]),
                Route("/v1/messages", self.message, methods=["POST"]),
                Route("/v1/models", self.models, methods=["GET"]),
                Route("/v1/moved", self.moved, methods=paths),
                Route("/v1/{path:path}", self.echo, methods=paths),
            ]
        )

    def reset(self) -> None:
        self.mode = "ok"
        self.json: bytes = ROME
        self.status = 200
        self.stream: list[bytes] = list(STREAM)
        self.response: dict[str, Any] = response(ROME_CALL)
        self.events: list[bytes] = events(self.response)
        self.said: dict[str, Any] = message(ROME_USE)
        self.said_events: list[bytes] = message_events(self.said)
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.dropped = threading.Event()

    async def chat(self, request: Request) -> Any:
        body = await request.body()
        self.seen.append((dict(request.headers), body))
        if self.mode == "slow":
            return self.stall
        if self.mode in ("429", "500"):
            error = {"error": {"message": "as the teacher said", "type": "x", "param": None, "code": "y"}}
            return JSONResponse(error, int(self.mode), {"retry-after": "7", "x-ratelimit-remaining": "0"})
        if json.loads(body).get("stream"):
            return self.streaming
        if self.mode == "cut":
            return self.cut_json
        return Response(self.json, self.status, media_type="application/json", headers={"x-request-id": "req_7"})

    async def respond(self, request: Request) -> Any:
        body = await request.body()
        self.seen.append((dict(request.headers), body))
        if json.loads(body).get("stream"):
            return Response(b"".join(self.events), media_type="text/event-stream")
        return Response(json.dumps(self.response), media_type="application/json")

    async def message(self, request: Request) -> Any:
        body = await request.body()
        self.seen.append((dict(request.headers), body))
        if self.mode == "429":
            error = {"type": "error", "error": {"type": "rate_limit_error", "message": "as the teacher said"}}
            return JSONResponse(error, 429, {"retry-after": "7"})
        if json.loads(body).get("stream"):
            return Response(b"".join(self.said_events), media_type="text/event-stream")
        return Response(json.dumps(self.said), media_type="application/json", headers={"request-id": "req_7"})

    async def stall(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.dropped.set()

    async def cut_json(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"5000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.json[:50], "more_body": True})

    async def streaming(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"x-request-id", b"req_7")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for frame in self.stream:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            await asyncio.sleep(0.001)
        if self.mode == "hang":
            await self.stall(scope, receive, send)
        elif self.mode != "cut":
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def models(self, request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": TEACHER, "object": "model", "created": 1, "owned_by": "t"}]}
        )

    async def moved(self, request: Request) -> Response:
        return RedirectResponse("http://169.254.169.254/secret")

    async def echo(self, request: Request) -> Response:
        return JSONResponse({"path": request.url.path, "query": request.url.query, "method": request.method})


class Running:
    """An ASGI app under a real uvicorn in a thread, on an ephemeral loopback port."""

    def __init__(self, app: Any) -> None:
        settings = Settings(port=0)
        self.server = uvicorn.Server(configure(app, settings, keyed=False))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        until = time.monotonic() + 10
        while not self.server.started:
            assert self.thread.is_alive(), "the server did not start"
            assert time.monotonic() < until, "the server did not start in time"
            time.sleep(0.005)
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}/v1"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive(), "the server did not stop"


class World:
    """One gateway with its neighbours, in process or on a port."""

    def __init__(self, **settings: Any) -> None:
        self.store = MemoryStore()
        assert isinstance(self.store, EventStore)
        self.student = RuleStudent()
        self.gate = Gate(self.student, certificate())
        self.settings = Settings(audit_rate=0.0) if not settings else Settings(**settings)

    def app(self, upstream: Upstream | None, **options: Any) -> Starlette:
        values = {"store": self.store, "gate": self.gate, "settings": self.settings, "env": {}}
        values["more"] = product_endpoints(ProductStore(self.store, Path(tempfile.gettempdir()) / uuid.uuid4().hex))
        return create_app(upstream=upstream, **(values | options))

    @asynccontextmanager
    async def client(self, upstream: Upstream | None = None, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
        """A client of the gateway in this event loop, without sockets between them."""
        app = self.app(upstream, **options)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            yield client


@pytest.fixture(scope="session")
def teacher_server() -> Iterator[tuple[ScriptedTeacher, str]]:
    teacher = ScriptedTeacher()
    with Running(teacher.app) as url:
        yield teacher, url


@pytest.fixture
def teacher(teacher_server: tuple[ScriptedTeacher, str]) -> ScriptedTeacher:
    teacher_server[0].reset()
    return teacher_server[0]


@pytest.fixture
def teacher_url(teacher_server: tuple[ScriptedTeacher, str]) -> str:
    return teacher_server[1]


class Fakes:
    """What the tests build with, as one fixture: importlib mode has no importing from a conftest."""

    World = World
    Running = Running
    MemoryStore = MemoryStore
    RuleStudent = RuleStudent
    ScriptedTeacher = ScriptedTeacher
    TEACHER, SYSTEM, TOOLS, WEATHER, PING, STREAM, ROME = TEACHER, SYSTEM, TOOLS, WEATHER, PING, STREAM, ROME
    certificate = staticmethod(certificate)
    chat = staticmethod(chat)
    frames = staticmethod(frames)
    call_delta = staticmethod(call_delta)
    completion = staticmethod(completion)
    response = staticmethod(response)
    events = staticmethod(events)
    message = staticmethod(message)
    message_events = staticmethod(message_events)
    ROME_CALL = ROME_CALL
    ROME_USE = ROME_USE
    PING_CALL = ToolCall("ping", {})


@pytest.fixture(scope="session")
def fakes() -> type[Fakes]:
    return Fakes


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def gateway_url(world: World, teacher: ScriptedTeacher, teacher_url: str) -> Iterator[str]:
    with Running(world.app(Upstream(teacher_url, key="sk-teacher"))) as url:
        yield url
