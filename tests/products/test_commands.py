"""`distill products` and `distill lineage`: what they print is in the log, and the pages are those of the contracts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.products.conftest import World

from ultracore.distillation.cli import main
from ultracore.distillation.events import (
    CertificateDecidedEvent,
    ModelDeployedEvent,
    ModelTrainedEvent,
)
from ultracore.distillation.products import AgentDecisionHistoryProduct, DistillationTrainingDataProduct
from ultracore.distillation.products.catalogue import catalogue, page_of
from ultracore.distillation.products.contract import PRODUCT_IDS, contract_of
from ultracore.distillation.products.sql import open_session

DOCS = Path(__file__).parents[2] / "docs"


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


def lines(*words: str) -> list[dict[str, object]]:
    done = run(*words)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


@pytest.fixture
def lived(world: World) -> World:
    """A model from the manifest to its calls."""
    dataset = DistillationTrainingDataProduct(world.store).publish(
        [{"event_id": d.metadata.event_id} for d in world.decisions[:10]]
    )["dataset_id"]
    trained = ModelTrainedEvent.record(
        model_id="m-1",
        model_name="compact",
        dataset_id=dataset,
        decisions=10,
        episodes=10,
        training_seconds=1.0,
        seed=0,
    )
    decided = CertificateDecidedEvent.record(
        model_id="m-1", certified=True, certificate={"agreement": 0.97, "coverage": 0.4, "data_id": "d-1", "reason": "ok"},
        causation_id=trained.metadata.event_id,
    )  # fmt: skip
    deployed = ModelDeployedEvent.record(
        model_id="m-1", model_name="compact", model_size=1, accuracy_vs_teacher=0.97, latency_ms=5.0,
        cost_per_request_usd=0.0, training_duration_hours=0.1, causation_id=decided.metadata.event_id,
    )  # fmt: skip
    world.store.append([trained, decided, deployed])
    return world


def test_rows_are_found_filtered_and_exported(world: World, tmp_path: Path) -> None:
    found = lines(
        "products",
        "query",
        "agent_decision_history",
        "--where",
        "success=false",
        "--where",
        "confidence.gte=0.1",
        "--json",
    )
    assert [row["success"] for row in found] == [False] * 3
    either = lines(
        "products",
        "query",
        "agent_decision_history",
        "--where",
        "agent_id=agent-0",
        "--where",
        "agent_id=x",
        "--json",
        "--limit",
        "99",
    )
    assert len(either) == 14
    (row,) = lines("products", "query", "agent_decision_history", "--limit", "1", "--column", "event_id", "--json")
    assert row == {"event_id": world.decisions[-1].metadata.event_id}
    done = run(
        "products", "export", "agent_decision_history", "--to", str(tmp_path / "x.csv"), "--where", "success=null"
    )
    assert "14 rows as csv" in done.output
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 15
    (count,) = lines("products", "sql", "SELECT count(*) AS n FROM agent_decision_history", "--json")
    assert count == {"n": 26}
    assert "The rows keep the contract." in run("products", "show", "agent_decision_history").output
    assert (
        run("products", "show", "agent_decision_history", "--contract").output
        == contract_of("agent_decision_history").text
    )
    assert "validity" in run("products", "quality", "agent_decision_history").output
    (measured,) = lines("products", "quality", "agent_decision_history", "--history", "--json")
    assert measured["rows"] == 26


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("query", "nothing"), "no data product 'nothing'"),
        (
            ("query", "agent_decision_history", "--where", "success=perhaps"),
            "success is a boolean, which 'perhaps' is not",
        ),
        (("query", "agent_decision_history", "--where", "success"), "--where takes column=value"),
        (("query", "agent_decision_history", "--where", "nope=1"), "no column 'nope'"),
        (("query", "agent_decision_history", "--column", "nope"), "no column 'nope'"),
        (("sql", "DROP TABLE decisions"), "one query that only reads"),
        (("export", "agent_decision_history", "--to", "x.xlsx"), "no format 'xlsx'"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(world: World, words: tuple[str, ...], message: str) -> None:
    done = run("products", *words)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output


def test_lineage_leads_from_decisions_to_served_calls(lived: World, tmp_path: Path) -> None:
    text = run("lineage", "m-1").output
    kinds = [line.split()[0] for line in text.splitlines()]
    assert kinds == ["decisions", "decisions", "dataset", "model", "certificate", "deployment", "served_calls"] or kinds == [
        "decisions", "dataset", "model", "certificate", "deployment", "served_calls", "decisions",
    ]  # fmt: skip
    depths = [len(line) - len(line.lstrip()) for line in text.splitlines()]
    assert depths[:6] == [0, 3, 6, 9, 12, 15]
    assert "calls 6" in text
    assert "audited 2, agreed 1" in text
    page = tmp_path / "tree.html"
    run("lineage", "m-1", "--html", str(page))
    assert page.read_text().count("<li>") == len(kinds)
    assert page.read_text().count("<ul>") == page.read_text().count("</ul>")
    done = run("lineage", "nobody")
    assert (done.exit_code, "knows no model 'nobody'" in done.output) == (2, True)


def test_open_lineage_names_runs_jobs_and_datasets(lived: World) -> None:
    events = lines("lineage", "m-1", "--json")
    assert [event["job"]["name"] for event in events] == ["curate", "train", "certify", "deploy", "serve"]
    train = events[1]
    assert train["eventType"] == "COMPLETE"
    assert train["outputs"] == [{"namespace": "distill/default", "name": "model/m-1"}]
    assert train["inputs"][0]["name"].startswith("dataset/")
    assert {"eventTime", "run", "job", "inputs", "outputs", "producer", "schemaURL"} <= train.keys()
    assert all(re.fullmatch(r"[0-9a-f-]{36}", event["run"]["runId"]) for event in events)
    assert events == lines("lineage", "m-1", "--json")


@pytest.mark.parametrize("product_id", PRODUCT_IDS)
def test_the_page_of_a_product_is_written_from_its_contract(product_id: str) -> None:
    assert (DOCS / "products" / f"{product_id}.md").read_text() == page_of(contract_of(product_id))


def test_the_catalogue_names_each_product_and_the_sql_of_the_docs_runs(lived: World) -> None:
    assert [entry["product_id"] for entry in catalogue()] == list(PRODUCT_IDS)
    assert "context" in catalogue()[0]["personal_columns"]
    (block,) = re.findall(r"```sql\n(.*?)```", (DOCS / "products.md").read_text(), re.S)
    session = open_session(AgentDecisionHistoryProduct(lived.store).rows, "default")
    first, second = (session.ask(query) for query in block.split(";")[:2])
    assert first.rows == [("m-1", 10, 6, 0.5)]
    assert second.rows == [("refund", "teacher", 12, 0.75)]


def test_the_python_of_the_docs_runs(world: World) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "products.md").read_text(), re.S)
    exec(code, {})
