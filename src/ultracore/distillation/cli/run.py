"""`distill run`: the whole loop, then the table, the page and what to do next.

What this file does not know: how the loop works.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ultracore.distillation.cli.advice import next_steps
from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.files import write_result
from ultracore.distillation.cli.home import DEFAULT_OUT, LOG, find_home, home_of_run, refuse_postgres
from ultracore.distillation.cli.progress import stages
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.settings import load_settings

__all__ = ["run_command"]

EXAMPLES, EXAMPLE_FILE = 900, "example-traces.jsonl"
FILE = click.Path(path_type=Path)
OF_LOG = ("home", "agent", "since", "imported")
"""Options that say which part of the log to learn from."""


@click.command(
    "run",
    epilog=examples(
        "distill run traces.jsonl",
        "distill run january.jsonl february.jsonl --test march.jsonl --price-per-call 0.012",
        "distill run traces.jsonl.gz --target 0.95 --out report-95",
        "distill run --from-log --agent support --since 2026-11-01",
    ),
)
@click.argument("train", nargs=-1, type=FILE)
@click.option("--test", "test", multiple=True, type=FILE, help="Test on this file, not on a fifth of the tasks.")
@click.option("--from-log", is_flag=True, help="Learn from what the log holds, such as the gateway's own decisions.")
@click.option("--home", type=FILE, help="Folder of the log to learn from.")
@click.option("--agent", help="Learn only this agent's decisions of the log.")
@click.option("--since", help="Learn only decisions of the log of this time or later (ISO 8601).")
@click.option("--imported", is_flag=True, help="Learn from decisions of the log that came from files, too.")
@click.option("--out", type=FILE, default=DEFAULT_OUT, show_default=True, help="Folder of the report.")
@click.option("--seed", type=int, help="Seed of everything random.  [default: 0]")
@click.option("--target", type=float, help="Agreement to guarantee among the calls sent.  [default: 0.93]")
@click.option("--delta", type=float, help="Risk that the certificate is wrong.  [default: 0.05]")
@click.option("--audit-rate", type=float, help="Share of sent calls that the teacher checks.  [default: 0.05]")
@click.option("--price-per-call", type=click.FloatRange(min=0), help="US dollars of one teacher request.")
@click.option("--requests-per-day", type=click.FloatRange(min=0), help="Teacher requests a day.")
@click.option("--processes", type=click.IntRange(1, 2), help="Cores to use.  [default: 2, where there are two]")
@click.option("--policy", type=FILE, help="TOML file about your tools: levels, never, comparators.")
@click.option("--teacher", help="Stand in for this model.  [default: the most frequent; names it where traces do not]")
def run_command(train: tuple[Path, ...], test: tuple[Path, ...], out: Path, from_log: bool, **chosen: Any) -> None:
    """Learn from TRAIN files, certify, test, deploy what is certified, and report.

    Files are JSONL, plain or gzip: one conversation a line, {"messages": [...], "tools": [...]}. With
    --from-log the decisions that the log holds are learned from instead. With neither, synthetic example
    traces are used.
    """
    if from_log and train:
        raise click.UsageError("give files or --from-log, not both; `distill import` reads files into the log")
    if not from_log and (wrong := [name for name in OF_LOG if chosen[name]]):
        raise click.UsageError(f"--{wrong[0]} goes with --from-log")
    _run(train, test, out, from_log, **chosen)


def _run(train: tuple[Path, ...], test: tuple[Path, ...], out: Path, from_log: bool, **chosen: Any) -> None:
    from ultracore.distillation import loop  # numpy and scikit-learn, only when they are needed
    from ultracore.distillation.log.of_log import LogQuery

    console, err = Console(), Console(stderr=True)
    out.mkdir(parents=True, exist_ok=True)
    command = _command(train, test, out, from_log, chosen)
    home = find_home(chosen["home"]) if from_log else home_of_run(out) if train else _home_of_examples(out)
    files = (home / LOG,) if from_log else train or (_examples(out, err),)
    source = LogQuery(**{name: chosen[name] for name in ("agent", "since", "imported")}) if from_log else files
    options = _options(chosen)
    with stages(loop.STAGES + 1, err) as say:
        result = loop.run(source, home, test=test, options=options, say=say)
        result["data"]["files"] = [str(file) for file in files]
        result["command"] = command
        result["next_steps"] = next_steps(result, out, home)
        say("writing the report")
        write_result(result, out)
    _show(result, out, console)


def _show(result: dict[str, Any], out: Path, console: Console) -> None:
    from ultracore.distillation.report.table import print_result

    print_result(result, console)
    console.print(f"\nReport: {out / 'report.html'}   Figures: {out / 'result.json'}", markup=False, highlight=False)


def _home_of_examples(out: Path) -> Path:
    """A log of their own: a student of synthetic traces must not take the place of a real one.

    Raises:
        ConfigurationError: Other traces are in the log of that folder.
    """
    from ultracore.distillation.events import TracesImportedEvent
    from ultracore.distillation.events.opening import open_store

    refuse_postgres("name your traces; synthetic examples do not belong there")
    home = (out / ".distill").absolute()
    if (home / LOG).exists():
        for event in open_store(home).read(types=[TracesImportedEvent.event_type]):
            if isinstance(event, TracesImportedEvent) and event.file_name != EXAMPLE_FILE:
                raise ConfigurationError(
                    f"the log in {home} holds {event.file_name}: name your traces, or another folder with --out for "
                    "synthetic examples"
                )
    return home


def _examples(out: Path, err: Console) -> Path:
    from ultracore.distillation.teachers.scripted.traces import write_traces

    file = out / EXAMPLE_FILE
    n = write_traces(file, n=EXAMPLES)
    err.print(
        f"No file was given: {n} SYNTHETIC example conversations were written to {file}. They show the loop; "
        "they say nothing about your agents. Yours: distill run YOUR-FILE.jsonl",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    return file


def _options(chosen: dict[str, Any]) -> Any:
    from ultracore.distillation.loop import Options
    from ultracore.distillation.policy import load_policy
    from ultracore.distillation.train.parallel import cores

    settings = load_settings(
        seed=chosen.get("seed"), agreement_floor=chosen.get("target"), delta=chosen.get("delta"),
        audit_rate=chosen.get("audit_rate"),
    )  # fmt: skip
    return Options(
        seed=settings.seed,
        target=settings.agreement_floor,
        delta=settings.delta,
        audit_rate=settings.audit_rate,
        tenant=settings.tenant,
        teacher=chosen.get("teacher"),
        policy=load_policy(chosen.get("policy")),
        price_per_call=chosen.get("price_per_call"),
        requests_per_day=chosen.get("requests_per_day"),
        processes=chosen.get("processes") or min(2, cores()),
    )


def _command(train: tuple[Path, ...], test: tuple[Path, ...], out: Path, from_log: bool, chosen: dict[str, Any]) -> str:
    words = ["distill", "run", *map(str, train), *(["--from-log"] if from_log else [])]
    words += [word for file in test for word in ("--test", str(file))]
    for name, value in chosen.items():
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)] if value not in (None, False) else []
    return shlex.join([*words, "--out", str(out)])
