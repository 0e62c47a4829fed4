"""Who may ask what: every route with every kind of key, and the tricks that opened other gateways."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.events import KeyIssuedEvent, KeyRevokedEvent
from ultracore.distillation.serve.keys import Key, KeyRing, Scope, issue
from ultracore.distillation.serve.limits import Limits
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.wire import RequestError

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ALLOWED = {
    "/healthz": {"none", "client", "read-only", "admin", "bad", "expired", "revoked", "other"},
    "/readyz": {"none", "client", "read-only", "admin", "bad", "expired", "revoked", "other"},
    "/metrics": {"read-only", "admin"},
    "/openapi.json": {"client", "read-only", "admin", "other"},
    "/admin/pause": {"admin"},
    "/admin/resume": {"admin"},
    "/v1/chat/completions": {"client", "admin", "other"},
    "/v1/messages": {"client", "admin", "other"},
    "/v1/responses": {"client", "admin", "other"},
    "/v1/feedback": {"client", "admin", "other"},
    "/v1/models": {"client", "read-only", "admin", "other"},
    "/v1/products": {"read-only", "admin"},
    "/v1/products/sql": {"read-only", "admin"},
    "/v1/products/{product_id}": {"read-only", "admin"},
    "/v1/products/{product_id}/contract": {"read-only", "admin"},
    "/v1/products/{product_id}/rows": {"read-only", "admin"},
    "/v1/products/{product_id}/statistics": {"read-only", "admin"},
    "/v1/products/{product_id}/quality": {"read-only", "admin"},
    "/v1/products/{product_id}/lineage": {"read-only", "admin"},
    "/v1/{path:path}": {"client", "admin"},  # of another tenant: only what keeps nothing
}
VALID = {"client", "read-only", "admin", "other"}


@pytest.fixture
def keys(world: Any) -> dict[str, str]:
    """A secret of each kind, in the log."""
    made = {
        "client": issue("c", Scope.CLIENT),
        "read-only": issue("r", Scope.READ),
        "admin": issue("a", Scope.ADMIN),
        "other": issue("o", Scope.CLIENT, tenant="acme"),
        "expired": issue("e", Scope.ADMIN, expires_at=datetime.now(UTC) - timedelta(seconds=1)),
        "revoked": issue("v", Scope.ADMIN),
    }
    world.store.append([new.event for new in made.values()])
    world.store.append([KeyRevokedEvent.record(key_id=made["revoked"].event.key_id)])
    return {name: new.secret for name, new in made.items()} | {"bad": "dk_000000000000_guess"}


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def bearer(secret: str | None) -> dict[str, str]:
    return {} if secret is None else {"authorization": f"Bearer {secret}"}


def test_every_route_with_every_kind_of_key(
    world: Any, fakes: Any, keys: dict[str, str], teacher: Any, teacher_url: str
) -> None:
    app = world.app(Upstream(teacher_url, key="sk"))
    routes = [(route.path, method) for route in app.routes for method in route.methods - {"HEAD"}]
    assert {path for path, _ in routes} == ALLOWED.keys()  # a new route needs an entry here
    wrong = []

    async def ask() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client,
        ):
            for path, method in routes:
                for kind in ("none", "bad", "expired", "revoked", *sorted(VALID)):
                    url = path.replace("{path:path}", "files")
                    reply = await client.request(method, url, headers=bearer(keys.get(kind)), json={})
                    expected = _expected(path, kind)
                    found = reply.status_code if reply.status_code in (401, 403) else 0
                    if found != expected:
                        wrong.append((path, method, kind, reply.status_code))

    run(ask())
    assert wrong == []


def _expected(path: str, kind: str) -> int:
    """The status of a refusal, 0 where the request is let in."""
    if kind in ALLOWED[path]:
        return 0
    return 403 if kind in VALID else 401


def test_the_matrix_can_fail() -> None:
    assert [_expected("/metrics", kind) for kind in ("client", "none", "admin")] == [403, 401, 0]


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer ' OR '1'='1",
        'Bearer " OR ""="',
        "Bearer dk_%_%",
        "Bearer dk__",
        "Bearer dk_' UNION SELECT 1 --_x",
        "Bearer",
        "Bearer ",
        "bearer null",
        "Basic YWRtaW46YWRtaW4=",
        "Bearer " + "x" * 30_000,
        "Bearer \xe9\xff",
    ],
)
def test_what_is_no_key_opens_nothing(world: Any, keys: dict[str, str], authorization: str) -> None:
    async def ask() -> Any:
        async with world.client(None) as client:
            return await client.get("/v1/models", headers={"authorization": authorization.encode("latin-1")})

    reply = run(ask())
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path",
    [
        "//admin/pause", "/v1/../admin/pause", "/v1/%2e%2e/admin/pause", "/admin/pause/", "/Admin/pause", "/admin%2fpause",
        "/metrics/", "/v1/models/../../metrics", "/healthz/../metrics", "/readyz/../admin/pause", "/healthz%00/../metrics",
    ],
)  # fmt: skip
@pytest.mark.parametrize("host", ["gateway", "localhost/admin", "x@localhost", "evil.example:80"])
def test_no_path_and_no_host_leads_around_the_guard(world: Any, keys: dict[str, str], path: str, host: str) -> None:
    async def ask() -> list[Any]:
        async with world.client(None) as client:
            return [
                await client.request(method, httpx2.URL("http://h" + path), headers={"host": host, **bearer(key)})
                for method in ("GET", "POST")
                for key in (None, keys["client"])
            ]

    for reply in run(ask()):
        assert reply.status_code in (401, 403, 404, 405), (path, reply.status_code)
    assert world.store.of("GATEWAY_PAUSED", at_least=0) == []


def test_the_tenant_is_the_keys_and_the_student_is_its_own_tenants(
    world: Any, fakes: Any, keys: dict[str, str], teacher: Any, teacher_url: str
) -> None:
    headers = bearer(keys["other"]) | {"x-distill-tenant": "default"}

    async def ask() -> list[Any]:
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            chat = await client.post("/v1/chat/completions", json=fakes.chat(), headers=headers)
            receipt = chat.headers["x-distill-receipt"]
            told = {"receipt": receipt, "success": True}
            foreign = await client.post("/v1/feedback", json=told, headers=bearer(keys["client"]))
            own = await client.post("/v1/feedback", json=told, headers=headers)
            kept = await client.get("/v1/files/file-1", headers=headers)
            free = await client.post("/v1/embeddings", json={}, headers=headers)
            return [chat, foreign, own, kept, free]

    chat, foreign, own, kept, free = run(ask())
    assert chat.headers["x-distill-reason"] == "not_certified"
    assert world.student.asked == 0
    assert (foreign.status_code, own.status_code) == (404, 201)
    assert (kept.status_code, kept.json()["error"]["code"], free.status_code) == (403, "other_tenant", 200)
    (decision,) = world.store.of("AGENT_TOOL_SELECTED")
    assert decision.metadata.tenant_id == "acme"
    assert teacher.seen[0][0]["authorization"] == "Bearer sk"


def test_while_the_log_is_down_an_unknown_key_is_503_and_a_known_one_goes_on(world: Any, keys: dict[str, str]) -> None:
    app = world.app(None)

    async def ask() -> list[int]:
        async with app.router.lifespan_context(app):
            world.store.unreadable = True
            until = time.monotonic() + 5
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
                while (await client.get("/readyz")).status_code == 200:
                    assert time.monotonic() < until
                    await asyncio.sleep(0.02)
                replies = [await client.get("/v1/models", headers=bearer(keys[kind])) for kind in ("bad", "client")]
                world.store.unreadable = False
                return [reply.status_code for reply in replies]

    assert run(ask()) == [503, 200]


def test_a_gateway_that_never_read_the_log_lets_nobody_in(world: Any) -> None:
    world.store.unreadable = True

    async def ask() -> tuple[int, int]:
        transport = httpx2.ASGITransport(app=world.app(None))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.get("/v1/models")).status_code, (await client.get("/healthz")).status_code

    assert run(ask()) == (503, 200)


def test_a_new_key_and_a_revoked_one_are_heard_of_within_a_second(world: Any) -> None:
    app = world.app(None)
    new = issue("late")

    async def until(client: httpx2.AsyncClient, status: int) -> float:
        began = time.monotonic()
        while (await client.get("/v1/models", headers=bearer(new.secret))).status_code != status:
            await asyncio.sleep(0.01)
            assert time.monotonic() < began + 5
        return time.monotonic() - began

    async def ask() -> tuple[float, float, int]:
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client,
        ):
            assert (await client.get("/v1/models")).status_code == 403  # keyless: loopback names only
            world.store.append([new.event])
            added = await until(client, 200)
            world.store.append([KeyRevokedEvent.record(key_id=new.event.key_id)])
            revoked = await until(client, 401)
            return added, revoked, (await client.get("/v1/models", headers={"host": "localhost"})).status_code

    added, revoked, keyless = run(ask())
    assert max(added, revoked) < 1.0
    assert keyless == 401  # revoking the last key opens nothing


@given(st.text(max_size=80))
def test_no_text_is_a_key(text: str) -> None:
    ring = KeyRing()
    ring.apply(issue("x").event)
    assert ring.find(text, NOW) is None


def test_a_key_is_found_by_its_secret_alone_and_the_log_does_not_hold_it() -> None:
    new = issue("x", Scope.READ, tenant="acme", agent_id="support", expires_at=NOW)
    ring = KeyRing("the operator's", "default")
    ring.apply(new.event)
    found = ring.find(new.secret, NOW - timedelta(seconds=1))
    assert found is not None
    assert (found.tenant, found.scope, found.agent_id) == ("acme", Scope.READ, "support")
    assert ring.find(new.secret, NOW) is None
    assert ring.find(new.secret[:-1], NOW - timedelta(days=1)) is None
    own = ring.find("the operator's", NOW)
    assert own is not None
    assert own.scope == Scope.ADMIN
    *_, secret = new.secret.split("_", 2)
    assert secret not in str(new.event.to_dict())
    assert isinstance(new.event, KeyIssuedEvent)
    assert len({issue("x").secret for _ in range(50)}) == 50


def test_limits_hold_for_each_key_and_say_how_long_to_wait() -> None:
    now = [0.0]
    limits = Limits(1000, lambda: now[0])
    key = Key(key_id="a", tenant="t", scope=Scope.CLIENT, requests_per_minute=3)
    free = Key(key_id="b", tenant="t", scope=Scope.CLIENT)
    for _ in range(3):
        limits.enter(key)
        limits.leave(key)
    with pytest.raises(RequestError) as refused:
        limits.enter(key)
    assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "20")
    limits.enter(free)
    now[0] = 20.0
    limits.enter(key)
    with pytest.raises(RequestError):
        limits.enter(key)
    now[0] = 6000.0
    for _ in range(3):  # a minute's burst, however long it was quiet
        limits.enter(key)
    with pytest.raises(RequestError):
        limits.enter(key)


def test_a_tenant_has_so_many_requests_at_once_and_an_operator_is_let_in(
    fakes: Any, teacher: Any, teacher_url: str
) -> None:
    crowded = fakes.World(audit_rate=0.0, max_requests=2)
    keys = [
        issue(name, tenant=tenant, scope=Scope.ADMIN) for name, tenant in (("a", "one"), ("b", "one"), ("c", "two"))
    ]
    crowded.store.append([key.event for key in keys])
    teacher.mode = "slow"
    first, second, other = (bearer(key.secret) for key in keys)
    forced = {"x-distill-force": "teacher"}

    async def ask() -> None:
        async with crowded.client(Upstream(teacher_url, key="sk")) as client:

            async def chat(headers: Any) -> Any:
                return await client.post("/v1/chat/completions", json=fakes.chat(), headers=headers)

            waiting = [asyncio.create_task(chat(headers | forced)) for headers in (first, second)]
            await asyncio.sleep(0.2)
            for headers in (first, second):  # whichever of its keys
                refused = await chat(headers)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["error"]["code"] == "overloaded"
            assert (await client.get("/v1/models", headers=other)).status_code == 200
            assert (await client.get("/metrics", headers=first)).status_code == 200
            assert (await client.post("/admin/pause", headers=first)).status_code == 200
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert (await client.get("/v1/models", headers=first)).status_code == 200

    run(ask())


def test_a_key_has_so_many_requests_at_once(world: Any, fakes: Any, teacher: Any, teacher_url: str) -> None:
    new = issue("one", concurrent=1)
    world.store.append([new.event])
    teacher.mode = "slow"

    async def ask() -> list[int]:
        headers = bearer(new.secret) | {"x-distill-force": "teacher"}
        async with world.client(Upstream(teacher_url, key="sk")) as client:
            first = asyncio.create_task(client.post("/v1/chat/completions", json=fakes.chat(), headers=headers))
            await asyncio.sleep(0.2)
            second = await client.get("/v1/models", headers=headers)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            third = await client.get("/v1/models", headers=headers)
            return [second.status_code, third.status_code]

    assert run(ask()) == [429, 200]
