"""A prompt against weights on one held-out test; a prompt that is put into service, and rolled back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from tests.optimize.lm_server import Planted, serving
from tests.optimize.test_planted_rules import line

from ultracore.distillation.cli.serve import gateway
from ultracore.distillation.decisions import Decision
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.optimize.journal import Journal
from ultracore.distillation.optimize.versions import prompt_versions
from ultracore.distillation.settings import load_settings


class World(NamedTuple):
    """A model with planted rules, its URL, and two versions of a prompt in the log: one knows the rules."""

    planted: Planted
    url: str
    good: str
    poor: str


@pytest.fixture
def world(distill: Any, tmp_path: Path) -> Iterator[World]:
    planted = Planted(1)
    rows = [line(planted, d) | {"metadata": {"teacher": "t"}} for d in planted.decisions(400)]
    (tmp_path / "traces.jsonl").write_text("\n".join(map(json.dumps, rows)))
    distill("import", "traces.jsonl")
    store = open_store(load_settings().home_path)
    told = "\n".join(f"{word} means {tool}" for word, tool in planted.rules.items())
    first = Journal(store, "by-hand")
    good, poor = (first.version(text, None, "given", None, None, "by hand") for text in (told, "Choose a tool."))
    store.close()
    with serving(planted) as url:
        yield World(planted, url, good, poor)


def asked(world: World, word: str) -> tuple[str, str]:
    """What the gateway says of a request with the word, and who said it."""

    async def ask() -> tuple[str, str]:
        app, _ = gateway(load_settings(upstream_url="http://127.0.0.1:9/v1"))
        body = {
            "model": "t",
            "messages": [{"role": "user", "content": f"please look after {word} again number 7"}],
            "tools": [tool.to_openai() for tool in world.planted.tools],
        }
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client,
        ):
            reply = await client.post("/v1/chat/completions", json=body)
        if reply.status_code != 200:
            return "", reply.headers.get("x-distill-reason", str(reply.status_code))
        calls = reply.json()["choices"][0]["message"]["tool_calls"]
        return calls[0]["function"]["name"], reply.headers["x-distill-source"]

    return asyncio.run(ask())


def test_the_chosen_prompt_answers_at_the_gateway_and_an_unfit_one_does_not(world: World, distill: Any) -> None:
    word, tool = next(iter(world.planted.rules.items()))
    assert "no version is in use" in distill("prompts", "deploy", "--url", world.url, "--imported").err
    assert "prompts deploy" in distill("prompts", "use", world.poor).out
    refused = distill("prompts", "deploy", "--url", world.url, "--imported")
    assert refused.code == 0, refused.err
    assert "not deployed: " in refused.out
    assert asked(world, word)[0] == ""
    distill("prompts", "use", world.good)
    deployed = distill("prompts", "deploy", "--url", world.url, "--imported", "--input-price", "1")
    assert deployed.out.startswith("deployed: "), deployed.out
    assert f"version {world.good[:8]}" in deployed.out
    tokens = sum(map(len, (f"{w} means {t}" for w, t in world.planted.rules.items()))) + len(world.planted.rules) - 1
    assert f"${tokens // 4 / 1e6:.6f} each" in deployed.out
    assert asked(world, word) == (tool, "student")
    distill("prompts", "deploy", world.poor, "--url", world.url, "--imported")
    assert asked(world, word) == (tool, "student"), "what is not certified replaces nothing"


def test_use_pins_and_rolls_back(world: World, distill: Any) -> None:
    def in_use() -> list[str]:
        store = open_store(load_settings().home_path)
        try:
            return [version.prompt_id for version in prompt_versions(store) if version.in_use]
        finally:
            store.close()

    for version in (world.poor, world.good, world.poor):
        distill("prompts", "use", version)
        assert in_use() == [version]


@pytest.mark.parametrize(("which", "said"), [("good", "no difference is shown"), ("poor", "better: weights")])
def test_who_wins_is_decided_on_tasks_that_neither_has_seen(
    which: str, said: str, world: World, distill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultracore.distillation.agents import contest

    learned: list[Decision] = []
    fit = contest.fit_compact
    monkeypatch.setattr(contest, "fit_compact", lambda rows, **o: learned.extend(rows) or fit(rows, **o))
    found = distill("prompts", "compare", getattr(world, which), "--url", world.url, "--imported")
    assert found.code == 0, found.err
    assert said in found.out
    assert "80 decisions of 80 tasks that neither has seen" in found.out
    trained = {decision.state.messages[-1]["content"] for decision in learned}
    tested = {request["messages"][-1]["content"] for request in world.planted.requests}
    assert (len(trained), len(tested)) == (200, 80)
    assert not trained & tested


def test_the_offline_reader_is_compared_by_tool_and_says_what_it_is(world: World, distill: Any) -> None:
    out = distill("prompts", "compare", world.poor, "--imported").out
    assert "tools chosen" in out
    assert "no figure for a language model" in out


def test_optimizing_leaves_the_tasks_that_certify_and_decide(world: World, distill: Any, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Choose a tool.")
    done = distill("prompts", "optimize", "p.txt", "--imported", "--url", world.url, "--budget", "100")
    assert done.code == 0, done.err
    optimized = {request["messages"][-1]["content"] for request in world.planted.requests}
    world.planted.requests.clear()
    distill("prompts", "compare", world.good, "--imported", "--url", world.url)
    distill("prompts", "deploy", world.good, "--imported", "--url", world.url)
    later = [request["messages"][-1]["content"] for request in world.planted.requests]
    assert len(later) == 80 + 200 + 120
    assert not optimized & set(later[:80])
    assert not optimized & set(later[-120:])
