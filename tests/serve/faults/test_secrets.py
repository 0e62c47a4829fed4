"""Keys go where they belong, and are found nowhere else: not in a reply, the log, the metrics or what is printed."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.targets import Deadlines, Target

UPSTREAM, GATEWAY, CLIENT, QUERY, COOKIE = (
    f"sk-canary{word}5e1f0c2a9d4b7e6f" for word in ("upstream", "gateway", "client", "query", "cookie")
)
SECRETS = (UPSTREAM, GATEWAY, CLIENT, QUERY, COOKIE)


def everything_below(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_no_secret_is_seen_outside(bench: Any, fakes: Any, teachers: Any, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    scenes = bench.scenes
    teacher = teachers.enter_context(
        bench.teacher(
            scenes.ok,
            scenes.status(401, "invalid_api_key"),
            scenes.status(500),
            scenes.reset,
            scenes.broken_after(scenes.frames[:2], "rst"),
            scenes.silent,
            scenes.ok,
        )
    )
    store = open_store(tmp_path)
    upstream = Upstream(teacher.url, key=UPSTREAM, deadlines=Deadlines(first_byte=0.3, idle=0.3))
    app = bench.world.app(upstream, store=store, gate=None, env={"DISTILL_GATEWAY_KEY": GATEWAY})
    headers = {"authorization": f"Bearer {GATEWAY}", "cookie": f"session={COOKIE}", "x-api-key": CLIENT}
    seen = b""
    with fakes.Running(app) as url:
        for number in range(10):
            reply = httpx2.post(
                f"{url}/chat/completions?key={QUERY}",
                json=fakes.chat(stream=number == 4),
                headers=headers,
                timeout=20,
            )
            seen += reply.content + repr(reply.headers.raw).encode()
        wrong = httpx2.post(f"{url}/chat/completions", json=fakes.chat(), headers={"authorization": f"Bearer {CLIENT}"})
        assert wrong.status_code == 401
        for path in ("/models", "/nowhere/at/all", "/../x"):
            seen += httpx2.get(url + path, headers=headers, timeout=20).content
        for path in ("/metrics", "/readyz", "/openapi.json"):
            seen += httpx2.get(url.replace("/v1", "") + path, headers=headers, timeout=20).content
        seen += wrong.content
    assert b"Bearer " + UPSTREAM.encode() in b"".join(teacher.heads)
    store.close()
    kept = everything_below(tmp_path)
    assert len(kept) > 10_000
    ours = [record for record in caplog.records if not record.name.startswith("http")]  # the test's client talks too
    said = "\n".join(record.getMessage() + str(record.exc_info or "") for record in ours).encode()
    for secret in SECRETS:
        assert secret.encode() not in seen, f"{secret} in a reply"
        assert secret.encode() not in kept, f"{secret} in the home folder"
        assert secret.encode() not in said, f"{secret} in what is printed"
    heads = b"".join(teacher.heads)
    for secret in (GATEWAY, CLIENT, COOKIE):
        assert secret.encode() not in heads, f"{secret} at the teacher"


def test_a_server_has_its_own_key_or_the_clients_never_both(bench: Any, fakes: Any, teachers: Any) -> None:
    own, passed, third = (teachers.enter_context(bench.teacher(bench.scenes.status(503))) for _ in range(3))
    targets = [
        Target(url=own.url, name="own", key_env="OWN"),
        Target(url=passed.url, name="passed", pass_authorization=True),
        Target(url=third.url, name="keyless"),
    ]
    upstream = Upstream(targets, env={"OWN": UPSTREAM})
    with fakes.Running(bench.world.app(upstream, gate=None)) as url:
        headers = {"authorization": f"Bearer {CLIENT}"}
        reply = httpx2.post(f"{url}/chat/completions", json=fakes.chat(), headers=headers, timeout=20)
    assert reply.status_code == 503
    assert [server.requests != [] for server in (own, passed, third)] == [True, True, True]
    assert f"authorization: Bearer {UPSTREAM}".encode() in own.heads[0]
    assert CLIENT.encode() not in own.heads[0]
    assert f"authorization: Bearer {CLIENT}".encode() in passed.heads[0]
    assert UPSTREAM.encode() not in passed.heads[0]
    assert b"authorization" not in third.heads[0]


@pytest.mark.parametrize("key", ["sk-x\n", "sk x", "sk-x\r\nx-evil: 1", "schlüssel"])
def test_a_key_with_a_line_end_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Upstream("http://localhost/v1", key=key)
    assert key not in str(refused.value)


def test_a_key_that_is_not_set_is_told_by_its_name() -> None:
    with pytest.raises(ConfigurationError, match="NOT_SET_ANYWHERE"):
        Upstream([Target(url="http://localhost/v1", key_env="NOT_SET_ANYWHERE")], env=os.environ)
