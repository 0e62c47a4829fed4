"""Files of traces as decisions: into the log first, then read back, so that all learning is from the log.

What this file does not know: formats, and what is learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ultracore.distillation.decisions import Decision, decisions_from_rows
from ultracore.distillation.errors import DataError
from ultracore.distillation.events import EventStore
from ultracore.distillation.log.history import rows_from_log
from ultracore.distillation.log.importers.openai_chat import Imported, read_openai_chat
from ultracore.distillation.log.importing import FileReport, ImportReport, ProgressOfFile, import_files
from ultracore.distillation.tools import fingerprint

__all__ = ["Traces", "read_traces"]

Row = dict[str, Any]
Problem = dict[str, Any]

OTHERS = "decisions of another tenant"
MAX_LINES = 20
"""Line numbers listed for one reason."""


class Traces(NamedTuple):
    """What some files hold.

    Attributes:
        report: What the import added and left out.
        rows: Their decisions as flat rows.
        decisions: The same, as decisions.
        left_out: Number of decisions that are not among them, by reason.
    """

    report: ImportReport
    rows: list[Row]
    decisions: list[Decision]
    left_out: Mapping[str, int] = {}

    @property
    def data_id(self) -> str:
        """Names the data: the hash of the file, or of the hashes of several; without files, of the events."""
        ids = self.report.data_ids or [decision.event_id for decision in self.decisions]
        return ids[0] if len(ids) == 1 else fingerprint(sorted(ids))

    @property
    def kind(self) -> str:
        """What most of the lines say of themselves (`synthetic` ...), else `teacher`."""
        kinds = Counter(str(_metadata(row).get("kind") or "teacher") for row in self.rows)
        return kinds.most_common(1)[0][0]

    @property
    def problems(self) -> list[Problem]:
        """Why lines were left out, and which."""
        skipped = [
            {"reason": reason, "lines": _some(lines), "n": len(lines)} for reason, lines in self.report.skipped.items()
        ]
        counted = [*self.report.notes.items(), *self.left_out.items()]
        return skipped + [{"reason": note, "lines": f"{n:,} of them", "n": n} for note, n in counted if n]


def read_traces(
    files: Sequence[Path], store: EventStore, tenant: str = "default", on_progress: ProgressOfFile | None = None
) -> Traces:
    """Import files, and read the tenant's decisions back, whether this import added them or an earlier one.

    Raises:
        DataError: A file is missing, empty, or holds no decision of the tenant.
        LogError: The log cannot be written.
    """
    report = import_files(files, store, tenant=tenant, on_progress=on_progress)
    found = [_rows_of(store, file, tenant) for file in report.files]
    rows = found[0] if len(found) == 1 else _in_order(store, found)
    own = [row for row in rows if row["tenant_id"] == tenant]
    if rows and not own:
        theirs = rows[0]["tenant_id"]
        raise DataError(f"the traces are of tenant {theirs}, not of {tenant}: set DISTILL_TENANT={theirs}")
    return Traces(report, own, decisions_from_rows(own), {OTHERS: len(rows) - len(own)})


def _in_order(store: EventStore, found: Sequence[list[Row]]) -> list[Row]:
    """Each row once, in the order of the log whatever that of the files: so a replay reads them, too."""
    wanted = {row["event_id"] for rows in found for row in rows}
    return [row for row in rows_from_log(store) if row["event_id"] in wanted]


def _rows_of(store: EventStore, file: FileReport, tenant: str) -> list[Row]:
    imported = rows_from_log(store, correlation=file.data_id)  # by whichever tenant
    rows = [row for row in imported if row["tenant_id"] == str(_metadata(row).get("tenant") or tenant)]
    if len(rows) == file.decisions + file.duplicates:
        return rows
    # Some came with another file, such as an earlier and shorter version of this one.
    wanted = _event_ids(file, tenant)
    return [row for row in rows_from_log(store) if row["event_id"] in wanted]


def _event_ids(file: FileReport, tenant: str) -> set[str]:
    items = read_openai_chat(Path(file.file), tenant=tenant, data_id=file.data_id)
    return {item.event.metadata.event_id for item in items if isinstance(item, Imported)}


def _metadata(row: Row) -> dict[str, Any]:
    metadata = (row.get("origin") or {}).get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _some(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - MAX_LINES:,} more" if len(lines) > MAX_LINES else ""
    return ", ".join(map(str, lines[:MAX_LINES])) + more
