"""Rows as a person sees them: whole through a pipe, readable on a narrow terminal, never obeyed."""

from __future__ import annotations

import io

from rich.console import Console

from ultracore.distillation.cli.tables import print_table

NAMES = ("model", "[/why]")
ROWS = [("0aced52fefa84b95", "[/b] " + "word " * 30), ("f6b6b867f37cbda0", None)]


def printed(width: int, *, terminal: bool) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    print_table(NAMES, ROWS, console=console)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_nothing_is_cut_in_a_pipe() -> None:
    head, first, second = printed(20, terminal=False)
    assert head.split() == [*NAMES]
    assert first == f"0aced52fefa84b95  [/b]{' word' * 30}"
    assert second == "f6b6b867f37cbda0"


def test_a_terminal_wraps_words_but_no_id() -> None:
    lines = printed(40, terminal=True)
    assert lines[1].startswith("0aced52fefa84b95  [/b] word")
    assert max(map(len, lines)) <= 40


def test_what_does_not_fit_beside_each_other_stands_below_each_other() -> None:
    assert printed(18, terminal=True)[::3] == ["model   0aced52fefa84b95", "model   f6b6b867f37cbda0"]
