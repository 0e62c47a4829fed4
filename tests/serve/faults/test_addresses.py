"""Nothing that a client or a teacher says makes the gateway connect anywhere but to the configured servers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.serve.upstream import Upstream
from ultracore.distillation.serve.upstream.addresses import allowed, parse_base_url
from ultracore.distillation.serve.upstream.targets import Deadlines


class Listener:
    """A port on which nobody has any business; counts who comes all the same."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.hits = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            self.hits += 1
            peer.close()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def test_what_a_client_says_leads_nowhere(bench: Any, fakes: Any, teachers: Any, listener: Listener) -> None:
    teacher = teachers.enter_context(bench.teacher())
    there = f"http://127.0.0.1:{listener.port}/v1"
    schema = {"$ref": f"{there}/schema", "$schema": there, "properties": {"a": {"$ref": there}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    image = [{"type": "image_url", "image_url": {"url": there}}]
    bodies = [
        fakes.chat(base_url=there, api_base=there, url=there, upstream_url=there),
        fakes.chat(tools=[tool]),
        fakes.chat(messages=[{"role": "user", "content": image}]),
    ]
    names = ("x-upstream", "x-base-url", "x-forwarded-host", "forwarded", "x-original-url", "proxy", "openai-base-url")
    headers = dict.fromkeys(names, there)
    with fakes.Running(bench.world.app(Upstream(teacher.url))) as url:
        for body in bodies:
            for query in ("", f"?base_url={there}&url={there}"):
                reply = httpx2.post(f"{url}/chat/completions{query}", json=body, headers=headers, timeout=20)
                assert reply.status_code in (200, 400)
        for path in (f"/{there}", f"/@127.0.0.1:{listener.port}/", f"//127.0.0.1:{listener.port}/v1/x"):
            assert httpx2.get(url + path, timeout=20).status_code in (200, 404)
        asyncio.run(absolute_form(url, there))
    assert listener.hits == 0
    for head in teacher.heads:
        assert b"host: 127.0.0.1:%d\r\n" % teacher.port in head


async def absolute_form(url: str, there: str) -> None:
    """A request to us that names another server in its first line, as one to a proxy does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1].split("/")[0]))
    writer.write(f"GET {there}/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    assert (await reader.read(-1)).startswith(b"HTTP/1.1 ")
    writer.close()


def test_a_redirect_leads_nowhere(bench: Any, fakes: Any, teachers: Any, listener: Listener) -> None:
    async def moved(stage: Any) -> None:
        await stage.error(307, headers=f"location: http://127.0.0.1:{listener.port}/v1\r\n")

    teacher = teachers.enter_context(bench.teacher(moved))

    async def ask() -> httpx2.Response:
        async with bench.gateway(teacher.url) as client:
            return await bench.ask(client)

    reply = asyncio.run(ask())
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_redirect")
    assert str(listener.port) not in reply.text
    assert len(teacher.requests) == 1
    assert listener.hits == 0


class Names:
    """A resolver whose answer changes; used in place of the system's."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port))]


@pytest.mark.parametrize("private", [False, True])
def test_a_name_that_comes_to_mean_this_machine_is_refused(
    bench: Any, fakes: Any, listener: Listener, private: bool
) -> None:
    async def ask() -> list[str]:
        loop = asyncio.get_running_loop()
        loop.getaddrinfo = Names("192.0.2.1", "127.0.0.1")  # type: ignore[method-assign]
        deadlines = Deadlines(connect=0.2, first_byte=0.5)
        upstream = Upstream(f"http://teacher.example:{listener.port}/v1", deadlines=deadlines, private=private)
        async with bench.world.client(upstream, gate=None) as client:
            return [(await bench.ask(client)).json()["error"]["code"] for _ in range(2)]

    codes = asyncio.run(ask())
    assert set(codes) == ({"upstream_unreachable"} if not private else {"upstream_broken"})
    assert (listener.hits > 0) is private  # an operator may say that the name is on a private network


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("8.8.8.8", True, True),
        ("2606:4700::1111", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("fd00::1", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("64:ff9b::7f00:1", False, True),
        ("2002:7f00:1::", False, True),
        ("100.64.0.1", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("fe80::1%eth0", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("2130706433", False, False),
        ("nonsense", False, False),
    ],
)
def test_which_addresses_a_server_may_have(address: str, public: bool, private: bool) -> None:
    assert (allowed(address, private=False), allowed(address, private=True)) == (public, private)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://[::ffff:169.254.169.254]/v1",
        "http://[fe80::1]/v1",
        "http://0.0.0.0/v1",
        "ftp://example.org/v1",
        "http://user:pw@example.org/v1",
        "http://example.org/v1?x=1",
        "http://example.org/v1#x",
        "http://exa mple.org/v1",
        "http://example.org\r\nx: y/v1",
        "http://example.org:99999/v1",
        "http:///v1",
        "example.org/v1",
    ],
)
def test_a_base_url_that_no_teacher_can_have(url: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_base_url(url)


@pytest.mark.parametrize("name", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1"])
def test_other_spellings_of_this_machine_are_names_and_not_private(name: str, listener: Listener, bench: Any) -> None:
    async def ask() -> str:
        upstream = Upstream(f"http://{name}:{listener.port}/v1", deadlines=Deadlines(connect=0.5))
        async with bench.world.client(upstream, gate=None) as client:
            return str((await bench.ask(client)).json()["error"]["code"])

    assert asyncio.run(ask()) == "upstream_unreachable"
    assert listener.hits == 0
