"""Progress: a bar on a terminal, plain lines elsewhere; always on stderr.

What this file does not know: what is being done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

__all__ = ["Say", "SayHowFar", "counted", "stages"]


class Say(Protocol):
    """Told what is being done now."""

    def __call__(self, stage: str) -> None:
        """Begin a stage."""
        ...


@contextmanager
def stages(total: int, console: Console) -> Iterator[Say]:
    """Give a callable that shows the beginning of each of so many stages.

    Args:
        total: How many stages will come.
        console: Where to show them.
    """
    if not console.is_terminal:
        yield _lines(total, console)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(24),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=total)
        done = -1

        def say(stage: str) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=min(done, total), description=stage)

        yield say


class SayHowFar(Protocol):
    """Told what is being done now, and how much of it is done."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show it."""
        ...


@contextmanager
def counted(console: Console) -> Iterator[SayHowFar]:
    """Give a callable that shows how far each piece of work is: a bar for each, or a line for each on no terminal."""
    if not console.is_terminal:
        yield _a_line_each(console)
        return
    columns = (BarColumn(24), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def say(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, total=total)

        yield say


def _a_line_each(console: Console) -> SayHowFar:
    begun: set[str] = set()

    def say(what: str, done: int, total: int) -> None:
        if what not in begun:
            begun.add(what)
            console.print(f"{what} ({total:,})", markup=False, highlight=False, soft_wrap=True)

    return say


def _lines(total: int, console: Console) -> Say:
    began, done = time.monotonic(), 0

    def say(stage: str) -> None:
        nonlocal done
        done += 1
        line = f"[{done}/{total}] {time.monotonic() - began:5.1f} s  {stage}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return say
