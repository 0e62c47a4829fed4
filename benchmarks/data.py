"""Sets of decisions to measure on, and how each is divided into training and test.

Other people's traces are read where they lie (`--data`, else `$DISTILL_BENCH_DATA`, else
`../shared/data` beside the checkout) and never copied; a set that is not there is a
`MissingDataError`. The example bank is made on the spot. What this file does not know: what is measured.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from benchmarks.provenance import ROOT
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.events.sqlite import SqliteEventStore
from ultracore.distillation.log.of_files import read_traces
from ultracore.distillation.splits import folds_by_task, split_by_task
from ultracore.distillation.teachers.scripted.traces import write_traces
from ultracore.distillation.tools import ToolCall, parse_tool

__all__ = [
    "SETS",
    "MissingDataError",
    "Part",
    "Size",
    "bank",
    "decisions_of",
    "default_data",
    "parts_of",
    "sample",
    "some_of",
]

FOLDS = 5
FILES = {
    "telecom": (
        "tau2-bench/telecom.gpt-4.1-2025-04-14",
        "tau2-bench/telecom.ft-gpt-4.1_sierra-sft",
        "tau2-bench/telecom.sft-mix",
    ),
    "airline": ("tau-bench/airline.gpt-4o",),
    "telecom-solo": (
        "tau2-bench/telecom-solo.gpt-4.1-2025-04-14",
        "tau2-bench/telecom-solo.ft-gpt-4.1_sierra-sft",
        "tau2-bench/telecom-solo-4x.gpt-4.1-2025-04-14",
    ),
    "airline-claude": ("tau2-bench/airline.claude-opus-4-6", "tau2-bench/airline.claude-sonnet-4-5"),
    "snips": ("snips/train", "snips/test"),
    "sgd": ("sgd/train", "sgd/dev"),
    "sgd-folds": ("sgd/train",),
    "banking77": ("banking77/train", "banking77/test"),
    "metatool": ("metatool/single",),
    "seal-tools": ("seal-tools/in_domain", "seal-tools/out_domain"),
    "bfcl-live": ("bfcl/live.gold",),
}
BANK_CONVERSATIONS = 600
ROWS = 3000
TEST_ROWS = 1000
"""Of the large sets of single turns, so many rows train and test; `--full` takes all."""


class MissingDataError(Exception):
    """A set of decisions is not where it was looked for."""


class Size(NamedTuple):
    """How much to measure.

    Attributes:
        quick: A few tasks and two folds: shows that it works, and says nothing else.
        full: All rows of the large sets of single turns.
    """

    quick: bool = False
    full: bool = False


class Part(NamedTuple):
    """Decisions to learn from and decisions to test on."""

    train: list[Decision]
    test: list[Decision]


def default_data() -> Path:
    """Where other people's traces are looked for."""
    return Path(os.environ.get("DISTILL_BENCH_DATA") or ROOT.parent / "shared" / "data")


def some_of(name: str, data: Path, size: Size) -> list[Decision]:
    """The decisions of a set, or those of a few of its tasks where it has to be quick."""
    if not size.quick:
        return decisions_of(name, data)
    return bank(60) if name == "bank" else split_by_task(decisions_of(name, data), (0.2, 0.8), seed=0)[0]


@cache
def decisions_of(name: str, data: Path) -> list[Decision]:
    """All decisions of a set.

    Args:
        name: A key of `FILES`, or `bank`.
        data: Folder of other people's traces.

    Raises:
        MissingDataError: A file of the set is not there.
    """
    if name == "bank":
        return bank()
    return [decision for file in FILES[name] for decision in _read(data, file)]


@cache
def bank(conversations: int = BANK_CONVERSATIONS) -> list[Decision]:
    """The synthetic example traces, read as a user's file is: through the log."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bank.jsonl"
        write_traces(file, n=conversations)
        store = SqliteEventStore(Path(folder) / "log.db")
        try:
            return read_traces([file], store).decisions
        finally:
            store.close()


def sample(decisions: Sequence[Decision], n: int, seed: int = 0) -> list[Decision]:
    """So many decisions, drawn without replacement, in their own order; all where there are no more."""
    kept = np.random.default_rng(seed).permutation(len(decisions))[:n]
    return [decisions[i] for i in sorted(kept.tolist())]


def parts_of(name: str, data: Path, size: Size = Size()) -> list[Part]:  # noqa: B008 - an immutable default
    """The divisions of a set on which students are measured; no task is on both sides but in `airline-recurring`."""
    return SETS[name](data, size)


def _folds(name: str, *, calls_only: bool = False) -> Callable[[Path, Size], list[Part]]:
    def parts(data: Path, size: Size) -> list[Part]:
        decisions = [d for d in some_of(name, data, size) if d.is_call or not calls_only]
        k = 2 if size.quick else FOLDS
        folds = list(zip(decisions, folds_by_task(decisions, k, seed=0), strict=True))
        return [Part([d for d, f in folds if f != i], [d for d, f in folds if f == i]) for i in range(k)]

    return parts


def _recurring(data: Path, size: Size) -> list[Part]:
    decisions = some_of("airline", data, size)
    return [Part([d for d in decisions if d.trial < 3], [d for d in decisions if d.trial == 3])]


def _files(name: str, *, calls_only: bool = False) -> Callable[[Path, Size], list[Part]]:
    """Trained on the first file, tested on the second."""

    def parts(data: Path, size: Size) -> list[Part]:
        train, test = ([d for d in _read(data, f) if d.is_call or not calls_only] for f in FILES[name])
        return [_sampled(train, test, size)]

    return parts


def _marked(name: str) -> Callable[[Path, Size], list[Part]]:
    """Trained and tested as the rows are marked; whatever is no test row trains."""

    def parts(data: Path, size: Size) -> list[Part]:
        marked: dict[bool, list[Decision]] = {False: [], True: []}
        for file in FILES[name]:
            for split, decision in _split_rows(data, file):
                marked[split.startswith("test")].append(decision)
        return [_sampled(marked[False], marked[True], size)]

    return parts


def _sampled(train: list[Decision], test: list[Decision], size: Size) -> Part:
    rows, test_rows = (200, 100) if size.quick else (ROWS, TEST_ROWS)
    return Part(train, test) if size.full else Part(sample(train, rows), sample(test, test_rows))


SETS: dict[str, Callable[[Path, Size], list[Part]]] = {
    "telecom": _folds("telecom"),
    "airline": _folds("airline"),
    "telecom-solo": _folds("telecom-solo"),
    "snips": _files("snips"),
    "sgd": _files("sgd", calls_only=True),
    "sgd-folds": _folds("sgd-folds", calls_only=True),
    "banking77": _files("banking77"),
    "metatool": _marked("metatool"),
    "seal-tools": _marked("seal-tools"),
    "bfcl-live": _marked("bfcl-live"),
    "airline-claude": _folds("airline-claude"),
    "airline-recurring": _recurring,
    "bank": _folds("bank"),
}
"""How to divide each set, in the order in which they are measured."""


def _read(data: Path, file: str) -> Iterator[Decision]:
    return (decision for _, decision in _split_rows(data, file))


def _split_rows(data: Path, file: str) -> Iterator[tuple[str, Decision]]:
    """Each decision with the part that its source put it into."""
    path = data / f"{file}.jsonl.gz"
    if not path.exists():
        raise MissingDataError(f"needs data at {path} (give the folder with --data or $DISTILL_BENCH_DATA)")
    tools = {ref: [parse_tool(tool) for tool in offered] for ref, offered in _json(path.parent / "tools").items()}
    systems = _json(path.parent / "systems")
    with gzip.open(path) as lines:
        for line in lines:
            row = msgspec.json.decode(line)
            yield str(row.get("split") or ""), _decision(row, tools, systems, file)


def _decision(row: dict[str, Any], tools: dict[str, Any], systems: dict[str, str], file: str) -> Decision:
    prompt = systems.get(row.get("system_ref") or "")
    chosen = row["decision"]
    return Decision(
        state=State(
            ([{"role": "system", "content": prompt}] if prompt else []) + row["messages"], tools[row["tools_ref"]]
        ),
        calls=tuple(ToolCall(call["name"], call["arguments"]) for call in chosen.get("tool_calls") or ()),
        reply=chosen.get("content"),
        episode=f"{file} {row['episode']}",  # teachers number their episodes alike; tasks are shared on purpose
        task=row["task"],
        step=row["step"],
        trial=row["trial"] or 0,
        teacher=row["teacher"],
    )


def _json(path: Path) -> dict[str, Any]:
    file = path.with_name(path.name + ".json.gz")
    found: dict[str, Any] = msgspec.json.decode(gzip.decompress(file.read_bytes())) if file.exists() else {}
    return found
