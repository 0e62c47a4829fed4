"""What a benchmark hands back, and how it is shown: the same Markdown on the terminal and in RESULTS.md.

Each section is kept as a JSON file with its raw figures. Tables of equal title are shown as one, so
that data sets measured one at a time stand below each other. What this file does not know: what the
figures mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Section", "Table", "load_sections", "markdown", "number", "renewed", "save", "share"]

HEAD = """# Results

Written by `python -m benchmarks NAME --write`; do not edit. Brackets are 95 % intervals that resample whole tasks.
`strict` compares the whole call after normalisation by the tool's schema, `tolerant` takes lists of scalars as sets and
ignores free text; two text replies agree whatever their wording. The commit is that of the measured `src/`. A set that
is not here was not measured yet. See README.md for what each benchmark does.
"""


class Table(msgspec.Struct):
    """Cells as they are shown.

    Attributes:
        title: Tables of one title are shown as one.
        columns: Names of the columns.
        rows: Cells, as long as `columns`.
        note: One line below the table.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


class Section(msgspec.Struct):
    """One benchmark on one set of data.

    Attributes:
        name: Such as `students/telecom`.
        about: Its data, with n, in one line.
        tables: What is shown.
        text: What is shown as it is, below the tables.
        figures: The raw figures.
        skipped: Why there are none, "" where there are.
        provenance: See `benchmarks.provenance`.
        details: Tables for the terminal and the JSON file only.
    """

    name: str
    about: str = ""
    tables: list[Table] = []
    text: str = ""
    figures: dict[str, Any] = {}
    skipped: str = ""
    provenance: dict[str, Any] = {}
    details: list[Table] = []


def share(value: float | None, ends: Sequence[float] | None = None) -> str:
    """A share in per cent, with its interval.

    Example:
        >>> share(0.5, (0.41, 0.59)), share(None)
        ('50.0 [41.0, 59.0]', '-')
    """
    if value is None:
        return "-"
    return f"{value:.1%}"[:-1] + (f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else "")


def number(value: float | None, digits: int = 1) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def save(section: Section, folder: Path) -> Path:
    """Keep a section as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{section.name.replace('/', '-')}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(section), indent=1))
    return file


def load_sections(folder: Path) -> list[Section]:
    """The sections kept in a folder, by name."""
    return [msgspec.json.decode(file.read_bytes(), type=Section) for file in sorted(folder.glob("*.json"))]


def markdown(sections: Iterable[Section], head: str = HEAD, *, details: bool = False) -> str:
    """All sections: for each benchmark its tables, with or without details, then where each figure comes from."""
    groups: dict[str, list[Section]] = {}
    for section in sections:
        shown = [*section.tables, *section.details] if details else section.tables
        groups.setdefault(section.name.split("/")[0], []).append(msgspec.structs.replace(section, tables=shown))
    return "\n".join([head, *(_group(name, group) for name, group in groups.items())])


def renewed(known: str, sections: Iterable[Section]) -> str:
    """All benchmarks of an earlier text, those measured since in the place of their namesakes."""
    parts = {name: part for text in (known, markdown(sections)) for name, part in _by_name(text).items()}
    return "\n".join([HEAD, *(f"{parts[name].rstrip()}\n" for name in sorted(parts))])


def _by_name(text: str) -> dict[str, str]:
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].removeprefix("## "): part for part in parts}


def _group(name: str, sections: Sequence[Section]) -> str:
    tables: dict[str, Table] = {}
    for table in (table for section in sections for table in section.tables):
        known = tables.setdefault(table.title, Table(table.title, table.columns, [], table.note))
        known.rows.extend(table.rows)
    texts = [f"```\n{section.text}\n```\n" for section in sections if section.text]
    sources = "\n".join(_source(section) for section in sections)
    return "\n".join([f"## {name}\n", *map(_table, tables.values()), *texts, sources, ""])


def _table(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"**{table.title}**\n\n{body}\n" + (f"\n{table.note}\n" if table.note else "")


def _source(section: Section) -> str:
    if section.skipped:
        return f"* {section.name}: skipped: {section.skipped}"
    p = section.provenance
    load = f"load average {p['load_before']} before and {p['load_after']} after"
    versions = ", ".join(f"{name} {version}" for name, version in p["versions"].items())
    return (
        f"* {section.name}: {section.about}. `{p['command']}` at {p['commit']}, {p['date']}, "
        f"{p['machine']}, {versions}; {load}, {p['cpu_seconds']:,} CPU s"
    )
