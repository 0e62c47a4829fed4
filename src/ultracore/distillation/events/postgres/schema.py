"""The tables of the log in PostgreSQL, made and lifted by numbered migrations.

A migration is added once and never edited. Whoever opens the log first needs the right to create;
everybody after needs only what docs/postgres.md lists. What this file does not know: what is in the tables.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import psycopg
from psycopg import errors

from ultracore.distillation.errors import LogError
from ultracore.distillation.events.postgres.connection import Connection, explain, name_of

__all__ = ["LOCK", "MIGRATIONS", "TABLES", "check_keyring", "migrate"]

LOCK = 0x64_69_73_74
"""The advisory lock that writers of one database share: "dist"."""

# to_regclass would not do: in a transaction it may answer from a cache that has not heard of a faster process.
HAS_SCHEMA = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'distill'"
HAS_MIGRATIONS = """
    SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'distill' AND c.relname = '_migrations'"""

TABLES = ("store", "keyring", "blocks", "parts", "events", "_migrations")

Migration = Callable[[Connection], None]


def _tables(connection: Connection) -> None:
    """`blocks` and `parts` are the truth, `events` is an index that could be made again from them."""
    connection.execute("""
        CREATE TABLE distill.store (
            store_id text NOT NULL
        );
        CREATE TABLE distill.keyring (
            only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
            fingerprint text NOT NULL
        );
        CREATE TABLE distill.blocks (
            first bigint PRIMARY KEY,
            events integer NOT NULL CHECK (events > 0),
            previous bytea NOT NULL,
            hash bytea NOT NULL,
            rows bytea NOT NULL,
            sums bytea NOT NULL,
            data bytea NOT NULL
        );
        CREATE TABLE distill.parts (
            hash text PRIMARY KEY,
            data bytea NOT NULL
        );
        ALTER TABLE distill.blocks
            ALTER rows SET STORAGE EXTERNAL, ALTER sums SET STORAGE EXTERNAL, ALTER data SET STORAGE EXTERNAL;
        ALTER TABLE distill.parts ALTER data SET STORAGE EXTERNAL;
        CREATE TABLE distill.events (
            position bigint PRIMARY KEY,
            event_id text COLLATE "C" NOT NULL UNIQUE,
            type text COLLATE "C" NOT NULL,
            version integer NOT NULL,
            aggregate text COLLATE "C" NOT NULL,
            aggregate_type text COLLATE "C" NOT NULL,
            tenant text COLLATE "C" NOT NULL,
            agent text COLLATE "C",
            subject text COLLATE "C",
            occurred_at text COLLATE "C" NOT NULL,
            causation text COLLATE "C",
            correlation text COLLATE "C"
        );
        CREATE INDEX events_by_type ON distill.events (type, position);
        CREATE INDEX events_by_tenant ON distill.events (tenant, position);
        CREATE INDEX events_by_agent ON distill.events (agent, position) WHERE agent IS NOT NULL;
        CREATE INDEX events_by_subject ON distill.events (subject) WHERE subject IS NOT NULL;
        CREATE INDEX events_by_aggregate ON distill.events (aggregate) WHERE aggregate <> event_id;
        CREATE INDEX events_by_time ON distill.events USING brin (occurred_at) WITH (pages_per_range = 16);
        """)
    connection.execute("INSERT INTO distill.store VALUES (%s)", (uuid.uuid4().hex,))


def _append_only(connection: Connection) -> None:
    """Nobody changes a fact by accident; against the owner of the tables only the hash chain helps."""
    connection.execute("""
        CREATE FUNCTION distill.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the decision log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END $$
        """)
    for table in TABLES:
        connection.execute(f"""
            CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON distill.{table}
            FOR EACH STATEMENT EXECUTE FUNCTION distill.refuse()
            """)


def _view(connection: Connection) -> None:
    """What an analyst reads; payloads are in blocks, which SQL cannot open."""
    connection.execute("""
        CREATE VIEW distill.log AS
        SELECT position,
               CASE WHEN occurred_at ~ '^[0-9T:.-]+[+]00:00$' THEN occurred_at::timestamptz END AS occurred_at,
               type, tenant, agent, subject, event_id, aggregate, aggregate_type, version, causation, correlation
        FROM distill.events
        """)


MIGRATIONS: tuple[Migration, ...] = (_tables, _append_only, _view)


def migrate(connection: Connection, url: str) -> None:
    """Bring the tables to this release's version; do nothing where they are there already.

    Raises:
        LogError: A newer release wrote them, or this user may not create them.
    """
    try:
        if _version(connection, url) < len(MIGRATIONS):
            _lift(connection, url)
    except errors.InsufficientPrivilege as error:
        said = " ".join(str(error).split())
        raise LogError(
            f"the decision log {name_of(url)}: this user may not use, make or lift its tables ({said}); let the owner "
            "of the database open the log once and grant what docs/postgres.md says"
        ) from None
    except psycopg.Error as error:
        raise explain(error, url) from None


def _lift(connection: Connection, url: str) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        done = _version(connection, url)  # another process may have been faster
        if done == 0:
            _found(connection)
        for number, migration in enumerate(MIGRATIONS[done:], done + 1):
            migration(connection)
            connection.execute("INSERT INTO distill._migrations (version) VALUES (%s)", (number,))


def check_keyring(connection: Connection, url: str, fingerprint: str | None) -> None:
    """Refuse other keys than those under which the log was sealed first: what they cannot open would look erased.

    Args:
        connection: To the log, migrated.
        url: How messages name it.
        fingerprint: Which keyring this process has, if any.

    Raises:
        LogError: It is another one.
    """
    try:
        if fingerprint is not None:
            query = "INSERT INTO distill.keyring (fingerprint) VALUES (%s) ON CONFLICT DO NOTHING"
            connection.execute(query, (fingerprint,))
        found = connection.execute("SELECT fingerprint FROM distill.keyring").fetchone()
    except psycopg.Error as error:
        raise explain(error, url) from None
    if found is not None and found[0] != fingerprint:
        raise LogError(
            f"the decision log {name_of(url)} is sealed with the keys of another keyring, without which its personal "
            "fields would look erased; let DISTILL_KEYS name the folder of that keyring, see docs/postgres.md"
        )


def _version(connection: Connection, url: str) -> int:
    """How many migrations were done; 0 where there is no table yet."""
    if connection.execute(HAS_MIGRATIONS).fetchone() is None:
        return 0
    (done,) = connection.execute("SELECT coalesce(max(version), 0) FROM distill._migrations").fetchone() or (0,)
    if done > len(MIGRATIONS):
        raise LogError(
            f"the decision log {name_of(url)} was written by a newer release (format {done}, this one knows "
            f"{len(MIGRATIONS)}); upgrade ultracore-distillation"
        )
    return int(done)


def _found(connection: Connection) -> None:
    if connection.execute(HAS_SCHEMA).fetchone() is None:  # even IF NOT EXISTS wants the right to create
        connection.execute("CREATE SCHEMA distill")
    connection.execute(
        "CREATE TABLE distill._migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
