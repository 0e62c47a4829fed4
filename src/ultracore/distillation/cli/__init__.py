"""The command line: `distill run | import | serve | loop | top | keys | pause | replay | report | log | demo ...`.

What this file does not know: what the commands do; each is a file of its own.
"""

from __future__ import annotations

import os

import click

from ultracore.distillation import __version__
from ultracore.distillation.cli.backup import backup_command, restore_command
from ultracore.distillation.cli.costs import costs_command
from ultracore.distillation.cli.curate import curate_command
from ultracore.distillation.cli.demo import demo_command
from ultracore.distillation.cli.edge import Group, examples
from ultracore.distillation.cli.erase import erase_command
from ultracore.distillation.cli.import_ import import_command
from ultracore.distillation.cli.keys import keys_group
from ultracore.distillation.cli.lineage import lineage_command
from ultracore.distillation.cli.log import log_group
from ultracore.distillation.cli.log_figures import export_command, sql_command, stats_command
from ultracore.distillation.cli.loop import loop_command
from ultracore.distillation.cli.pause import pause_command, resume_command
from ultracore.distillation.cli.products import products_group
from ultracore.distillation.cli.prompts import prompts_group
from ultracore.distillation.cli.replay import replay_command
from ultracore.distillation.cli.report import report_command
from ultracore.distillation.cli.run import run_command
from ultracore.distillation.cli.serve import serve_command
from ultracore.distillation.cli.settings import settings_command
from ultracore.distillation.cli.top import top_command
from ultracore.distillation.cli.verify import verify_command
from ultracore.distillation.cli.watch import watch_command

__all__ = ["main"]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples(
        "distill demo                               watch it learn, notice and recover, on a synthetic bank",
        "distill run traces.jsonl                   the whole loop on yours",
        "distill serve --upstream https://api.openai.com/v1",
    ),
)
@click.version_option(__version__, prog_name="distill")
def main() -> None:
    """Learn your teacher model's tool calls into a small local student; take over what it certifiably gets right."""
    # Before numpy reads them: one thread is reproducible, and a student's matrices are too small for more. On two busy
    # cores OpenBLAS with two threads took 18 ms of CPU for 64 alternatives, most of it waiting, and with one 0.06.
    for name in THREADS:
        os.environ.setdefault(name, "1")


for command in (
    run_command,
    demo_command,
    import_command,
    curate_command,
    serve_command,
    top_command,
    loop_command,
    costs_command,
    watch_command,
    replay_command,
    prompts_group,
    keys_group,
    pause_command,
    resume_command,
    report_command,
    log_group,
    products_group,
    lineage_command,
    settings_command,
    verify_command,
    erase_command,
    backup_command,
    restore_command,
):
    main.add_command(command)

for command in (stats_command, export_command, sql_command):
    log_group.add_command(command)
