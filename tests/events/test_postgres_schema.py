"""Tables, rights and addresses of the log in PostgreSQL."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import psycopg
import pytest
from benchmarks.postgres_server import PostgresServer
from click.testing import CliRunner

from ultracore.distillation.cli import main
from ultracore.distillation.errors import ConfigurationError, LogError
from ultracore.distillation.events import AgentDecisionEvent, Event
from ultracore.distillation.events.opening import open_store
from ultracore.distillation.events.postgres import schema
from ultracore.distillation.events.postgres.connection import connect
from ultracore.distillation.events.postgres.store import PostgresEventStore
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.settings import load_settings

DOCUMENT = Path(__file__).parents[2] / "docs/postgres.md"
TABLES = ("store", "keyring", "blocks", "parts", "events", "_migrations")


def fact() -> Event:
    return AgentDecisionEvent.record(agent_id="a", tools_available=[{"name": "f", "description": "x" * 400}])


@pytest.fixture
def founded(database: str) -> str:
    """A database whose owner has opened the log once and appended an event."""
    store = PostgresEventStore(database)
    store.append([fact()])
    store.close()
    return database


@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_changed(founded: str, table: str) -> None:
    with psycopg.connect(founded, autocommit=True) as owner:
        column = owner.execute(f"SELECT * FROM distill.{table}").description[0].name  # type: ignore[index]
        for statement in (f"UPDATE distill.{table} SET {column} = {column}", f"DELETE FROM distill.{table}"):
            with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
                owner.execute(statement)
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            owner.execute(f"TRUNCATE distill.{table}")


def test_an_older_schema_is_lifted(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = schema.MIGRATIONS
    for count in range(1, len(everything) + 1):
        monkeypatch.setattr(schema, "MIGRATIONS", everything[:count])
        store = PostgresEventStore(database)
        assert store.append([fact()]) == [count]
        store.close()
    with psycopg.connect(database) as owner:
        found = owner.execute("SELECT version FROM distill._migrations ORDER BY applied_at").fetchall()
    assert found == [(count,) for count in range(1, len(everything) + 1)]


def test_a_migration_that_fails_leaves_nothing_behind(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(RuntimeError):
        PostgresEventStore(database)
    with psycopg.connect(database) as owner:
        assert owner.execute("SELECT to_regnamespace('distill')").fetchone() == (None,)


def test_a_log_of_a_newer_release_is_refused(founded: str) -> None:
    with psycopg.connect(founded) as owner:
        owner.execute("INSERT INTO distill._migrations (version) VALUES (99)")
    with pytest.raises(LogError, match="newer release"):
        PostgresEventStore(founded)


def grants(database: str) -> None:
    """What docs/postgres.md says that an owner grants."""
    with psycopg.connect(database) as owner:
        for role in ("distill_writer", "distill_analyst"):
            if owner.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")  # type: ignore[arg-type]
        for block in re.findall(r"```sql\n(CREATE ROLE.*?)```", DOCUMENT.read_text(), re.S):
            owner.execute(block)


def drop_grants(database: str) -> None:
    with psycopg.connect(database) as owner:
        owner.execute("DROP OWNED BY distill_writer, distill_analyst; DROP ROLE distill_writer, distill_analyst")


def test_a_writer_needs_no_more_than_the_document_says(founded: str) -> None:
    grants(founded)
    url = founded.replace("distill@", "distill_writer@")
    store = PostgresEventStore(url)
    assert store.append([fact()]) == [2]
    assert len(list(store.read(agent="a"))) == 2
    assert next(store.follow(after=1)).metadata.position == 2
    store.close()
    with psycopg.connect(url, autocommit=True) as writer:
        for statement in ("DELETE FROM distill.events", "DROP TABLE distill.events", "CREATE TABLE distill.x ()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                writer.execute(statement)
    drop_grants(founded)


def test_an_analyst_reads_the_view_and_nothing_else(founded: str) -> None:
    grants(founded)
    with psycopg.connect(founded.replace("distill@", "distill_analyst@"), autocommit=True) as analyst:
        for query in re.findall(r"```sql\n(SELECT.*?)```", DOCUMENT.read_text(), re.S):
            assert [row[1:] for row in analyst.execute(query)] == [("a", 1)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            analyst.execute("SELECT * FROM distill.blocks")
        columns = [column.name for column in analyst.execute("SELECT * FROM distill.log").description or ()]
    documented = re.search(r"one row an event: (.*?)\.\n", DOCUMENT.read_text(), re.S)
    assert documented is not None
    assert re.findall(r"`(\w+)`", documented[1]) == columns
    drop_grants(founded)


def test_a_user_without_rights_is_told_who_has_them(postgres: PostgresServer, database: str) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as owner:
        owner.execute("CREATE ROLE nobody_special LOGIN")
    with pytest.raises(LogError, match=r"owner of the database.*docs/postgres\.md"):
        PostgresEventStore(database.replace("distill@", "nobody_special@"))
    PostgresEventStore(database).close()
    with pytest.raises(LogError, match="may not"):
        PostgresEventStore(database.replace("distill@", "nobody_special@"))


def plan(url: str, condition: str) -> str:
    connection = connect(url)
    query = f"EXPLAIN SELECT position FROM distill.events WHERE position > 5 AND {condition} ORDER BY position LIMIT 10"
    text = "\n".join(row[0] for row in connection.execute(query))
    connection.close()
    return text


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("type = 'RETRAIN_TRIGGERED'", "events_by_type"),
        ("tenant = 'x'", "events_by_tenant"),
        ("agent = 'x'", "events_by_agent"),
        ("aggregate = 'x' AND aggregate <> event_id", "events_by_aggregate"),
        ("event_id = 'x'", "events_event_id_key"),
        ("occurred_at >= '2999' AND occurred_at <= '3000'", "events_by_time"),
    ],
)
def test_every_filter_has_an_index(database: str, condition: str, index: str) -> None:
    store = PostgresEventStore(database)
    store.append(fact() for _ in range(3000))
    store.close()
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("ANALYZE distill.events")
    assert index in plan(database, condition)


def test_other_keys_than_those_of_the_log_are_refused(founded: str, tmp_path: Path) -> None:
    for protection in (Protection(tmp_path / "other"), Protection(tmp_path / "none", encrypt=False)):
        with pytest.raises(LogError, match="DISTILL_KEYS"):
            PostgresEventStore(founded, protection=protection)


def test_a_log_that_was_never_sealed_needs_no_keys(database: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        store = PostgresEventStore(database, protection=Protection(tmp_path / name, encrypt=False, redact="off"))
        store.append([fact()])
        store.close()
    assert not list(tmp_path.glob("*/keyring.db"))


class Unwritable(Protection):
    """Keys that cannot be written."""

    def persist(self) -> None:
        raise LogError("the keyring cannot be written")


def test_nothing_is_stored_whose_keys_are_not(database: str, tmp_path: Path) -> None:
    store = PostgresEventStore(database, protection=Unwritable(tmp_path / "keys"))
    with pytest.raises(LogError, match="keyring cannot be written"):
        store.append([fact()])
    assert store.last_position() == 0
    store.close()


SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@host/db",
        f"postgresql://user:{SECRET}/x@host/db",
        f"postgresql://user:{SECRET}?x@host/db",
        f"postgresql://host/db?password={SECRET}",
        f"postgresql://host/db?pass%77ord={SECRET}",
        f"postgresql://host/db?sslpassword={SECRET}",
        f"postgresql://[{SECRET}/db",
        f"mysql://host/{SECRET}",
    ],
)
def test_an_address_that_may_hold_a_password_is_refused_and_not_printed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(env={"DISTILL_LOG_URL": url})
    assert SECRET not in str(refusal.value)
    monkeypatch.setenv("DISTILL_LOG_URL", url)
    outcome = CliRunner().invoke(main, ["settings"])
    assert outcome.exit_code == 2
    assert SECRET not in outcome.output


@pytest.mark.parametrize(
    "url", ["postgresql:///db", "postgres://u@h1:5432,h2:6/db?target_session_attrs=any", "postgresql://[::1]:5/d"]
)
def test_other_addresses_are_taken(url: str) -> None:
    assert load_settings(env={"DISTILL_LOG_URL": url}).log_url == url


def test_a_password_of_the_environment_is_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("DISTILL_LOG_URL", f"postgresql://u@/db?host={tmp_path}")
    outcome = CliRunner().invoke(main, ["log", "stats"])
    assert outcome.exit_code == 2
    assert "cannot be reached" in outcome.output
    assert SECRET not in outcome.output
    assert SECRET not in CliRunner().invoke(main, ["settings"]).output


@pytest.mark.parametrize("url", ["postgresql://h/db?nonsense=1", "postgresql://%zz/db"])
def test_an_address_that_libpq_does_not_understand_is_an_error(url: str) -> None:
    with pytest.raises(LogError, match="address"):
        PostgresEventStore(url)


def test_commands_use_the_log_that_is_set(
    database: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_LOG_URL", database)
    invoke: Callable[..., str] = lambda *words: CliRunner().invoke(main, words, catch_exceptions=False).output  # noqa: E731
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    traces = tmp_path / "traces.jsonl"
    traces.write_bytes(msgspec.json.encode({"messages": messages, "tools": tools}))
    invoke("import", str(traces))
    assert "AGENT_TOOL_SELECTED" in invoke("log", "stats")
    assert "TRACES_IMPORTED" in invoke("log", "tail", "-n", "1")
    store = PostgresEventStore(database)
    assert store.last_position() == 2
    store.close()
    assert not (home / "log.db").exists()


def damage(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        for table in schema.TABLES:
            owner.execute(f"ALTER TABLE distill.{table} DISABLE TRIGGER append_only")
        for statement in statements:
            owner.execute(statement)
        for table in schema.TABLES:
            owner.execute(f"ALTER TABLE distill.{table} ENABLE TRIGGER append_only")


FLIP = "UPDATE distill.{0} SET {1} = set_byte({1}, 9, 255 - get_byte({1}, 9)) WHERE {2}"


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("SELECT 1", ""),
        (FLIP.format("blocks", "data", "first = 2"), "position 2 "),
        (FLIP.format("blocks", "rows", "first = 2"), "position 2 "),
        (FLIP.format("blocks", "hash", "first = 2"), "position 2 "),
        (FLIP.format("blocks", "previous", "first = 2"), "position 2 "),
        ("UPDATE distill.blocks SET sums = sums || '\\x00'::bytea WHERE first = 2", "position 2 "),
        ("DELETE FROM distill.blocks WHERE first = 2", "positions 2 to 2 are missing"),
        ("UPDATE distill.events SET tenant = 'x' WHERE position = 3", "position 3 "),
        ("DELETE FROM distill.events WHERE position = 3", "position 3 "),
        ("DELETE FROM distill.parts", "position 1 "),
        (FLIP.format("parts", "data", "true"), "position 1 "),
        ("UPDATE distill.store SET store_id = 'x'", "those of another log"),
        ("", None),
    ],
)
def test_verify_names_what_was_altered(
    database: str, home: Path, monkeypatch: pytest.MonkeyPatch, statement: str, finding: str | None
) -> None:
    monkeypatch.setenv("DISTILL_LOG_URL", database)
    store = open_store(home)
    for _ in range(3):
        store.append([fact()])
    store.close()
    if finding is None:
        with psycopg.connect(database) as owner:
            owner.execute("ALTER TABLE distill.blocks DISABLE TRIGGER append_only")
        finding = "distill.blocks is missing or disabled"
    else:
        damage(database, statement)
    outcome = CliRunner().invoke(main, ["verify"])
    assert outcome.exit_code == bool(finding), outcome.output
    assert (finding or "as it was written; 1 signed checkpoints agree") in outcome.output


def test_nothing_is_appended_to_a_damaged_tail(founded: str) -> None:
    damage(founded, FLIP.format("blocks", "data", "first = 1"))
    store = PostgresEventStore(founded)
    with pytest.raises(LogError, match="damaged at positions 1 to 1: nothing is appended"):
        store.append([fact()])
    store.close()


def test_a_log_that_lost_its_end_is_not_appended_to(database: str) -> None:
    store = PostgresEventStore(database)
    store.append([fact()])
    store.append([fact()])
    damage(database, "DELETE FROM distill.blocks WHERE first = 2", "DELETE FROM distill.events WHERE position = 2")
    with pytest.raises(LogError, match="ends at position 1, but 2 was acknowledged"):
        store.append([fact()])
    store.close()


@pytest.mark.parametrize("words", [["backup", "to"], ["restore", "from"], ["log", "sql", "SELECT 1"]])
def test_commands_for_files_say_what_to_use_instead(
    founded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILL_LOG_URL", founded)
    outcome = CliRunner().invoke(main, words)
    assert outcome.exit_code == 2
    assert "in PostgreSQL: " in outcome.output
    assert not (tmp_path / "to").exists()


def test_without_the_package_the_install_line_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOG_URL", "postgresql:///db")
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from pathlib import Path\n"
        "from ultracore.distillation.events.opening import open_store\n"
        f"open_store(Path({str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError" in done.stderr
    assert "pip install 'ultracore-distillation[postgres]'" in done.stderr
