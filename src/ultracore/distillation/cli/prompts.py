"""`distill prompts`: optimize a prompt on the log's decisions; list, show, compare, draw and use its versions.

What this file does not know: how prompts are optimized.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.files import check_target, whole_file
from ultracore.distillation.cli.home import find_home, home_option, settings_at
from ultracore.distillation.cli.prompts_serving import compare_command, deploy_command, given_parts
from ultracore.distillation.cli.tables import print_table
from ultracore.distillation.settings import load_settings

__all__ = ["prompts_group"]

AGENT = click.option("--agent", help="Only this agent's.")


@click.group(
    "prompts",
    epilog=examples(
        "distill prompts optimize prompt.txt --agent support",
        "distill prompts optimize prompt.txt --url http://localhost:8000/v1 --model qwen --reflection-model qwen",
        "distill prompts list",
        "distill prompts use 4f1c0a9b",
    ),
)
def prompts_group() -> None:
    """Optimize prompts, look at their versions, and put them into service."""


prompts_group.add_command(compare_command)
prompts_group.add_command(deploy_command)


@prompts_group.command(
    "optimize",
    epilog=examples(
        "distill import traces.jsonl && distill prompts optimize prompt.txt --imported",
        "distill prompts optimize prompt.txt --agent support --method gepa --budget 2000",
        "distill prompts optimize prompt.txt --url http://localhost:8000/v1 --model qwen --run-id monday",
    ),
)
@click.argument("prompt", type=click.Path(path_type=Path))
@click.option("--method", type=click.Choice(["combined", "gepa", "dspy"]), default="combined", show_default=True)
@click.option("--budget", type=click.IntRange(min=6), default=1000, show_default=True, help="Most evaluations.")
@click.option("--url", help="OpenAI-compatible server that reads the prompt.  [default: the offline reader]")
@click.option("--model", default="default", show_default=True, help="The model there.")
@click.option("--key-env", default="OPENAI_API_KEY", show_default=True, help="Variable with the server's key.")
@click.option("--level", type=click.Choice(["tool", "whole_call"]), default="tool", show_default=True)
@click.option("--reflection-model", help="A model at --url that writes new prompts.  [default: mined notes]")
@click.option("--demonstrations", type=click.IntRange(min=0), default=16, show_default=True, help="Most shown.")
@click.option("--run-id", help="Name of the run; one that was stopped goes on.")
@click.option("--imported", is_flag=True, help="Learn from decisions imported from files, too.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the optimized prompt there.")
@AGENT
@home_option
def optimize(prompt: Path, agent: str | None, home: Path | None, out: Path | None, **options: Any) -> None:
    """Optimize the prompt in the file PROMPT on the teacher's decisions in the log.

    Half of the tasks are learned from; the others are kept for `compare` and `deploy`.
    """
    from ultracore.distillation.events.opening import open_store

    if out is not None:
        check_target(out)
    settings = settings_at(find_home(home))
    store = open_store(settings.home_path, settings)
    decisions = given_parts(store, settings, agent, imported=options["imported"]).parts.train
    console = Console(stderr=True)
    result = _run(prompt.read_text(encoding="utf-8"), decisions, options, agent or "", settings, store, console)
    _tell(result, by_reader=options["url"] is None)
    if out is not None:
        with whole_file(out) as draft:
            draft.write_text(result["optimized_prompt"], encoding="utf-8")


def _run(
    text: str, decisions: list[Any], options: dict[str, Any], agent: str, settings: Any, store: Any, console: Console
) -> Any:
    from ultracore.distillation.agents.demonstrating import representatives
    from ultracore.distillation.optimize import CombinedOptimizer, DSPyOptimizer, GEPAOptimizer

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    kinds: dict[str, Any] = {"combined": CombinedOptimizer, "dspy": DSPyOptimizer, "gepa": GEPAOptimizer}
    reflecting = options["reflection_model"]
    optimizer = kinds[options["method"]](
        teacher_model=reflecting or "",
        reflection=options["url"] if reflecting else None,
        budget=options["budget"],
        demonstrations=options["demonstrations"],
        select=representatives,
        key_env=options["key_env"],
        agent_id=agent,
        seed=settings.seed,
        store=store,
        tenant=settings.tenant,
        say=say,
    )
    return asyncio.run(optimizer.optimize(text, decisions, _evaluation(options, decisions), run_id=options["run_id"]))


def _evaluation(options: dict[str, Any], decisions: list[Any]) -> Any:
    from ultracore.distillation.optimize.judging import Judge, one_at_a_time
    from ultracore.distillation.students.prompted.chat import Chat
    from ultracore.distillation.students.prompted.reader import Reader
    from ultracore.distillation.students.prompted.student import PromptedStudent

    if options["url"] is None:
        return Judge(Reader, decisions)
    chat = Chat(options["url"], model=options["model"], key_env=options["key_env"])
    chat.check()
    return one_at_a_time(Judge(lambda prompt: PromptedStudent(prompt, chat), decisions, options["level"]))


def _tell(result: Any, *, by_reader: bool) -> None:
    low, high = result["final_interval"]
    click.echo(f"{result['status']}: {result['reason']}")
    click.echo(
        f"test score {result['initial_score']:.1%} -> {result['final_score']:.1%} [{low:.1%}, {high:.1%}], "
        f"{result['examples']['test']} decisions that no search saw"
    )
    click.echo(f"{result['evaluations']} of {result['budget']} evaluations; {result['engine']}; run {result['run_id']}")
    for note in result["notes"]:
        click.echo(f"note: {note}")
    if by_reader:
        click.echo("scored by the offline reader, which only compares words: no figure for a language model")
    click.echo(f"version {result['prompt_id']}; `distill prompts use {result['prompt_id'][:8]}` puts it in use")


@prompts_group.command("list", epilog=examples("distill prompts list --agent support"))
@AGENT
@home_option
def list_versions(agent: str | None, home: Path | None) -> None:
    """List the versions, oldest first."""
    from ultracore.distillation.optimize.versions import prompt_versions

    rows = []
    for version in prompt_versions(_store(home), agent, load_settings().tenant):
        mark = " *" if version.in_use else ""
        scores = ("" if score is None else f"{score:.1%}" for score in (version.score, version.test_score))
        parent = (version.parent_id or "")[:8]
        size = f"{len(version.text):,}"
        about = (version.prompt_id[:8] + mark, version.agent_id, parent, version.method)
        rows.append((*about, *scores, size, version.reason))
    print_table(("version", "agent", "from", "by", "selection", "test", "characters", "how"), rows)


@prompts_group.command("show", epilog=examples("distill prompts show 4f1c0a9b", "distill prompts show 4f1c > p.txt"))
@click.argument("version")
@home_option
def show(version: str, home: Path | None) -> None:
    """Print the text of VERSION, named by its id or the beginning of it."""
    from ultracore.distillation.optimize.versions import find_version

    click.echo(find_version(_store(home), version, load_settings().tenant).text)


@prompts_group.command("diff", epilog=examples("distill prompts diff 4f1c0a9b 77d2e5c1"))
@click.argument("old")
@click.argument("new")
@home_option
def diff(old: str, new: str, home: Path | None) -> None:
    """Show what changed from version OLD to version NEW."""
    from ultracore.distillation.optimize.versions import difference_of, find_version

    store, tenant = _store(home), load_settings().tenant
    for line in difference_of(find_version(store, old, tenant), find_version(store, new, tenant)):
        click.echo(line)


@prompts_group.command(
    "use", epilog=examples("distill prompts use 4f1c0a9b", 'distill prompts use 77d2 --reason "back to last week\'s"')
)
@click.argument("version")
@click.option("--reason", default="", help="For the log.")
@home_option
def use(version: str, reason: str, home: Path | None) -> None:
    """Put VERSION in use for its agent; to roll back, use an older one."""
    from ultracore.distillation.optimize.versions import choose, find_version

    store, tenant = _store(home), load_settings().tenant
    found = find_version(store, version, tenant)
    choose(store, found, reason, tenant)
    click.echo(f"version {found.prompt_id} is in use" + (f" for {found.agent_id}" if found.agent_id else ""))
    click.echo("`distill prompts deploy --url ...` certifies a model with it and lets the gateway answer")


@prompts_group.command("tree", epilog=examples("distill prompts tree --html prompts.html"))
@click.option("--html", type=click.Path(path_type=Path), help="Write a page instead, with texts and the curve.")
@AGENT
@home_option
def tree(html: Path | None, agent: str | None, home: Path | None) -> None:
    """Draw which version came of which."""
    from ultracore.distillation.optimize.versions import prompt_versions
    from ultracore.distillation.report.prompts import prompt_lines, prompt_page

    versions = prompt_versions(_store(home), agent, load_settings().tenant)
    if html is None:
        click.echo("\n".join(prompt_lines(versions)))
    else:
        with whole_file(html) as draft:
            draft.write_text(prompt_page(versions), encoding="utf-8")
        click.echo(f"wrote {html}")


def _store(home: Path | None) -> Any:
    from ultracore.distillation.events.opening import open_store

    return open_store(find_home(home))
