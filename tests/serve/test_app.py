"""The gateway as a client sees it: the real OpenAI client, real servers, and what the log says afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import httpx2
import openai
import pytest

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events import AgentDecisionEvent, DecisionOutcomeEvent
from ultracore.distillation.serve.gate import Gate
from ultracore.distillation.serve.journal import Journal
from ultracore.distillation.serve.server import configure
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.targets import Deadlines
from ultracore.distillation.settings import Settings
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.tools import LOCAL_CALL_PREFIX

DECISION, OUTCOME, AUDIT = "AGENT_TOOL_SELECTED", "DECISION_OUTCOME_RECORDED", "AUDIT_RECORDED"


@pytest.fixture
def client(gateway_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway_url, api_key="unused", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def raw(gateway_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway_url, timeout=10) as client:
        yield client


def one(world: Any) -> tuple[AgentDecisionEvent, Any]:
    (outcome,) = world.store.of(OUTCOME)
    (decision,) = world.store.of(DECISION)
    assert outcome.decision_id == decision.metadata.event_id
    return decision, outcome


def unsure(world: Any) -> None:
    world.student.rule = lambda state: Proposal(world.student.weather(state).calls, 0.5)


def test_a_local_call_as_json(client: openai.OpenAI, world: Any, fakes: Any, teacher: Any) -> None:
    response = client.chat.completions.with_raw_response.create(**fakes.chat())
    answer = response.parse()
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Rome"})
    assert call.id.startswith(LOCAL_CALL_PREFIX)
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage.total_tokens == 0
    assert answer.model == "student-1"
    decision, outcome = one(world)
    assert response.headers["x-distill-source"] == "student"
    assert response.headers["x-distill-model"] == "student-1"
    assert response.headers["x-distill-receipt"] == decision.metadata.event_id == decision.serving["receipt"]
    assert response.headers["x-distill-certificate"] == world.gate.certificate_id
    assert "x-distill-reason" not in response.headers
    assert (decision.source, decision.tool_selected, decision.tool_parameters) == (
        "student",
        "weather",
        {"city": "Rome"},
    )
    assert (decision.confidence, decision.label_probability, outcome.status) == (0.99, 0.0, "ok")
    assert decision.context == {"messages": fakes.chat()["messages"]}
    assert decision.tools_available == fakes.TOOLS
    assert teacher.seen == []


def test_a_local_call_as_a_stream(client: openai.OpenAI, fakes: Any) -> None:
    stream = client.chat.completions.create(**fakes.chat(stream=True, stream_options={"include_usage": True}))
    chunks = list(stream)
    *_, last, usage = chunks
    arguments = "".join(
        call.function.arguments for c in chunks for choice in c.choices for call in choice.delta.tool_calls or []
    )
    assert json.loads(arguments) == {"city": "Rome"}
    assert last.choices[0].finish_reason == "tool_calls"
    assert (usage.choices, usage.usage.total_tokens) == ([], 0)
    assert len({chunk.id for chunk in chunks}) == 1
    without = list(client.chat.completions.create(**fakes.chat(stream=True)))
    assert all(chunk.usage is None and chunk.choices for chunk in without)


def test_the_clients_own_stream_reader_puts_a_local_call_together(client: openai.OpenAI, fakes: Any) -> None:
    with client.chat.completions.stream(**fakes.chat()) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city":"Rome"}'


def test_the_async_client(gateway_url: str, fakes: Any) -> None:
    async def talk() -> tuple[Any, list[Any]]:
        async with openai.AsyncOpenAI(base_url=gateway_url, api_key="unused", max_retries=0) as client:
            answers = await asyncio.gather(
                *(client.chat.completions.create(**fakes.chat(f"weather in C{i}")) for i in range(8))
            )
            stream = await client.chat.completions.create(**fakes.chat(stream=True))
            return answers, [chunk async for chunk in stream]

    answers, chunks = asyncio.run(talk())
    cities = [json.loads(a.choices[0].message.tool_calls[0].function.arguments)["city"] for a in answers]
    assert cities == [f"C{i}" for i in range(8)]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_relayed_answer_is_the_teachers_bytes(raw: httpx2.Client, world: Any, fakes: Any, teacher: Any) -> None:
    unsure(world)
    body = json.dumps(fakes.chat(unknown_to_us={"keep": [1.50]}), indent=3).encode()
    headers = {"content-type": "application/json", "authorization": "Bearer client-secret", "cookie": "c=1"}
    reply = raw.post("/chat/completions", content=body, headers=headers)
    assert (reply.status_code, reply.content) == (200, fakes.ROME)
    ((seen, seen_body),) = teacher.seen
    assert seen_body == body
    assert seen["authorization"] == "Bearer sk-teacher"
    assert "cookie" not in seen
    assert reply.headers["x-request-id"] == "req_7"
    assert reply.headers["x-distill-source"] == "teacher"
    assert reply.headers["x-distill-model"] == fakes.TEACHER
    assert reply.headers["x-distill-reason"] == "unsupported_request"
    decision, outcome = one(world)
    assert decision.metadata.event_id == reply.headers["x-distill-receipt"]
    assert (decision.source, decision.teacher_model, decision.label_probability) == ("teacher", fakes.TEACHER, 1.0)
    assert decision.tool_calls == [{"name": "weather", "arguments": {"city": "Rome"}}]
    (attempt,) = world.store.of("UPSTREAM_ATTEMPTED")
    assert (outcome.status, attempt.usage["total_tokens"]) == ("ok", 15)


def test_a_relayed_stream_is_the_teachers_bytes(raw: httpx2.Client, world: Any, fakes: Any) -> None:
    unsure(world)
    reply = raw.post("/chat/completions", json=fakes.chat(stream=True))
    assert reply.content == b"".join(fakes.STREAM)
    assert reply.headers["x-distill-reason"] == "low_confidence"
    decision, outcome = one(world)
    assert decision.tool_calls == [{"name": "weather", "arguments": {"city": "Rome"}}]
    assert decision.serving["confidence"] == 0.5
    assert outcome.status == "ok"


def test_the_client_that_stops_reading_at_done_has_had_a_whole_answer(
    client: openai.OpenAI, world: Any, fakes: Any, teacher: Any
) -> None:
    unsure(world)
    teacher.mode = "hang"  # the teacher keeps the connection open after [DONE]
    chunks = list(client.chat.completions.create(**fakes.chat(stream=True)))
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    decision, outcome = one(world)
    assert (decision.tool_selected, outcome.status) == ("weather", "ok")


def test_a_text_reply_is_logged_as_the_reply_action(
    client: openai.OpenAI, world: Any, fakes: Any, teacher: Any
) -> None:
    teacher.json = fakes.completion({"content": "Sunny."}, "stop")
    client.chat.completions.create(
        **fakes.chat(), extra_headers={"x-distill-force": "teacher", "x-distill-session": "s-9"}
    )
    decision, _ = one(world)
    assert (decision.tool_selected, decision.tool_calls, decision.reply) == ("(reply)", [], "Sunny.")
    assert (decision.serving["reason"], decision.session_id) == ("forced", "s-9")
    assert world.student.asked == 0


@pytest.mark.parametrize("mode", ["429", "500"])
@pytest.mark.parametrize("stream", [True, False])
def test_the_teachers_errors_pass_as_they_came(
    raw: httpx2.Client, world: Any, fakes: Any, teacher: Any, mode: str, stream: bool
) -> None:
    unsure(world)
    teacher.mode = mode
    reply = raw.post("/chat/completions", json=fakes.chat(stream=stream))
    assert (reply.status_code, reply.json()["error"]["message"]) == (int(mode), "as the teacher said")
    assert (reply.headers["retry-after"], reply.headers["x-ratelimit-remaining"]) == ("7", "0")
    (outcome,) = world.store.of(OUTCOME)
    assert (outcome.status, outcome.success) == ("error", False)
    assert world.store.of(DECISION, at_least=0) == []


@pytest.mark.parametrize("kept", range(1, 6))
def test_a_cut_stream_never_looks_whole(client: openai.OpenAI, world: Any, fakes: Any, teacher: Any, kept: int) -> None:
    unsure(world)
    teacher.mode, teacher.stream = "cut", teacher.stream[:kept]
    if kept > 4:
        list(client.chat.completions.create(**fakes.chat(stream=True)))
    else:
        with pytest.raises((openai.APIError, httpx2.HTTPError)):
            list(client.chat.completions.create(**fakes.chat(stream=True)))
        (outcome,) = world.store.of(OUTCOME)
        assert outcome.status == "truncated"
        assert world.store.of(DECISION, at_least=0) == []


@pytest.mark.parametrize("mode", ["ok", "cut"])
def test_a_stream_that_ends_within_an_event_never_looks_whole(
    client: openai.OpenAI, world: Any, fakes: Any, teacher: Any, mode: str
) -> None:
    unsure(world)
    teacher.mode, teacher.stream = mode, [*teacher.stream[:2], teacher.stream[2][:40]]
    with pytest.raises((openai.APIError, httpx2.HTTPError, ValueError)):
        list(client.chat.completions.create(**fakes.chat(stream=True)))
    (outcome,) = world.store.of(OUTCOME)
    assert outcome.status == "truncated"


def test_a_stream_that_ends_early_but_politely_gets_an_error_event(
    client: openai.OpenAI, world: Any, fakes: Any, teacher: Any
) -> None:
    unsure(world)
    teacher.stream = teacher.stream[:2]
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.chat.completions.create(**fakes.chat(stream=True)))


def test_a_cut_json_answer_never_looks_whole(client: openai.OpenAI, world: Any, fakes: Any, teacher: Any) -> None:
    unsure(world)
    teacher.mode = "cut"
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(**fakes.chat())
    (outcome,) = world.store.of(OUTCOME)
    assert outcome.status == "truncated"


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_answer_that_did_not_end_by_itself_is_no_label(
    raw: httpx2.Client, world: Any, fakes: Any, teacher: Any, finish: str
) -> None:
    unsure(world)
    teacher.json = fakes.completion({"content": "Sun"}, finish)
    assert raw.post("/chat/completions", json=fakes.chat()).status_code == 200
    (outcome,) = world.store.of(OUTCOME)
    assert finish in outcome.error
    assert world.store.of(DECISION, at_least=0) == []


def test_another_gateways_student_is_no_teacher(raw: httpx2.Client, world: Any, fakes: Any, teacher: Any) -> None:
    unsure(world)
    call = {"id": LOCAL_CALL_PREFIX + "1", "type": "function", "function": {"name": "ping", "arguments": "{}"}}
    teacher.json = fakes.completion({"tool_calls": [call]}, "tool_calls")
    raw.post("/chat/completions", json=fakes.chat())
    world.store.of(OUTCOME)
    assert world.store.of(DECISION, at_least=0) == []


@pytest.mark.parametrize("mode", ["slow", "hang"])
def test_a_client_that_hangs_up_ends_the_teachers_work(
    raw: httpx2.Client, world: Any, fakes: Any, teacher: Any, mode: str
) -> None:
    unsure(world)
    teacher.mode, teacher.stream = mode, teacher.stream[:2]
    if mode == "slow":
        with pytest.raises(httpx2.ReadTimeout):
            raw.post("/chat/completions", json=fakes.chat(), timeout=0.3)
    else:
        with raw.stream("POST", "/chat/completions", json=fakes.chat(stream=True)) as reply:
            next(reply.iter_raw())
    assert teacher.dropped.wait(1.0)
    (outcome,) = world.store.of(OUTCOME)
    assert outcome.status == "cancelled"
    time.sleep(0.05)
    assert len(world.store.of(OUTCOME)) == 1
    assert world.store.of(DECISION, at_least=0) == []


def test_many_hang_ups_leave_the_pool_usable(gateway_url: str, world: Any, fakes: Any, teacher: Any) -> None:
    unsure(world)
    teacher.mode, teacher.stream = "hang", teacher.stream[:3]

    async def hang_up(client: httpx2.AsyncClient, after: float) -> None:
        try:
            async with asyncio.timeout(after):
                await client.post("/chat/completions", json=fakes.chat(stream=True))
        except TimeoutError:
            pass

    async def storm() -> None:
        limits = httpx2.Limits(max_connections=60)
        async with httpx2.AsyncClient(base_url=gateway_url, timeout=10, limits=limits) as client:
            await asyncio.gather(*(hang_up(client, 0.15 + i * 0.02) for i in range(50)))
            await asyncio.to_thread(world.store.of, OUTCOME, at_least=len(teacher.seen), within=10)
            teacher.reset()  # not before: a stream that it cuts short would count against the teacher
            final = await client.post("/chat/completions", json=fakes.chat())
            assert final.status_code == 200, final.text

    asyncio.run(storm())
    outcomes = world.store.of(OUTCOME, at_least=2)
    assert len({o.decision_id for o in outcomes}) == len(outcomes)


def test_other_paths_are_relayed(client: openai.OpenAI, raw: httpx2.Client, fakes: Any) -> None:
    assert [model.id for model in client.models.list()] == [fakes.TEACHER]
    assert raw.delete("/files/file-1?x=%20y").json() == {
        "path": "/v1/files/file-1",
        "query": "x=%20y",
        "method": "DELETE",
    }


@pytest.mark.parametrize(
    "path", ["/../admin", "/%2e%2e/admin", "/a//b", "/a%2f..%2fb", "/%5c", "/a%00", "/@evil.example/.."]
)
def test_a_path_never_leaves_the_base_url(raw: httpx2.Client, path: str) -> None:
    url = str(raw.base_url).rstrip("/") + path
    reply = raw.get(httpx2.URL(url))
    assert reply.status_code == 404
    assert "error" in reply.json()


def test_redirects_are_not_followed(raw: httpx2.Client) -> None:
    reply = raw.get("/moved")
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_redirect")
    assert "location" not in reply.headers


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def test_a_teacher_that_is_down_is_a_502_without_secrets(world: Any, fakes: Any) -> None:
    unsure(world)

    async def ask() -> Any:
        upstream = Upstream("http://127.0.0.1:9/v1", key="sk-secret")
        async with world.client(upstream) as client:
            return await client.post("/v1/chat/completions", json=fakes.chat())

    reply = run(ask())
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "upstream_unreachable"
    assert "secret" not in reply.text
    assert "127.0.0.1" not in reply.text
    assert reply.headers["x-distill-reason"] == "low_confidence"


def test_a_teacher_that_is_silent_is_a_504(world: Any, fakes: Any, teacher: Any, teacher_url: str) -> None:
    unsure(world)
    teacher.mode = "slow"

    async def ask() -> Any:
        async with world.client(Upstream(teacher_url, deadlines=Deadlines(first_byte=0.2))) as client:
            return await client.post("/v1/chat/completions", json=fakes.chat())

    reply = run(ask())
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "upstream_timeout")


def test_without_a_teacher_local_answers_go_on(world: Any, fakes: Any) -> None:
    async def ask() -> list[Any]:
        async with world.client(None) as client:
            local = await client.post("/v1/chat/completions", json=fakes.chat())
            unsure(world)
            return [
                local,
                await client.post("/v1/chat/completions", json=fakes.chat()),
                await client.get("/v1/models"),
                await client.get("/v1/files"),
            ]

    local, needs_teacher, models, files = run(ask())
    assert local.status_code == 200
    assert (needs_teacher.status_code, needs_teacher.headers["x-distill-reason"]) == (503, "low_confidence")
    assert models.json()["data"][0]["id"] == fakes.TEACHER
    assert files.status_code == 404


class Wire:
    """Notes when the first byte leaves, in the same list in which the store notes a sync."""

    def __init__(self, app: Any, happened: list[str]) -> None:
        self.app, self.happened = app, happened

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def noting(message: Any) -> None:
            self.happened.append(message["type"])
            await send(message)

        await self.app(scope, receive, noting)


@pytest.mark.parametrize("stream", [True, False])
def test_the_decision_is_synced_before_the_first_byte(world: Any, fakes: Any, stream: bool) -> None:
    async def ask() -> None:
        transport = httpx2.ASGITransport(app=Wire(world.app(None), world.store.happened))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.post("/v1/chat/completions", json=fakes.chat(stream=stream))).status_code == 200

    run(ask())
    world.store.of(OUTCOME)
    assert world.store.happened[:3] == [f"synced {DECISION}", "http.response.start", "http.response.body"]


@pytest.mark.parametrize("fault", ["down", "stuck"])
def test_no_local_answer_while_the_log_is_down(world: Any, fakes: Any, monkeypatch: Any, fault: str) -> None:
    app = world.app(None)
    app.state.gateway.journal._wait_seconds = 0.1
    setattr(world.store, fault, True)

    async def ask() -> list[Any]:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
            refused = await client.post("/v1/chat/completions", json=fakes.chat())
            ready = await client.get("/readyz")
            setattr(world.store, fault, False)
            return [
                refused,
                ready,
                await client.post("/v1/chat/completions", json=fakes.chat()),
                await client.get("/readyz"),
            ]

    refused, ready, again, recovered = run(ask())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "log_unavailable")
    assert "secret" not in refused.text
    assert ready.status_code == (503 if fault == "down" else 200)
    assert (again.status_code, recovered.status_code) == (200, 200)
    if fault == "down":
        assert ready.json()["events_lost"] == 2


def test_a_teachers_answer_passes_while_the_log_is_down(raw: httpx2.Client, world: Any, fakes: Any) -> None:
    unsure(world)
    world.store.down = True
    assert raw.post("/chat/completions", json=fakes.chat()).content == fakes.ROME


def test_every_audited_answer_leaves_one_finding(fakes: Any, teacher: Any, teacher_url: str) -> None:
    world = fakes.World(audit_rate=1.0)
    with (
        fakes.Running(world.app(Upstream(teacher_url, key="k"))) as url,
        openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as client,
    ):
        client.chat.completions.create(**fakes.chat(stream=True, stream_options={"include_usage": True}))
        (first,) = world.store.of(AUDIT)
        client.chat.completions.create(**fakes.chat("weather in Oslo"))
        _, second = world.store.of(AUDIT, at_least=2)
        teacher.mode = "500"
        client.chat.completions.create(**fakes.chat())
        *_, third = world.store.of(AUDIT, at_least=3)
        teacher.mode = "slow"
        client.chat.completions.create(**fakes.chat())
        until = time.monotonic() + 2
        while len(teacher.seen) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 9  # shutdown cancels what does not finish
    assert [event.agrees for event in (first, second, third)] == [True, False, None]
    assert (first.sampling_probability, first.action, first.model_id) == (1.0, "weather", "student-1")
    assert first.teacher_calls == [{"name": "weather", "arguments": {"city": "Rome"}}]
    sent = json.loads(teacher.seen[0][1])
    assert sent == fakes.chat()
    *_, cancelled = world.store.of(AUDIT, at_least=4)
    assert cancelled.agrees is None
    decisions = world.store.of(DECISION, at_least=4)
    assert {d.label_probability for d in decisions} == {1.0}
    assert {d.source for d in decisions} == {"student"}


def test_a_gateway_key_is_asked_for_and_never_passed_on(fakes: Any, teacher: Any, teacher_url: str, world: Any) -> None:
    env = {"DISTILL_GATEWAY_KEY": "gw-key"}
    keys = ["Bearer gw-key", "Bearer wrong", "Bearer", "", "Bearer ' OR '1'='1", "Bearer gw-kéy"]

    async def ask() -> list[int]:
        upstream = Upstream(teacher_url, key="sk-teacher")
        async with world.client(upstream, env=env, gate=None) as client:
            replies = [
                await client.post("/v1/chat/completions", json=fakes.chat(), headers={"authorization": k.encode()})
                for k in keys
            ]
            probes = [
                await client.get("/healthz"),
                await client.get("/readyz"),
                await client.get("/v1/models"),
                await client.get("/nowhere"),
            ]
            return [r.status_code for r in replies + probes]

    assert run(ask()) == [200, 401, 401, 401, 401, 401, 200, 200, 401, 401]
    assert [seen["authorization"] for seen, _ in teacher.seen] == ["Bearer sk-teacher"]


def test_the_clients_own_key_is_passed_on_if_the_operator_says_so(
    fakes: Any, teacher: Any, teacher_url: str, world: Any
) -> None:
    async def ask() -> Any:
        async with world.client(Upstream(teacher_url, key="sk", pass_authorization=True), gate=None) as client:
            return await client.post(
                "/v1/chat/completions", json=fakes.chat(), headers={"authorization": "Bearer mine"}
            )

    assert run(ask()).status_code == 200
    assert teacher.seen[0][0]["authorization"] == "Bearer mine"
    with pytest.raises(ConfigurationError):
        world.app(Upstream(teacher_url, pass_authorization=True), env={"DISTILL_GATEWAY_KEY": "k"})


def test_a_keyless_server_answers_loopback_names_only(world: Any) -> None:
    async def ask(host: str) -> int:
        async with world.client(None) as client:
            return (await client.get("/v1/models", headers={"host": host})).status_code

    hosts = ["localhost:8080", "127.0.0.1:1", "[::1]:8080", "evil.example", "localhost.evil.example", "10.0.0.1", ""]
    assert [run(ask(host)) for host in hosts] == [200, 200, 200, 403, 403, 403, 403]


def test_the_server_listens_beyond_loopback_only_with_a_key(world: Any) -> None:
    app = world.app(None)
    assert not app.state.ring.required
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        with pytest.raises(ConfigurationError, match="distill keys add"):
            configure(app, Settings(host=host), keyed=False)
        assert configure(app, Settings(host=host), keyed=True).host == host
    assert world.app(None, env={"DISTILL_GATEWAY_KEY": "k"}).state.ring.required


def test_the_gate_can_be_replaced_while_serving(world: Any, fakes: Any) -> None:
    app = world.app(None)

    async def ask() -> list[str | None]:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
            first = await client.post("/v1/chat/completions", json=fakes.chat())
            student = fakes.RuleStudent("student-2")
            app.state.gateway.gate = Gate(student, fakes.certificate(model_id="student-2"))
            second = await client.post("/v1/chat/completions", json=fakes.chat())
            app.state.gateway.gate = Gate(student, fakes.certificate(model_id="student-2"), revoked=True)
            third = await client.post("/v1/chat/completions", json=fakes.chat())
            return [first.json()["model"], second.json()["model"], third.headers["x-distill-reason"]]

    assert run(ask()) == ["student-1", "student-2", "revoked"]


def test_an_upstream_url_is_checked() -> None:
    for url in ("ftp://x/v1", "http://user:pw@x/v1", "x", "http://x/v1?y=1", ""):
        with pytest.raises(ConfigurationError):
            Upstream(url)


def test_an_error_that_holds_a_completion_is_no_label(raw: httpx2.Client, world: Any, fakes: Any, teacher: Any) -> None:
    unsure(world)
    teacher.status = 503
    assert raw.post("/chat/completions", json=fakes.chat()).status_code == 503
    (outcome,) = world.store.of(OUTCOME)
    assert outcome.status == "error"
    assert world.store.of(DECISION, at_least=0) == []


def test_a_cancelled_request_does_not_cancel_the_writers_future() -> None:
    future: Future[list[int]] = Future()

    class Slow:
        def submit(self, events: Any, *, expected: Any = None, patient: bool = False) -> Future[list[int]]:
            return future

    async def cancel() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await Journal(Slow()).durable(DecisionOutcomeEvent.record(decision_id="d", success=True))  # type: ignore[arg-type]

    run(cancel())
    assert not future.cancelled()
    future.set_result([1])  # a cancelled one would raise here, in the writer's thread
