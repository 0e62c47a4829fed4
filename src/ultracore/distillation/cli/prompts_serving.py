"""`distill prompts compare` and `deploy`: a prompt against weights on one held-out test, and a prompt into service.

What this file does not know: how students are compared and certified.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.home import find_home, home_option, settings_at

__all__ = ["Given", "compare_command", "deploy_command", "given_parts"]


class Given(NamedTuple):
    """The decisions of the log's most frequent teacher, divided by task; `parts` as of `train.parts`."""

    teacher: str
    parts: Any


def given_parts(store: Any, settings: Any, agent: str | None, *, imported: bool) -> Given:
    """Half of the tasks to learn from, three tenths to certify on, a fifth to compare on: alike in each command."""
    from ultracore.distillation.log.of_log import LogQuery, read_log
    from ultracore.distillation.train.parts import of_one_teacher, split

    decisions = read_log(store, LogQuery(agent=agent, imported=imported), settings.tenant).decisions
    mine = of_one_teacher(decisions)
    return Given(mine.teacher, split(mine.decisions, seed=settings.seed))


def _shared(command: Any) -> Any:
    for option in (
        home_option,
        click.option("--imported", is_flag=True, help="Decisions imported from files, too."),
        click.option("--key-env", default="OPENAI_API_KEY", show_default=True, help="Variable with the server's key."),
        click.option("--model", default="default", show_default=True, help="The model there."),
        click.option("--agent", help="Whose prompt and decisions."),
        click.argument("version", required=False),
    ):
        command = option(command)
    return command


@click.command(
    "compare", epilog=examples("distill prompts compare --agent support --url http://localhost:8000/v1 --model qwen")
)
@click.option("--url", help="OpenAI-compatible server that reads the prompt.  [default: the offline reader]")
@_shared
def compare_command(version: str | None, home: Path | None, url: str | None, **options: Any) -> None:
    """Compare a prompt with the compact student on tasks that neither has seen, and say which agrees more.

    VERSION is by default the one in use.
    """
    from ultracore.distillation.agents.contest import contest
    from ultracore.distillation.students.prompted.reader import Reader
    from ultracore.distillation.train.levels import level_of

    store, settings, prompt = _prompt(version, home, options["agent"])
    parts = given_parts(store, settings, options["agent"], imported=options["imported"]).parts
    level = "tool" if url is None else level_of(parts.train)
    student = Reader(prompt.text) if url is None else _student(prompt.text, url, options)
    found = contest(student, parts, level, settings.seed)
    what = "tools chosen" if found.level == "tool" else "whole calls"
    click.echo(f"{what}, {found.decisions} decisions of {found.tasks} tasks that neither has seen")
    click.echo(f"prompt {prompt.prompt_id[:8]}   {found.prompt:.1%}   {1000 * found.prompt_seconds:.1f} ms a decision")
    click.echo(f"compact student   {found.weights:.1%}   {1000 * found.weights_seconds:.1f} ms a decision")
    if found.gain is not None:
        low, high = found.gain.ends
        click.echo(f"the prompt's lead: {found.gain.value:+.1%} [{low:+.1%}, {high:+.1%}]")
    click.echo({"neither": "no difference is shown"}.get(found.winner, f"better: {found.winner}"))
    if url is None:
        click.echo(
            "the prompt was read by the offline reader, which only compares words: no figure for a language model"
        )


@click.command(
    "deploy", epilog=examples("distill prompts deploy --agent support --url http://localhost:8000/v1 --model qwen")
)
@click.option("--url", required=True, help="OpenAI-compatible server that reads the prompt.")
@click.option("--input-price", type=click.FloatRange(min=0), default=0.0, help="US dollars of a million tokens in.")
@click.option("--output-price", type=click.FloatRange(min=0), default=0.0, help="US dollars of a million tokens out.")
@_shared
def deploy_command(version: str | None, home: Path | None, url: str, **options: Any) -> None:
    """Certify a language model with a prompt on tasks it never met; the gateway then answers with it.

    VERSION is by default the one in use; an earlier one is deployed alike. Not certified: nothing changes.
    """
    from ultracore.distillation.agents.prompted import deploy_prompt
    from ultracore.distillation.policy import load_policy
    from ultracore.distillation.train.facts import is_deployable

    store, settings, prompt = _prompt(version, home, options["agent"])
    given = given_parts(store, settings, options["agent"], imported=options["imported"])
    student = _student(prompt.text, url, options)
    policy = load_policy(None if settings.policy is None else Path(settings.policy))
    prices = options["input_price"], options["output_price"]
    certificate = deploy_prompt(student, given.parts, given.teacher, store, settings, policy=policy, prices=prices)
    figures = student.spent.figures(*prices)
    click.echo(f"{'deployed' if is_deployable(certificate) else 'not deployed'}: {certificate.reason}")
    click.echo(
        f"version {prompt.prompt_id[:8]}, model {certificate.model_id}; {figures['requests']} requests, median "
        f"{figures['latency_ms']:.0f} ms, p99 {figures['latency_ms_p99']:.0f} ms, {figures['input_tokens']:.0f} tokens "
        f"in and {figures['output_tokens']:.0f} out, ${figures['cost_per_request_usd']:.6f} each"
    )


def _prompt(version: str | None, home: Path | None, agent: str | None) -> Any:
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.optimize.versions import find_version, version_in_use

    settings = settings_at(find_home(home))
    store = open_store(settings.home_path, settings)
    if version is None:
        return store, settings, version_in_use(store, agent or "", settings.tenant)
    return store, settings, find_version(store, version, settings.tenant)


def _student(prompt: str, url: str, options: dict[str, Any]) -> Any:
    from ultracore.distillation.students.prompted.chat import Chat
    from ultracore.distillation.students.prompted.student import PromptedStudent

    chat = Chat(url, model=options["model"], key_env=options["key_env"])
    chat.check()
    return PromptedStudent(prompt, chat)
