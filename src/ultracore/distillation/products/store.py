"""The rows of the products of one home, kept up to date with its log, and asked by many threads.

The file can be deleted at any time: the log is the truth. What this file does not know: contracts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from ultracore.distillation.errors import LogError, ProductError
from ultracore.distillation.events import AgentDecisionEvent, EventStore
from ultracore.distillation.events.moment import Moment
from ultracore.distillation.events.projection import Projector, project
from ultracore.distillation.products.rows import ProductRows

__all__ = ["FOLDER", "VIEWS", "ProductStore"]

FOLDER = "projections"
CACHE_KIB = 65_536
"""Of pages in memory; SQLite's own 2 MiB do not hold the inner pages of eight indexes of a million rows."""

VIEWS = {
    "agent_decision_history": "SELECT * FROM decisions",
    "distillation_training_data": (
        "SELECT r.id AS row_id, r.dataset_id, r.event_id, r.part, r.weight, r.cluster_id, d.timestamp, "
        "s.timestamp AS dataset_timestamp, r.tenant_id, d.agent_id, d.teacher_model, d.source, d.tool_selected, "
        "d.arguments_known, d.arguments_valid, d.context_id, d.call_id, d.erased, d.position "
        "FROM dataset_rows r JOIN datasets s ON s.tenant_id = r.tenant_id AND s.dataset_id = r.dataset_id "
        "LEFT JOIN decisions d ON d.event_id = r.event_id AND d.tenant_id = r.tenant_id"
    ),
    "distilled_model_metrics": "SELECT * FROM measurements",
}
"""What each product is, over the tables of `products.rows`; the same in SQLite and in DuckDB."""


class ProductStore:
    """The projected rows.

    Args:
        log: The log.
        home: The folder that the file is kept in.

    Raises:
        LogError: The file cannot be opened or written.
    """

    def __init__(self, log: EventStore, home: Path) -> None:
        self.log = log
        self.folder = home / FOLDER
        self._lock = threading.RLock()
        self._projector: Projector | None = None
        self._reached = 0

    def refresh(self) -> int:
        """Take in what is new in the log; returns the position reached."""
        with self._lock:
            projector = self._open()
            if self._reached != self.log.last_position():  # a look costs 20 microseconds, a transaction 2 ms
                self._reached = projector.catch_up()
            return self._reached

    def rebuild(self) -> int:
        """Forget the rows and project them again; the outcome is the same."""
        with self._lock:
            self._reached = self._open().rebuild()
            return self._reached

    def fetch(self, query: str, values: Iterable[Any] = (), *, as_of: Moment | None = None) -> list[dict[str, Any]]:
        """Rows of a query over the tables, each as a dict; those known at a moment if one is given."""
        with self._lock:
            state = self._open().state if as_of is None else project(self.log, ProductRows(), as_of)
            return _fetched(state, query, tuple(values))

    def tuples(self, query: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """As `fetch`, bare."""
        with self._lock:
            return self._open().state.execute(query, tuple(values)).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """The rows as they are now, whoever projects meanwhile; does not keep others from asking."""
        with self._lock:
            path = self._open().path
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(60_000)
            connection.execute("BEGIN")  # the first read fixes what is seen
            yield connection
        except apsw.Error as error:
            raise _unreadable(error) from error
        finally:
            connection.close(True)

    def decisions(self, positions: Iterable[int]) -> Iterator[AgentDecisionEvent]:
        """Whole decisions from the log, personal fields included as far as their keys exist."""
        for position in positions:
            for event in self.log.read(after=position - 1, until=position):
                if isinstance(event, AgentDecisionEvent):
                    yield event

    def close(self) -> None:
        """Let go of the file; the log stays its owner's to close."""
        with self._lock:
            if self._projector is not None:
                self._projector.close()
                self._projector = None

    def _open(self) -> Projector:
        if self._projector is not None and self._projector.is_stale:
            self.close()
        if self._projector is None:
            self._projector = Projector(self.log, ProductRows(), self.folder / "products.db")
            self._projector.state.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._reached = self._projector.catch_up()
        return self._projector


def _fetched(state: apsw.Connection, query: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
    try:
        cursor = state.execute(query, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]
    except apsw.ExecutionCompleteError:  # no row: the description is gone
        return []
    except apsw.BindingsError as error:
        raise ProductError(f"a value cannot be compared: {error}") from None
    except apsw.Error as error:
        raise _unreadable(error) from error


def _unreadable(error: apsw.Error) -> LogError:
    return LogError(f"the rows of the products cannot be read: {error}; delete the folder and refresh")
