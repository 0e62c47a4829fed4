"""A language model on the loopback whose answers depend on the prompt in a known way."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.tools import Tool, ToolCall

WORDS = ["apple", "brick", "cloud", "drum", "ember", "flute", "grape", "hinge", "ivory", "jelly", "kite", "lemon"]
FILLER = [
    "please",
    "would",
    "somebody",
    "look",
    "after",
    "this",
    "thing",
    "that",
    "we",
    "talked",
    "about",
    "again",
    "today",
]


class Planted:
    """Rules that only a prompt can tell: each secret word means a tool; without its line the model says `lookup`.

    A line of the prompt tells a rule where it has both the word and the tool's name.
    """

    def __init__(self, seed: int, rules: int = 4) -> None:
        draw = random.Random(seed)
        words = draw.sample(WORDS, rules)
        self.rules = {word: f"tool_{letter}" for word, letter in zip(words, "wxyzuv", strict=False)}
        self.tools = [
            Tool(name, parameters={"type": "object", "properties": {}}) for name in ["lookup", *self.rules.values()]
        ]
        self.requests: list[dict[str, Any]] = []
        self._draw = draw

    def known(self, prompt: str) -> set[str]:
        lines = prompt.lower().splitlines()
        return {word for word, tool in self.rules.items() if any(word in line and tool in line for line in lines)}

    def answer(self, prompt: str, said: str) -> str:
        return next((self.rules[word] for word in self.known(prompt) if word in said), "lookup")

    def decisions(self, n: int) -> list[Decision]:
        return [self._decision(i) for i in range(n)]

    def _decision(self, i: int) -> Decision:
        word, filler = self._draw.choice(sorted(self.rules)), self._draw.sample(FILLER, 5)
        said = " ".join(self._draw.sample([word, *filler, f"number {i}"], 7))
        state = State([{"role": "user", "content": said}], self.tools)
        return Decision(
            state=state, calls=(ToolCall(self.rules[word], {}),), episode=f"e{i}", task=f"t{i}", teacher="t"
        )


@contextmanager
def serving(planted: Any) -> Iterator[str]:
    """Its base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._send(200, {"data": [{"id": "planted"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            planted.requests.append(body)
            status, reply = reply_of(planted, body)
            self._send(status, reply)

        def _send(self, status: int, reply: Any) -> None:
            content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply_of(planted: Any, body: dict[str, Any]) -> tuple[int, Any]:
    if hasattr(planted, "reply"):
        return planted.reply(body)
    prompt, said = body["messages"][0]["content"], body["messages"][-1]["content"]
    call = {"id": "c", "type": "function", "function": {"name": planted.answer(prompt, said), "arguments": "{}"}}
    choice = {
        "message": {"role": "assistant", "content": None, "tool_calls": [call]},
        "logprobs": {"content": [{"token": "x", "logprob": -0.1}, {"token": "y", "logprob": -0.3}]},
    }
    return 200, {"choices": [choice], "usage": {"prompt_tokens": len(prompt) // 4, "completion_tokens": 5}}
