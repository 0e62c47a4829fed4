"""SQL over the products reads and does nothing else, within limits, and sees one tenant's rows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.products.conftest import World, decided, ended

from ultracore.distillation.errors import ProductError
from ultracore.distillation.products import AgentDecisionHistoryProduct, columns, sql
from ultracore.distillation.products.sql import Limits, Session, open_session


@pytest.fixture
def session(world: World) -> Iterator[Session]:
    opened = open_session(AgentDecisionHistoryProduct(world.store).rows, "default", Limits(seconds=60.0, rows=1000))
    yield opened
    opened.close()


def test_products_are_joined_and_other_tenants_are_not_there(session: Session) -> None:
    answer = session.ask(
        "SELECT h.agent_id, count(*) AS n, avg(success::INT) AS rate FROM agent_decision_history h "
        "LEFT JOIN distilled_model_metrics m USING (model_id) GROUP BY 1 ORDER BY 1"
    )
    assert answer.columns == ["agent_id", "n", "rate"]
    assert [row[:2] for row in answer.rows] == [("agent-0", 14), ("agent-1", 12)]
    assert session.ask("SELECT count(*) FROM decisions WHERE tenant_id <> 'default'").rows == [(0,)]
    assert session.ask("SELECT unnest(range(3))").rows == [(0,), (1,), (2,)]
    assert session.ask("WITH a AS (SELECT 1 AS x) SELECT x FROM a").rows == [(1,)]


@pytest.mark.parametrize(
    "query",
    [
        "COPY agent_decision_history TO 'x.csv'", "INSTALL httpfs", "LOAD httpfs", "ATTACH 'x.db'", "SET threads = 64",
        "DROP VIEW agent_decision_history", "DELETE FROM decisions", "CREATE TABLE t (x INT)", "PRAGMA database_list",
        "SELECT 1; SELECT 2", "EXPORT DATABASE 'x'", "SELECT * FROM read_csv('/etc/passwd')", "SELECT read_text('x')",
        "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM glob('/*')",
        "SELECT * FROM duckdb_settings()", "SELECT current_setting('temp_directory')", "SELECT * FROM nowhere",
        "SELECT nothing FROM agent_decision_history", "SELECT", "", "not sql", "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM (SELECT * FROM sniff_csv('/etc/passwd'))", "WITH a AS (SELECT * FROM parquet_scan('x')) FROM a",
        "SELECT '" + "x" * 30_000 + "'", "INSERT INTO decisions SELECT * FROM decisions", "VACUUM", "CHECKPOINT",
        "SELECT (SELECT content FROM read_blob('/etc/passwd'))", "CALL pragma_version()", "EXPLAIN ANALYZE SELECT 1",
    ],
)  # fmt: skip
def test_what_is_no_plain_reading_is_refused(session: Session, query: str) -> None:
    with pytest.raises(ProductError):
        session.ask(query)
    assert session.ask("SELECT count(*) FROM agent_decision_history").rows == [(26,)]


def test_files_stay_shut_even_where_the_check_of_functions_is_taken_away(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ultracore.distillation.products.sql._functions", lambda parsed: [])
    for query in ("SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM glob('/*')"):
        with pytest.raises(ProductError, match="disabled by configuration"):
            session.ask(query)


def test_a_query_without_end_is_stopped(world: World) -> None:
    session = open_session(AgentDecisionHistoryProduct(world.store).rows, "default", Limits(seconds=0.3))
    began = time.monotonic()
    with pytest.raises(ProductError, match=r"more than 0\.3 s and was stopped"):
        session.ask("SELECT sum(a.range * b.range) FROM range(100000000) a, range(100000000) b")
    assert time.monotonic() - began < 5
    assert session.ask("SELECT 1").rows == [(1,)]


def test_an_answer_and_a_memory_too_large_are_refused(
    session: Session, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProductError, match="more than 1,000 rows"):
        session.ask("SELECT * FROM range(2000)")
    monkeypatch.setattr(sql, "MAX_BYTES", 1_000_000)
    with pytest.raises(ProductError, match="1,000 rows or 1 MB"):
        session.ask("SELECT repeat('x', 2000000)")
    small = open_session(
        AgentDecisionHistoryProduct(world.store).rows, "default", Limits(memory="100MB", seconds=120.0)
    )
    with pytest.raises(ProductError, match="100MB of memory"):
        small.ask("SELECT list(range) FROM range(100000000)")


def test_copies_in_columns_follow_what_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy, rows that came and changed since, and a new copy: always the rows of the projection."""
    monkeypatch.setattr(columns, "FRESH", 3)
    product = AgentDecisionHistoryProduct(world.store)

    def both() -> list[tuple[object, ...]]:
        names = "event_id, success, execution_time_ms, judged, changed"
        with open_session(product.rows, None)._connection as connection:
            there = connection.execute(f"SELECT {names} FROM decisions ORDER BY position").fetchall()
        assert there == product.rows.tuples(f"SELECT {names} FROM decisions ORDER BY position")
        return there

    assert len(both()) == 29
    (first,) = (world.home / "projections/columns").glob("decisions-*.parquet")
    world.store.append([ended(world.decisions[14], execution_time_ms=7.0)])
    assert (ended_row := both()[14])[2] == 7.0, ended_row
    assert first.exists()
    world.store.append([decided(60 + i) for i in range(5)])
    assert len(both()) == 34
    assert not first.exists()
    product.rows.rebuild()
    assert len(both()) == 34


def test_rows_that_others_project_meanwhile_are_not_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process takes in events between any two steps of a copy: the next session still has every row."""
    monkeypatch.setattr(columns, "FRESH", 3)
    product, other = AgentDecisionHistoryProduct(world.store), AgentDecisionHistoryProduct(world.store)
    merge, came = columns.Columns._merge, iter(range(60, 70))

    def merge_then_more(self: columns.Columns, *arguments: object) -> None:
        merge(self, *arguments)
        for _ in range(2):
            world.store.append([decided(next(came))])
        other.refresh()

    monkeypatch.setattr(columns.Columns, "_merge", merge_then_more)
    open_session(product.rows, None).close()
    monkeypatch.setattr(columns.Columns, "_merge", merge)
    session = open_session(product.rows, None)
    there = session.ask("SELECT event_id FROM agent_decision_history ORDER BY position").rows
    assert there == product.rows.tuples("SELECT event_id FROM decisions ORDER BY position")
