"""Decisions that are in the log already, such as those the gateway wrote, as a source to learn from.

What this file does not know: files, and what is learned.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from ultracore.distillation.decisions import decisions_from_rows
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import EventStore
from ultracore.distillation.log.history import rows_from_log
from ultracore.distillation.log.importing import ImportReport
from ultracore.distillation.log.of_files import Traces

__all__ = ["LogQuery", "read_log"]

IMPORTED = "decisions of the log that were imported from files (give --imported to learn from them)"
ANSWERED = "calls that a student sent: without the teacher's label, so the certificate speaks about the other traffic"


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which decisions of the log to learn from.

    Attributes:
        agent: Only this agent's.
        since: Only those of this time or later, ISO 8601.
        imported: Also those that were imported from files: nobody vouches for their origin.
    """

    agent: str | None = None
    since: str | None = None
    imported: bool = False


def read_log(store: EventStore, query: LogQuery, tenant: str = "default") -> Traces:
    """The teacher's decisions that the log holds; what a student answered is no label.

    Raises:
        DataError: There are none.
        EventError: The time is not ISO 8601.
    """
    rows = rows_from_log(store, tenant=tenant, agent=query.agent, since=query.since, include_student=True)
    kept = [row for row in rows if row["source"] == "teacher" or (query.imported and row["source"] == "import")]
    sources = Counter(row["source"] for row in rows)
    imported = 0 if query.imported else sources["import"]
    if not kept:
        raise DataError(_nothing(query, tenant, imported))
    left_out = {IMPORTED: imported, ANSWERED: sources["student"]}
    return Traces(ImportReport(()), kept, decisions_from_rows(kept), left_out)


def _nothing(query: LogQuery, tenant: str, imported: int) -> str:
    which = "".join([f" of agent {query.agent}" if query.agent else "", f" since {query.since}" if query.since else ""])
    there = f"; {imported:,} were imported from files: learn from them too with --imported" if imported else ""
    return f"the log holds no decision of a teacher{which} (tenant {tenant}){there}"
