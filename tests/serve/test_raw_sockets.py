"""What no client library sends: the bytes themselves."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest


def talk(url: str, *sent: bytes) -> bytes:
    """Everything that comes back until the gateway closes, or says nothing more for a while."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=2) as connection:
        for piece in sent:
            connection.sendall(piece)
        received = b""
        try:
            while data := connection.recv(65536):
                received += data
                if received.count(b"HTTP/1.1") == received.count(b"\r\n\r\n") and received.endswith(b"}"):
                    connection.settimeout(0.3)
        except TimeoutError:
            pass
        return received


def post(body: bytes, *headers: bytes, target: bytes = b"/v1/chat/completions", host: bytes = b"localhost") -> bytes:
    head = [b"POST " + target + b" HTTP/1.1", b"host: " + host, b"content-type: application/json", *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


@pytest.fixture
def body(fakes: Any) -> bytes:
    return json.dumps(fakes.chat()).encode()


def length(body: bytes) -> bytes:
    return b"content-length: " + str(len(body)).encode()


def test_two_requests_at_once_on_one_connection_are_two_decisions(gateway_url: str, world: Any, body: bytes) -> None:
    whole = post(body, length(body))
    received = talk(gateway_url, whole + whole)
    assert received.count(b"HTTP/1.1 200") == 2
    receipts = {line for line in received.split(b"\r\n") if line.startswith(b"x-distill-receipt")}
    assert len(receipts) == 2
    assert len(world.store.of("AGENT_TOOL_SELECTED", at_least=2)) == 2


def test_a_body_in_chunks_however_they_are_cut(gateway_url: str, body: bytes) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7))
    assert b"HTTP/1.1 200" in talk(gateway_url, post(b"", b"transfer-encoding: chunked"), chunks, b"0\r\n\r\n")


def test_who_waits_to_be_told_to_continue_is_told(gateway_url: str, body: bytes) -> None:
    received = talk(gateway_url, post(b"", length(body), b"expect: 100-continue"), body)
    assert received.startswith(b"HTTP/1.1 100")
    assert b"HTTP/1.1 200" in received


@pytest.mark.parametrize(
    "bad",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",  # no host
        b"POST http://evil.example/v1/chat/completions HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 2\r\n\r\n{}",
        b"GET /v1/models HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: localhost.evil.example\r\n\r\n",
        b"GET /v1/models\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",  # TLS to a plain port
        b"\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_request_of_ours_is_refused(gateway_url: str, world: Any, bad: bytes) -> None:
    received = talk(gateway_url, bad)
    assert b" 200 " not in received
    assert received == b"" or received.split(b" ")[1][:1] == b"4"
    assert world.store.of("AGENT_TOOL_SELECTED", at_least=0) == []


@pytest.mark.parametrize(
    "smuggled",
    [
        (b"content-length: 5", b"transfer-encoding: chunked"),
        (b"content-length: 5", b"content-length: 500"),
        (b"transfer-encoding: chunked, identity",),
        (b"transfer-encoding: xchunked", b"content-length: 5"),
        (b"content-length: +5",),
        (b"content-length : 5",),
    ],
)
def test_two_lengths_smuggle_no_second_request(
    gateway_url: str, world: Any, body: bytes, smuggled: tuple[bytes, ...]
) -> None:
    hidden = b"0\r\n\r\n" + post(body, length(body))
    received = talk(gateway_url, post(hidden, *smuggled))
    assert b"x-distill-source: student" not in received
    assert world.store.of("AGENT_TOOL_SELECTED", at_least=0) == []
