"""`distill demo`: the loop that runs by itself, on a synthetic bank, with the real gateway; then a table.

What this file does not know: the script of the demo.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.settings import load_settings

__all__ = ["demo_command"]

RULES = """# of the demo, wider than the defaults: short conversations, and no time to lose
[promotion]
error_margin = 0.1
coverage_margin = 0.3
action_margin = 0.3
least_units = 30
canary_share = 0.5
canary_units = 5
settle_seconds = 1.0
cool_down_seconds = 0.0

[retraining]
first_decisions = 1000
new_decisions = 500
new_tool_decisions = 100000
after_change = 150
least_hours = 0.0
most_a_day = 100

[limits]
seconds = 240.0
nice = 0
"""
FLOOR, AUDITS = "0.9", "0.5"


@click.command("demo", epilog=examples("distill demo", "distill demo --seed 7 --keep /tmp/demo"))
@click.option("--seed", type=int, default=0, show_default=True, help="Of the customers.")
@click.option("--fast", is_flag=True, help="Measure on fewer conversations.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep log and models in this new folder.")
def demo_command(seed: int, fast: bool, keep: Path | None) -> None:
    """Watch it learn, take over, notice that the teacher changed, and recover; on SYNTHETIC traffic.

    A scripted bank talks to a scripted teacher through the real gateway on loopback, with the real loop beside it. It
    takes about two minutes on two idle cores, needs no network, and stops every server that it started. What it
    prints says nothing about your agents.
    """
    console = Console()
    with contextlib.ExitStack() as stack:
        folder = _folder(stack, keep)
        figures = _play(stack, folder, seed, fast, console)
    console.print(table_of(figures))
    if keep is not None:
        console.print(f"kept: distill serve --model {keep}, distill log tail --home {keep}", markup=False)


def _folder(stack: contextlib.ExitStack, keep: Path | None) -> Path:
    if keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="distill-demo-"))) / ".distill"
    keep.mkdir(parents=True)
    return keep.absolute() / ".distill"


def _play(stack: contextlib.ExitStack, home: Path, seed: int, fast: bool, console: Console) -> Any:
    from ultracore.distillation.demo.bank import Bank
    from ultracore.distillation.demo.play import Plan, Play
    from ultracore.distillation.demo.servers import Client, free_port, process, teacher_server, wait_until_ready
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.teachers.scripted.policy import TEACHER

    home.mkdir(parents=True)
    rules = home.parent / "rules.toml"
    rules.write_text(RULES)
    bank, port = Bank(seed), free_port()
    store = open_store(home, load_settings(env={}, home=str(home)))  # never the log that the environment names
    stack.callback(store.close)
    url = stack.enter_context(teacher_server(bank.decide, TEACHER))
    variables = {
        "DISTILL_HOME": str(home), "DISTILL_AGREEMENT_FLOOR": FLOOR, "DISTILL_AUDIT_RATE": AUDITS,
        "DISTILL_UPSTREAM_PRIVATE": "true", "DISTILL_SEED": str(seed), "OPENAI_API_KEY": "synthetic",
    }  # fmt: skip
    log = home.parent / "gateway.log"
    words = ["serve", "--upstream", url, "--port", str(port)]
    gateway = stack.enter_context(process(words, log, variables))
    wait_until_ready(port, gateway, log)
    loop = ["loop", "--rules", str(rules), "--every", "1"]
    # a training under way is not waited for: the loop may be killed at any moment
    stack.enter_context(process(loop, home.parent / "loop.log", variables, stop_seconds=1.0))
    console.print(f"SYNTHETIC bank, seed {seed}. Dashboard: http://127.0.0.1:{port}/", markup=False, highlight=False)
    plan = Plan(measured=30) if fast else Plan()
    with _progress(console) as tell:
        return Play(bank, Client(port).ask, store, plan, tell).run()


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Any]:
    began = time.monotonic()
    with console.status("starting") as status:

        def tell(words: str) -> None:
            said = f"{time.monotonic() - began:6.1f} s  {words}"
            console.print(said, markup=False, highlight=False, soft_wrap=True)
            if not words.startswith(" "):
                status.update(words)

        yield tell


def table_of(figures: Any) -> Table:
    """The figures of a demo."""
    table = Table("SYNTHETIC bank", "before the change", "until noticed", "after retraining", title="What happened")

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    parts = (figures.before, figures.during, figures.after)
    table.add_row("agreement of the calls sent", *(share(part.agreement) for part in parts))
    table.add_row("answered by the student", *(share(part.coverage) for part in parts))
    table.add_row("decisions", *(f"{part.decisions:,}" for part in parts))
    saved = figures.all.sent - figures.audits
    table.add_section()
    table.add_row("teacher calls saved, net of audits", f"{saved:,} of {figures.all.decisions:,}", "", "")
    table.add_row("audits until noticed", str(figures.audits_until_noticed), "", "")
    table.add_row("certificate revoked for", ", ".join(figures.revoked), "", "")
    table.add_row("seconds", f"{figures.seconds:.0f}", "", "")
    return table
