"""`distill curate`: the decisions worth keeping of a file of traces or of the log, and what keeping fewer costs.

What this file does not know: how they are chosen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console

from ultracore.distillation.cli.edge import examples
from ultracore.distillation.cli.files import check_target, whole_file
from ultracore.distillation.cli.home import home_or_new, settings_at
from ultracore.distillation.cli.progress import counted
from ultracore.distillation.decisions import Decision
from ultracore.distillation.tools import ToolCall, canonical_json

if TYPE_CHECKING:  # at run time it costs numpy
    from ultracore.distillation.curate.workers import Workers

__all__ = ["curate_command"]


@click.command(
    "curate",
    epilog=examples(
        "distill curate traces.jsonl --out kept.jsonl               equal states only",
        "distill curate traces.jsonl --out kept.jsonl --keep 0.5    half, or as much as a student needs",
        "distill curate --out kept.jsonl                            of what the gateway logged",
    ),
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Kept decisions, one a line of chat JSONL.")
@click.option("--keep", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Share of the rows wanted.")
@click.option("--selector", help="How to choose: mixture, features, random ...; by default the best on your data.")
@click.option("--threshold", type=click.FloatRange(0, 1, min_open=True), help="Merge states from this cosine on.")
@click.option("--loss-limit", type=click.FloatRange(0), default=1.0, show_default=True, help="Points it may cost.")
@click.option("--no-gate", is_flag=True, help="Ask no student what it costs.")
@click.option("--ray", help="Address of a Ray cluster that looks for similar states, such as 10.0.0.5:6379 or auto.")
@click.option("--imported", is_flag=True, help="Of the log, also decisions that came from files.")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of the log.")
def curate_command(
    files: tuple[Path, ...],
    out: Path,
    keep: float | None,
    selector: str | None,
    threshold: float | None,
    loss_limit: float,
    no_gate: bool,
    ray: str | None,
    imported: bool,
    home: Path | None,
) -> None:
    """Keep the decisions of FILES (by default: of the log) that teach; whatever is removed is accounted for."""
    from ultracore.distillation.agents.curator import DataCuratorAgent
    from ultracore.distillation.events.opening import open_store
    from ultracore.distillation.log.of_files import read_traces
    from ultracore.distillation.log.of_log import LogQuery, read_log

    check_target(out)
    settings = settings_at(home_or_new(home))
    store = open_store(settings.home_path, settings)
    query = LogQuery(imported=imported)
    source = read_traces(files, store, settings.tenant) if files else read_log(store, query, settings.tenant)
    wishes = {"keep": keep, "selector": selector, "similarity_threshold": threshold}
    with _workers(ray) as workers, counted(Console(stderr=True)) as say:
        agent = DataCuratorAgent(
            store=store,
            settings=settings,
            calibration_share=0,
            thresholds=(),
            loss_limit=None if no_gate else loss_limit / 100,
            say=say,
            workers=workers,
        )
        result = asyncio.run(agent.execute({"raw_decisions": source.decisions, **wishes}))
    with whole_file(out) as draft:
        draft.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in _lines(result["curated_data"])))
    for text in _account(result, out):
        click.echo(text)


def _workers(ray: str | None) -> AbstractContextManager[Workers]:
    from ultracore.distillation.curate.on_ray import OnRay
    from ultracore.distillation.curate.workers import InProcess

    return nullcontext(InProcess()) if ray is None else OnRay(ray)


def _lines(decisions: Sequence[Decision]) -> Iterator[dict[str, Any]]:
    """Each decision as a conversation that ends with it; earlier answers have weight 0, so that only it is one."""
    for kept in decisions:
        calls = [_call(number, call) for number, call in enumerate(kept.calls, 1)]
        last = {"role": "assistant", "content": kept.reply, **({"tool_calls": calls} if calls else {})}
        tools = [
            {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
            for t in kept.state.tools
        ]
        about = {"task": kept.task, "episode": kept.episode, "event_id": kept.event_id, "weight": kept.weight}
        yield {"messages": [*map(_earlier, kept.state.messages), last], "tools": tools, "metadata": about}


def _earlier(message: Mapping[str, Any]) -> dict[str, Any]:
    if message.get("role") == "context":  # of a flat row; chat has no such role
        return {"role": "user", "content": canonical_json(message.get("content")).decode()}
    return {**message, "weight": 0} if message.get("role") == "assistant" else dict(message)


def _call(number: int, call: ToolCall) -> dict[str, Any]:
    """Arguments that were not recorded are left out: `{}` would say that there were none."""
    known = {} if call.arguments is None else {"arguments": canonical_json(call.arguments).decode()}
    return {"id": f"kept_{number}", "type": "function", "function": {"name": call.name, **known}}


def _account(result: Mapping[str, Any], out: Path) -> Iterator[str]:
    stats = result["stats"]
    if result["status"] == "skipped":
        yield result["reason"]
        return
    removed = f"{stats['exact_duplicates']:,} in equal states, {stats['near_duplicates']:,} in similar ones"
    kept = f"{stats['curated_count']:,} of {stats['original_count']:,} decisions kept"
    yield f"{kept} (removed: {removed}; not chosen: {stats['not_chosen']:,})"
    if stats["teacher_disagreements"]:
        disputed = f"{stats['teacher_disagreements']:,} of them are in states where the teacher also decided otherwise"
        yield f"{disputed}: none was merged"
    for found in stats["gate"]:
        low, high = found["interval"] or (float("nan"), float("nan"))
        yield (
            f"  {found['kept_share']:.0%} kept ({found['selector']}): {100 * found['loss']:.1f} points lost "
            f"[{100 * low:.1f}, {100 * high:.1f}] on {found['decisions']:,} held-out decisions"
            f"{'' if found['accepted'] else ', too many'}"
        )
    yield f"{stats['gate_reason']}; written to {out}"
