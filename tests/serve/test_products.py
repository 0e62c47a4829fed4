"""`/v1/products`: rows by filters, SQL and streams over HTTP; a key sees its tenant's rows, and no person unless it is an admin."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ultracore.distillation.events import AgentDecisionEvent, DecisionOutcomeEvent
from ultracore.distillation.serve.keys import Scope, issue
from ultracore.distillation.serve.upstream import Upstream

HISTORY = "/v1/products/agent_decision_history"


@pytest.fixture
def keys(world: Any) -> dict[str, str]:
    made = {
        "reader": issue("r", Scope.READ), "admin": issue("a", Scope.ADMIN), "theirs": issue("o", Scope.READ, tenant="acme"),
    }  # fmt: skip
    world.store.append([new.event for new in made.values()])
    decisions = [
        AgentDecisionEvent.record(agent_id=f"a-{i % 2}", context={"secret": i}, tool_selected="f", tenant_id=tenant)
        for tenant, n in (("default", 10), ("acme", 3))
        for i in range(n)
    ]
    world.store.append(decisions)
    world.store.append(
        [DecisionOutcomeEvent.record(decision_id=d.metadata.event_id, success=True) for d in decisions[:4]]
    )
    return {name: new.secret for name, new in made.items()}


def ask(world: Any, *requests: tuple[str, str, str], upstream: Any = None, **options: Any) -> list[Any]:
    async def all_of_them() -> list[Any]:
        async with world.client(upstream) as client:
            return [
                await client.request(method, path, headers={"authorization": f"Bearer {key}"}, **options)
                for method, path, key in requests
            ]

    return asyncio.run(all_of_them())


def test_rows_pass_filters_before_the_limit_and_are_of_the_keys_tenant(world: Any, keys: dict[str, str]) -> None:
    paths = ("?success=true&limit=2&offset=1", "?agent_id=a-0&agent_id=a-1&confidence=null", "")
    first, second, third = ask(world, *(("GET", f"{HISTORY}/rows{path}", keys["reader"]) for path in paths))
    assert [row["success"] for row in first.json()["data"]] == [True, True]
    assert len(second.json()["data"]) == len(third.json()["data"]) == 10
    (theirs,) = ask(world, ("GET", f"{HISTORY}/rows?tenant_id=default", keys["theirs"]))
    assert theirs.json()["data"] == []
    (all_theirs,) = ask(world, ("GET", f"{HISTORY}/rows", keys["theirs"]))
    assert {row["tenant_id"] for row in all_theirs.json()["data"]} == {"acme"}


def test_personal_columns_need_an_admin(world: Any, keys: dict[str, str]) -> None:
    path = f"{HISTORY}/rows?personal=true&limit=1"
    refused, told = ask(world, ("GET", path, keys["reader"]), ("GET", path, keys["admin"]))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope")
    assert told.json()["data"][0]["context"] == {"secret": 9}


def test_a_large_result_streams_a_line_a_row(world: Any, keys: dict[str, str]) -> None:
    world.store.append([AgentDecisionEvent.record(agent_id="many") for _ in range(4500)])
    (reply,) = ask(world, ("GET", f"{HISTORY}/rows?agent_id=many&format=jsonl", keys["reader"]))
    rows = [json.loads(line) for line in reply.text.splitlines()]
    assert len({row["event_id"] for row in rows}) == len(rows) == 4500
    assert reply.headers["content-type"] == "application/x-ndjson"


def test_sql_sees_one_tenant_and_only_reads(world: Any, keys: dict[str, str]) -> None:
    body = {"query": "SELECT count(*) AS n, min(tenant_id) AS t FROM agent_decision_history"}
    ours, theirs = ask(world, *(("POST", "/v1/products/sql", keys[k]) for k in ("reader", "theirs")), json=body)
    assert ours.json() == {"columns": ["n", "t"], "rows": [[10, "default"]]}
    assert theirs.json()["rows"] == [[3, "acme"]]
    for query in ("DROP TABLE decisions", "SELECT * FROM read_csv('/etc/passwd')"):
        (refused,) = ask(world, ("POST", "/v1/products/sql", keys["reader"]), json={"query": query})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_query")
    (wrong,) = ask(world, ("POST", "/v1/products/sql", keys["reader"]), json={"sql": "SELECT 1"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_body")


def test_catalogue_schema_contract_figures_quality_and_lineage(world: Any, keys: dict[str, str]) -> None:
    paths = (
        "/v1/products",
        HISTORY,
        f"{HISTORY}/contract",
        f"{HISTORY}/statistics",
        f"{HISTORY}/quality",
        f"{HISTORY}/lineage",
    )
    replies = ask(world, *(("GET", path, keys["reader"]) for path in paths))
    assert [reply.status_code for reply in replies] == [200] * 6
    listed, schema, contract, figures, quality, lineage = replies
    assert listed.json()["data"][0]["product_id"] == "agent_decision_history"
    assert schema.json()["owner"] == "ai_team"
    assert contract.text.startswith("apiVersion: v3")
    assert (figures.json()["total_decisions"], figures.json()["success_rate"]) == (10, 1.0)
    assert quality.json()["uniqueness"] == 1.0
    assert lineage.json()["edges"]
    others = [
        ("GET", f"/v1/products/{name}/statistics", keys["reader"])
        for name in ("distillation_training_data", "distilled_model_metrics")
    ]
    assert [reply.status_code for reply in ask(world, *others)] == [200, 200]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/products/nothing/rows", 404, "unknown_product"),
        (f"{HISTORY}/rows?nothing=1", 400, "invalid_query"),
        (f"{HISTORY}/rows?limit=0", 400, "invalid_query"),
        (f"{HISTORY}/rows?limit=many", 400, "invalid_query"),
        (f"{HISTORY}/rows?calls={2**70}", 400, "invalid_query"),
        (f"{HISTORY}/rows?success=maybe", 400, "invalid_query"),
        (f"{HISTORY}/rows?timestamp.gte=soon", 400, "invalid_query"),
        (f"{HISTORY}/rows?personal=yes", 400, "invalid_query"),
        (f"{HISTORY}/rows?format=xml", 400, "invalid_format"),
        (f"{HISTORY}/rows?context=x&format=jsonl", 400, "invalid_query"),
        (f"{HISTORY}/statistics?time_window_hours=nan", 400, "invalid_query"),
        ("/v1/products/distillation_training_data/statistics?dataset_version=x", 400, "invalid_query"),
        ("/v1/products/distilled_model_metrics/statistics?model_id=x", 400, "invalid_query"),
    ],
)
def test_what_cannot_be_asked_says_why(world: Any, keys: dict[str, str], path: str, status: int, code: str) -> None:
    (reply,) = ask(world, ("GET", path, keys["reader"]))
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_while_the_log_is_down_it_says_so(world: Any, keys: dict[str, str]) -> None:
    async def ask_then() -> Any:
        async with world.client(None) as client:
            world.store.unreadable = True
            reply = await client.get(f"{HISTORY}/rows", headers={"authorization": f"Bearer {keys['reader']}"})
            world.store.unreadable = False
            return reply

    reply = asyncio.run(ask_then())
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "log_unavailable")


def test_the_products_are_not_relayed_and_other_paths_are(
    world: Any, keys: dict[str, str], teacher: Any, teacher_url: str
) -> None:
    upstream = Upstream(teacher_url, key="sk")
    ask(world, ("GET", "/v1/products", keys["admin"]), ("GET", f"{HISTORY}/rows", keys["admin"]), upstream=upstream)
    assert teacher.seen == []
