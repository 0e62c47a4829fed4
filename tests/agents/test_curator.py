import asyncio
import itertools
import random
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ultracore.distillation.agents.curator import DataCuratorAgent
from ultracore.distillation.decisions import Decision, decisions_from_rows
from ultracore.distillation.errors import ConfigurationError, DataError, LogError
from ultracore.distillation.events import DatasetManifestEvent, Event, TrainingDataCuratedEvent
from ultracore.distillation.splits import check_leakage

Row = dict[str, Any]


class ListStore:
    """Keeps events in a list."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, events: Any, *, expected: Any = None) -> list[int]:
        first = len(self.events) + 1
        self.events += events
        return list(range(first, len(self.events) + 1))

    def read(self, *, types: Any, aggregate: str, limit: int) -> Iterator[Event]:
        found = (e for e in self.events if e.event_type in types and e.metadata.aggregate_id == aggregate)
        return itertools.islice(found, limit)

    def submit(self, events: Any, *, expected: Any = None) -> Future[list[int]]:
        raise NotImplementedError

    known = last_position = follow = close = submit  # type: ignore[assignment]


def history(n: int, sessions: int | None = None) -> list[Row]:
    """Requests of six kinds; about a third is said word for word twice."""
    draw = random.Random(1)
    kinds = [("where is order", "track"), ("cancel order", "cancel"), ("refund order", "refund")]
    rows = []
    for i in range(n):
        words, tool = kinds[i % 3]
        rows.append(
            {
                "event_id": f"e{i}",
                "session_id": f"s{i % sessions}" if sessions else None,
                "agent_id": "a",
                "context": {"request": f"{words} {draw.randrange(n)}"},
                "tools_available": [{"name": "track"}, {"name": "cancel"}, {"name": "refund"}],
                "tool_selected": tool,
                "tool_parameters": None,
            }
        )
    return rows


def curate(rows: Any, agent: DataCuratorAgent | None = None, **options: Any) -> dict[str, Any]:
    agent = agent or DataCuratorAgent(store=ListStore())
    return asyncio.run(agent.execute({"raw_decisions": rows, **options}))


def weight(result: dict[str, Any]) -> float:
    return sum(item["weight"] for item in result["curated_data"])


@pytest.mark.parametrize("n", [10, 60, 300])
@pytest.mark.parametrize("options", [{}, {"similarity_threshold": 0.5}, {"clusters": 4, "examples_per_cluster": 2}])
def test_the_weights_add_up_to_the_source(n: int, options: dict[str, Any]) -> None:
    result = curate(history(n), **options)
    assert result["status"] == "curated"
    assert weight(result) == n == result["stats"]["total_weight"] == result["stats"]["original_count"]
    assert result["stats"]["curated_count"] == len(result["curated_data"])
    assert result["stats"]["deduplication_rate"] == pytest.approx(1 - len(result["curated_data"]) / n)


def test_calibration_rows_are_whole_sessions_and_untouched() -> None:
    rows = history(120, sessions=30)
    held = [item for item in curate(rows)["curated_data"] if item.get("split") == "calibration"]
    by_id = {row["event_id"]: row for row in rows}
    assert all(item == {**by_id[item["event_id"]], "weight": 1.0, "split": "calibration"} for item in held)
    sessions = {item["session_id"] for item in held}
    assert sum(row["session_id"] in sessions for row in rows) == len(held)
    assert len(sessions) == 15, "of few sessions half, so that a certificate is within reach"


def test_training_and_calibration_share_no_task() -> None:
    result = curate(history(200, sessions=50))
    decisions = decisions_from_rows(result["curated_data"])
    train = [d for d in decisions if d.split == ""]
    held = [d for d in decisions if d.split == "calibration"]
    assert check_leakage(train, held).clean
    assert (len(train), len(held)) == (result["stats"]["training_count"], result["stats"]["calibration_count"])


def test_by_default_equal_states_go_and_only_what_validation_supports() -> None:
    rows = history(300)
    result = curate(rows, DataCuratorAgent(store=ListStore(), thresholds=()))
    train = [item for item in result["curated_data"] if item.get("split") != "calibration"]
    states = [(item["context"]["request"], item["tool_selected"]) for item in train]
    assert len(set(states)) == len(states)
    assert result["stats"]["near_duplicates"] == 0
    assert result["stats"]["exact_duplicates"] > 0
    evidence = curate(rows)["stats"]["threshold_evidence"]
    assert evidence
    assert evidence[0]["threshold"] == 0.995


def test_conflicting_decisions_in_one_state_stay_and_are_counted() -> None:
    rows = [{"event_id": str(i), "context": {"q": "same"}, "tool_selected": "ab"[i % 2]} for i in range(20)]
    result = curate(rows, DataCuratorAgent(store=ListStore(), calibration_share=0))
    assert [(item["tool_selected"], item["weight"]) for item in result["curated_data"]] == [("a", 10), ("b", 10)]
    assert result["stats"]["teacher_disagreements"] == 2


def test_representatives_only_on_request() -> None:
    agent = DataCuratorAgent(store=ListStore(), clusters=3, examples_per_cluster=2, thresholds=())
    result = curate(history(200), agent)
    chosen = [item for item in result["curated_data"] if item.get("split") != "calibration"]
    assert result["stats"]["cluster_count"] == 3
    assert len(chosen) == 6
    assert all("cluster_id" in item and "representativeness_score" in item for item in chosen)
    assert curate(history(200))["stats"]["cluster_count"] == 0


@pytest.mark.parametrize("rows", [[], history(9), [{"anything": 1}] * 3])
def test_under_ten_decisions_come_back_as_they_came(rows: list[Row]) -> None:
    store = ListStore()
    result = curate(rows, DataCuratorAgent(store=store))
    assert result["status"] == "skipped"
    assert result["curated_data"] == rows
    assert result["stats"] == {"original_count": len(rows), "curated_count": len(rows), "deduplication_rate": 0.0}
    assert store.events == []


def test_the_log_names_the_data_and_lists_it_once() -> None:
    store = ListStore()
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    result = curate(history(50), DataCuratorAgent(store=store, clock=lambda: noon))
    manifest, event = store.events
    assert isinstance(manifest, DatasetManifestEvent)
    assert manifest.event_ids == [row.get("event_id", "") for row in result["curated_data"]]
    assert manifest.weights == [row["weight"] for row in result["curated_data"]]
    assert manifest.parts.count("calibration") == result["stats"]["calibration_count"]
    assert isinstance(event, TrainingDataCuratedEvent)
    stats = result["stats"]
    assert (event.dataset_id, event.source_event_count, event.curated_count) == (
        stats["dataset_id"],
        50,
        stats["curated_count"],
    )
    assert event.metadata.aggregate_id == stats["dataset_id"]
    assert event.metadata.timestamp == noon.isoformat()
    assert result["event_id"] == event.metadata.event_id
    curate(history(50), DataCuratorAgent(store=store))
    assert [e.event_type for e in store.events[2:]] == ["TRAINING_DATA_CURATED"]


@pytest.mark.parametrize("as_decisions", [False, True])
def test_the_log_says_which_cluster_a_representative_stands_for(as_decisions: bool) -> None:
    rows: list[Any] = history(120)
    store = ListStore()
    agent = DataCuratorAgent(store=store)
    result = curate(decisions_from_rows(rows) if as_decisions else rows, agent, clusters=4, examples_per_cluster=2)
    (manifest,) = (event for event in store.events if isinstance(event, DatasetManifestEvent))
    told = dict(zip(manifest.event_ids, manifest.clusters, strict=True))
    held = [event for event, part in zip(manifest.event_ids, manifest.parts, strict=True) if part == "calibration"]
    assert {told[event] for event in held} == {-1}
    assert {told[event] for event in told if event not in held} == {0, 1, 2, 3}
    if not as_decisions:
        said = {row["event_id"]: row["cluster_id"] for row in result["curated_data"] if "cluster_id" in row}
        assert said == {event: cluster for event, cluster in told.items() if cluster >= 0}


def test_without_clusters_the_log_names_none() -> None:
    store = ListStore()
    curate(history(60), DataCuratorAgent(store=store))
    (manifest,) = (event for event in store.events if isinstance(event, DatasetManifestEvent))
    assert manifest.clusters == []


def test_the_same_rows_give_the_same_data_and_other_rows_another_id() -> None:
    first, second = curate(history(80)), curate(history(80))
    assert first["curated_data"] == second["curated_data"]
    assert first["stats"]["dataset_id"] == second["stats"]["dataset_id"] != curate(history(81))["stats"]["dataset_id"]


def test_curated_data_can_be_curated_again() -> None:
    once = curate(history(100))
    twice = curate(once["curated_data"])
    held = [[i["event_id"] for i in r["curated_data"] if i.get("split") == "calibration"] for r in (once, twice)]
    assert held[0] == held[1]
    assert weight(twice) == 100


def test_decisions_come_back_as_decisions() -> None:
    result = curate(decisions_from_rows(history(60)))
    assert all(isinstance(item, Decision) for item in result["curated_data"])
    assert sum(item.weight for item in result["curated_data"]) == 60
    assert {item.split for item in result["curated_data"]} == {"", "calibration"}


def test_one_object_many_times_is_held_back_or_trained_on_but_never_lost() -> None:
    one = decisions_from_rows(history(1))[0]
    result = curate([one] * 12)
    assert sum(item.weight for item in result["curated_data"]) == 12


def test_one_session_cannot_be_split_and_the_result_says_so() -> None:
    result = curate(history(40, sessions=1))
    assert result["stats"]["calibration_count"] == 0
    assert "nothing could be held back" in result["stats"]["notes"][0]


def test_what_a_student_answered_is_left_out_and_the_result_says_so() -> None:
    answered = [{**row, "event_id": f"own-{i}", "source": "student"} for i, row in enumerate(history(20))]
    result = curate(history(60) + answered)
    assert weight(result) == 60 == result["stats"]["original_count"]
    assert not any(item.get("source") == "student" for item in result["curated_data"])
    assert result["stats"]["notes"] == ["20 rows that a student answered were left out: they are no labels"]
    few = history(9) + answered
    assert (curate(few)["status"], curate(few)["curated_data"]) == ("skipped", few)


def test_an_async_embedding_function_is_awaited() -> None:
    async def embed(texts: list[str]) -> list[list[float]]:
        await asyncio.sleep(0)
        return [[float(len(text)), 1.0] for text in texts]

    result = curate(history(100), DataCuratorAgent(store=ListStore(), embedding_function=embed))
    assert weight(result) == 100


def test_an_agent_needs_nothing_and_opens_nothing(home: Path) -> None:
    agent = DataCuratorAgent()
    assert agent.agent_id == "data_curator"
    assert agent.capabilities
    assert DataCuratorAgent("mine").agent_id == "mine"
    assert not home.exists()


def test_perceive_decide_and_act_are_steps_of_their_own() -> None:
    async def steps() -> dict[str, Any]:
        store = ListStore()
        agent = DataCuratorAgent(store=store)
        request = await agent.perceive({"raw_decisions": history(40)})
        plan = await agent.decide(request)
        assert store.events == []
        assert sorted(plan.calibration + plan.training) == list(range(40))
        return await agent.act(plan)

    assert asyncio.run(steps())["curated_data"] == curate(history(40))["curated_data"]


def test_by_default_the_event_goes_into_the_log_of_the_home_folder(home: Path) -> None:
    agent = DataCuratorAgent()
    curate(history(20), agent)
    _, event = agent.store.read()
    assert event.metadata.event_type == "TRAINING_DATA_CURATED"
    assert event.metadata.position == 2
    agent.store.close()


def test_a_log_that_fails_is_an_error() -> None:
    class Full(ListStore):
        def append(self, events: Any, *, expected: Any = None) -> list[int]:
            raise LogError("disk full")

    with pytest.raises(LogError, match="disk full"):
        curate(history(20), DataCuratorAgent(store=Full()))


def test_input_that_is_none() -> None:
    agent = DataCuratorAgent(store=ListStore())
    for context in ({}, {"raw_decisions": "text"}, {"raw_decisions": 3}):
        with pytest.raises(ConfigurationError, match="raw_decisions"):
            asyncio.run(agent.execute(context))
    with pytest.raises(DataError, match="row 3"):
        curate([*history(3), {"tool_selected": "x"}, *history(20)])
    with pytest.raises(ConfigurationError, match="similarity_threshold"):
        curate(history(20), similarity_threshold=2)
    with pytest.raises(ConfigurationError, match="at least 1"):
        curate(history(20), clusters=0)
    with pytest.raises(ConfigurationError, match="calibration_share"):
        DataCuratorAgent(calibration_share=1.0)
