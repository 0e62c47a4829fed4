"""Progress: a bar on a terminal, plain lines elsewhere; always on stderr.

What this file does not know: what is being done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

__all__ = ["Say", "stages"]


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


def _lines(total: int, console: Console) -> Say:
    began, done = time.monotonic(), 0

    def say(stage: str) -> None:
        nonlocal done
        done += 1
        line = f"[{done}/{total}] {time.monotonic() - began:5.1f} s  {stage}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return say
