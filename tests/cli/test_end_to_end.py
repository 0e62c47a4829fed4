"""From a file of traces to an answer of the gateway, as a user would go."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ultracore.distillation.cli.serve import gateway
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.settings import load_settings

SCHEMA = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": SCHEMA}}
    for name in ("cancel_order", "get_order")
]


def request(order: str, cancel: bool, vague: bool = False) -> dict[str, Any]:
    said = f"Please cancel order {order}" if cancel else f"Where is order {order}?"
    said = f"It is about order {order}" if vague else said
    return {"messages": [{"role": "user", "content": said}], "tools": TOOLS}


def conversation(order: str, cancel: bool, vague: bool) -> dict[str, Any]:
    line = request(order, cancel, vague)
    function = {"name": "cancel_order" if cancel else "get_order", "arguments": json.dumps({"order_id": order})}
    call = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    return {**line, "messages": [*line["messages"], call], "metadata": {"teacher": "example-teacher"}}


@pytest.fixture
def easy(tmp_path: Path) -> Path:
    """Three hundred requests; most leave no doubt, every sixth says nothing about the tool."""
    rng = random.Random(1)
    lines = [conversation(f"W{rng.randrange(10**6):06d}", rng.random() < 0.5, i % 6 == 0) for i in range(300)]
    file = tmp_path / "easy.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def test_certified_traces_are_deployed_and_answered_by_the_gateway(
    distill: Any, easy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTILL_HOME")
    prices = ("--price-per-call", "0.01", "--requests-per-day", 1000)
    policy = tmp_path / "policy.toml"
    policy.write_text("[tools.cancel_order]\nallow = true\n", encoding="utf-8")
    outcome = distill("run", easy, "--processes", 1, "--target", "0.8", "--policy", policy, *prices)
    assert outcome.code == 0, outcome.err
    assert "Certified at 80%" in outcome.out
    assert "distill serve --model distill-report" in outcome.out
    result = json.loads((tmp_path / "distill-report" / "result.json").read_text(encoding="utf-8"))
    level = result["levels"]["0.80"]
    assert level["certified_agreement"] >= 0.8
    assert result["savings"]["yearly_usd"] == pytest.approx(365 * 1000 * 0.01 * level["calls_saved"])
    assert "MODEL_DEPLOYED" in distill("log", "tail", "--home", "distill-report").out

    settings = load_settings(home=str(tmp_path / "distill-report" / ".distill"), policy=str(policy))
    answer = asyncio.run(_ask(settings, {**request("W424242", True), "model": "example-teacher"}))
    function = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == ("cancel_order", {"order_id": "W424242"})

    policy.write_text("[tools.cancel_order]\nlevel = 0.9\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="another policy"):
        gateway(settings)
    without = load_settings(home=settings.home)
    answer = asyncio.run(_ask(without, {**request("W424242", True), "model": "example-teacher"}))
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "cancel_order"


async def _ask(settings: Any, body: dict[str, Any]) -> Any:
    app, _ = gateway(settings)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client,
    ):
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()
