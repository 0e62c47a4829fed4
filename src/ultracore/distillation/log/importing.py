"""Imports files of traces: each file in one transaction, and a second time adds nothing.

What this file does not know: formats (`importers`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ultracore.distillation.errors import DataError
from ultracore.distillation.events import Event, EventStore, TracesImportedEvent
from ultracore.distillation.log.importers.lines import Skip, SkipReason, content_hash
from ultracore.distillation.log.importers.openai_chat import Imported, read_openai_chat

__all__ = ["FileReport", "ImportReport", "ProgressOfFile", "import_files"]

BATCH = 500

ProgressOfFile = Callable[[Path, int, int], None]
"""Called with (file, bytes read, bytes of the file)."""


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file.

    Attributes:
        file: Its path.
        data_id: Hash of its content; the correlation id of its events.
        decisions: Decisions that are new in the log.
        duplicates: Decisions that were in the log already.
        episodes: Conversations that the new decisions belong to.
        skipped: Numbers of the lines that were left out, in whole or in part, by reason.
        notes: Number of lines for which something had to be assumed, by what.
    """

    file: str
    data_id: str
    decisions: int = 0
    duplicates: int = 0
    episodes: int = 0
    skipped: dict[SkipReason, list[int]] = {}
    notes: dict[str, int] = {}


class ImportReport(msgspec.Struct, frozen=True):
    """What became of all files, in the order in which they were given.

    Attributes:
        files: One report a file.
    """

    files: tuple[FileReport, ...]

    @property
    def data_ids(self) -> list[str]:
        """Hashes of the files' contents."""
        return [report.data_id for report in self.files]

    @property
    def decisions(self) -> int:
        """Decisions that are new in the log."""
        return sum(report.decisions for report in self.files)

    @property
    def duplicates(self) -> int:
        """Decisions that were in the log already."""
        return sum(report.duplicates for report in self.files)

    @property
    def episodes(self) -> int:
        """Conversations that the new decisions belong to."""
        return sum(report.episodes for report in self.files)

    @property
    def skipped(self) -> dict[str, list[int]]:
        """Numbers of the lines that were left out, by reason, file after file."""
        out: dict[str, list[int]] = defaultdict(list)
        for report in self.files:
            for reason, lines in report.skipped.items():
                out[reason] += lines
        return dict(out)

    @property
    def notes(self) -> dict[str, int]:
        """Number of lines for which something had to be assumed, by what."""
        total: Counter[str] = Counter()
        for report in self.files:
            total.update(report.notes)
        return dict(total)


def import_files(
    paths: Iterable[str | Path],
    store: EventStore,
    *,
    tenant: str = "default",
    agent_id: str | None = None,
    on_progress: ProgressOfFile | None = None,
) -> ImportReport:
    """Read OpenAI chat JSONL files, plain or gzip, into the log.

    Args:
        paths: The files.
        store: The log.
        tenant: Whose data it is, where a line's metadata does not say.
        agent_id: Whose decisions these are, where a line's metadata does not say.
        on_progress: See `ProgressOfFile`.

    Returns:
        What was added, what was there already, and what was left out and why.

    Raises:
        DataError: A file is missing, empty, or holds no decision; nothing of that file was stored.
        LogError: The log cannot be written.
    """
    files = [Path(path) for path in paths]
    if not files:
        raise DataError("no file was given; pass at least one JSONL file with OpenAI chat conversations")
    for file in files:
        _check(file)
    reports = []
    for file in files:
        run = _Import(file, store, tenant, agent_id, on_progress)
        store.append(run.events())
        reports.append(run.report())
    return ImportReport(tuple(reports))


class _Import:
    """Counts while the events of one file stream into one append."""

    def __init__(
        self, file: Path, store: EventStore, tenant: str, agent_id: str | None, on_progress: ProgressOfFile | None
    ) -> None:
        self._file = file
        self._store = store
        self._tenant = tenant
        self._agent_id = agent_id
        self._on_progress = on_progress
        self._data_id = content_hash(file)
        self._decisions = 0
        self._duplicates = 0
        self._episodes: set[str | None] = set()
        self._skipped: dict[SkipReason, list[int]] = defaultdict(list)
        self._noted: dict[str, set[int]] = defaultdict(set)

    def events(self) -> Iterator[Event]:
        """The new decisions, then the fact that they were imported; nothing where none is new."""
        batch: list[Imported] = []
        for item in self._read():
            if isinstance(item, Skip):
                self._skip(item)
                continue
            batch.append(item)
            if len(batch) == BATCH:
                yield from self._new(batch)
                batch = []
        yield from self._new(batch)
        if not self._decisions and not self._duplicates:
            raise DataError(self._nothing())
        if self._decisions:
            yield self._fact()

    def report(self) -> FileReport:
        return FileReport(
            file=str(self._file),
            data_id=self._data_id,
            decisions=self._decisions,
            duplicates=self._duplicates,
            episodes=len(self._episodes),
            skipped=dict(self._skipped),
            notes={note: len(lines) for note, lines in self._noted.items()},
        )

    def _read(self) -> Iterator[Imported | Skip]:
        progress = self._on_progress
        return read_openai_chat(
            self._file,
            tenant=self._tenant,
            agent_id=self._agent_id,
            data_id=self._data_id,
            on_progress=None if progress is None else lambda done, total: progress(self._file, done, total),
        )

    def _new(self, batch: list[Imported]) -> Iterator[Event]:
        known = self._store.known([item.event.metadata.event_id for item in batch])
        for item in batch:
            for note in item.notes:
                self._noted[note].add(item.line)
            if item.event.metadata.event_id in known:
                self._duplicates += 1
                continue
            self._decisions += 1
            self._episodes.add(item.event.session_id)
            yield item.event

    def _skip(self, skip: Skip) -> None:
        lines = self._skipped[skip.reason]
        if lines[-1:] != [skip.line]:
            lines.append(skip.line)

    def _fact(self) -> Event:
        return TracesImportedEvent.record(
            data_id=self._data_id,
            file_name=self._file.name,
            decisions=self._decisions,
            duplicates=self._duplicates,
            skipped={reason: len(lines) for reason, lines in self._skipped.items()},
            tenant_id=self._tenant,
            correlation_id=self._data_id,
        )

    def _nothing(self) -> str:
        reasons: dict[str, Any] = {reason: f"line {lines[0]}" for reason, lines in self._skipped.items()}
        found = ", ".join(f"{reason} (first in {place})" for reason, place in reasons.items())
        return (
            f"{self._file} holds no decision: {found or 'it has no lines'}; expected is one conversation a line, "
            '{"messages": [...], "tools": [...]}, in which the assistant calls tools'
        )


def _check(file: Path) -> None:
    if not file.exists():
        raise DataError(f"there is no file {file}; check the path")
    if not file.is_file():
        raise DataError(f"{file} is not a file; give the JSONL files in it by name")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty; expected is one conversation a line")
