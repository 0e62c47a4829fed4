"""Opens a connection to the log's PostgreSQL, refuses a server that cannot keep the promise, and says plainly why.

A password comes from the environment (`PGPASSWORD`), `~/.pgpass` or a service file, never from the
address, so that no message can print it. What this file does not know: events, tables and transactions.
"""

from __future__ import annotations

from typing import Any

from ultracore.distillation.errors import LogError, LogUnavailableError, MissingExtraError

try:
    import psycopg
    from psycopg import conninfo, errors
except ImportError:
    raise MissingExtraError("a decision log in PostgreSQL", "postgres") from None

__all__ = ["CHANNEL", "Bell", "Connection", "connect", "explain", "name_of"]

Connection = psycopg.Connection[tuple[Any, ...]]

CHANNEL = "distill"
"""Where writers say that something new was committed."""

DEFAULTS = {
    "application_name": "distill",
    "connect_timeout": 10,
    "keepalives_idle": 10,  # a network that drops packets in silence is noticed after about 25 s instead of hours
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


def connect(url: str) -> Connection:
    """Open a connection; every statement is its own transaction unless one is begun.

    Raises:
        LogError: The server cannot be reached, does not sync, or its database cannot hold every text.
    """
    try:
        given = conninfo.conninfo_to_dict(url)
        options: dict[str, Any] = {**DEFAULTS, **given, "client_encoding": "UTF8"}
        # Prepared statements would not survive a pooler that lends a server per transaction.
        connection = psycopg.connect("", autocommit=True, prepare_threshold=None, **options)
    except psycopg.Error as error:
        raise explain(error, url) from None
    try:
        _check(connection, url)
    except BaseException:
        connection.close()
        raise
    return connection


def name_of(url: str) -> str:
    """The log as messages name it: database and host, nothing else of the address."""
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        return "in PostgreSQL"
    return f"{given.get('dbname') or 'of the default database'} at {given.get('host') or 'the default host'}"


def explain(error: Exception, url: str) -> LogError:
    """What a database error means to the user and what to do about it."""
    advice = next((advice for kinds, advice in _ADVICE if isinstance(error, kinds)), type(error).__name__)
    said = " ".join(str(error).split())
    kind = LogUnavailableError if advice is _AWAY else LogError
    return kind(f"the decision log {name_of(url)}: {advice} ({said})")


class Bell:
    """Rings when somebody appended; connects at the first `listen`.

    Args:
        url: Where the database is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None

    def listen(self) -> Connection:
        """From now on no ring is missed."""
        if self._connection is None:
            self._connection = connect(self._url)
            self._connection.execute(f"LISTEN {CHANNEL}")
        return self._connection

    def wait(self, seconds: float) -> None:
        """Return when it rang since the last call, or after so many seconds.

        Raises:
            LogUnavailableError: The connection broke; `listen` again.
        """
        connection = self.listen()
        try:
            for _ in connection.notifies(timeout=max(0.0, seconds), stop_after=1):
                pass
        except psycopg.Error as error:
            self.close()
            raise explain(error, self._url) from None

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _check(connection: Connection, url: str) -> None:
    try:
        query = "SELECT current_setting('fsync'), current_setting('server_encoding'), pg_is_in_recovery()"
        fsync, encoding, standby = connection.execute(query).fetchone() or ("", "", False)
    except psycopg.Error as error:
        raise explain(error, url) from None
    if fsync != "on":
        raise LogError(
            f"the decision log {name_of(url)}: the server runs with fsync={fsync} and would acknowledge what a power "
            "loss takes away; set fsync=on in postgresql.conf and restart it"
        )
    if encoding != "UTF8":
        raise LogError(
            f"the decision log {name_of(url)}: the database is encoded in {encoding}, which cannot hold every text; "
            "create one with ENCODING 'UTF8' TEMPLATE template0"
        )
    if standby:
        raise LogError(f"the decision log {name_of(url)}: this server is a standby; give the address of the primary")


_AWAY = "its server cannot be reached; check that it runs, the address, the user and the password"

_ADVICE: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((errors.LockNotAvailable,), "another process keeps it locked; see pg_stat_activity, then try again"),
    ((errors.DiskFull,), "the server's disk is full, nothing of this append was stored; free space, then append again"),
    ((errors.TooManyConnections,), "the server has no connection left; raise max_connections or use fewer processes"),
    ((errors.InsufficientPrivilege,), "this user may not do that; see the grants in docs/postgres.md"),
    ((errors.ReadOnlySqlTransaction,), "the server only reads; give the address of the primary"),
    ((errors.QueryCanceled,), "the server gave up on a statement; raise statement_timeout for this user"),
    ((errors.UndefinedTable, errors.InvalidSchemaName), "its tables are gone; restore a backup"),
    ((errors.DataCorrupted, errors.IndexCorrupted), "it is damaged; restore a backup"),
    ((psycopg.OperationalError, psycopg.InterfaceError, errors.IdleInTransactionSessionTimeout), _AWAY),
    ((psycopg.ProgrammingError,), "the address or a statement is wrong"),
)
