"""Rows for a person or for a program; nothing in a cell is read as markup or obeyed by a terminal.

What this file does not know: what the rows are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

__all__ = ["print_rows", "print_table"]

MAX_CELL = 240
UNLIMITED = 100_000
"""Characters of a line, where no terminal sets a limit."""


def print_rows(names: Sequence[str], rows: Iterable[Sequence[Any]], *, as_json: bool) -> None:
    """Print rows as a table, or as one JSON object a line."""
    if not as_json:
        return print_table(names, rows)
    for row in rows:
        click.echo(msgspec.json.encode(dict(zip(names, row, strict=True)), enc_hook=str))
    return None


def print_table(
    names: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Collection[str] = (), console: Console | None = None
) -> None:
    """Print rows under their names.

    Through a pipe no cell is cut or wrapped to a width. On a terminal that is narrower than the longest words, each
    value is a line of its own.

    Args:
        names: Of the columns.
        rows: A cell is a `Text`, or anything that has a text; `None` is empty.
        right: Names of the columns that are aligned to the right.
        console: Where to print; standard output by default.
    """
    console = console or Console()
    cells = [[_cell(value) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(Text(name), justify="right" if name in right else "left")
    for row in cells:
        table.add_row(*row)
    wanted = Measurement.get(console, console.options.update(max_width=UNLIMITED), table)
    if not console.is_terminal:
        Console(file=console.file, width=max(1, wanted.maximum)).print(table)
    elif wanted.minimum <= console.width:
        console.print(table)
    else:
        _print_values(names, cells, console)


def _print_values(names: Sequence[str], cells: Sequence[Sequence[Text]], console: Console) -> None:
    widest = max(map(len, names))
    for row in cells:
        for name, value in zip(names, row, strict=True):
            console.print(Text.assemble((f"{name:<{widest}}  ", "bold"), value), soft_wrap=True)
        console.print()


def _cell(value: Any) -> Text:
    from ultracore.distillation.log.words import plain

    return value if isinstance(value, Text) else Text(plain("" if value is None else value, MAX_CELL))
