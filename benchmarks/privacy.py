"""What privacy costs: CPU of redaction and of sealing for one event, and bytes with and without.

Events are decisions of the synthetic example bank, cut to about 2 kB of data; CPU is the least of several rounds,
which is what the work costs where nobody else is in the caches. What this file does not know: disks.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from tests.privacy.synthetic import samples

from benchmarks.sections import Section, Table, number, share
from ultracore.distillation.events import AgentDecisionEvent, codec
from ultracore.distillation.events.block import pack, split
from ultracore.distillation.events.privacy.protection import Protection
from ultracore.distillation.events.rows import Stored, event_of, row_of
from ultracore.distillation.log.importers.openai_chat import Imported, read_openai_chat
from ultracore.distillation.teachers.scripted.traces import write_traces

BYTES = 2048
PERSONS = 100
ROUNDS = 5


def measure_privacy(*, quick: bool = False) -> Section:
    """Measure on events made from the bank's conversations."""
    events = _events(300 if quick else 3000)
    payloads = [codec.encode_shared(event).payload for event in events]
    with tempfile.TemporaryDirectory() as folder:
        kinds = _kinds(Path(folder))
        figures = {name: _measured(events, kind) for name, kind in kinds.items()}
        scans = {rules: _scan(kinds[f"redaction of {rules}"], payloads) for rules in ("secrets", "all")}
        found = _found(kinds["redaction of all"], 500 if quick else 5000)
    mean = sum(map(len, payloads)) / len(payloads)
    about = (
        f"{len(events):,} decisions of the example bank (synthetic) of {PERSONS} persons, "
        f"{mean:,.0f} bytes of data each on average beside the tools"
    )
    return Section(
        "privacy", about, [_scans(scans), _costs(figures), found], figures={"row": figures, "scan_us": scans}
    )


def _found(kind: Protection, count: int) -> Table:
    """Recall and precision of all rules on synthetic texts, each holding one find or none."""
    hits = misses = false = 0
    for sample in samples(count, seed=7):
        data = {"text": sample.text}
        left = kind.redactor.redact(data, kind.redactor.suspects(msgspec.json.encode(data)))
        gone = sample.rule is not None and sample.value not in left.data["text"]
        hits += gone
        misses += sample.rule is not None and not gone
        false += sum(left.counts.values()) - gone
    return Table(
        "Finds in synthetic texts",
        ["texts", "with a find", "recall", "precision"],
        [[number(count, 0), number(hits + misses, 0), share(hits / (hits + misses)), share(hits / (hits + false))]],
        "Written by the authors of the rules: on other people's texts expect less.",
    )


def _kinds(folder: Path) -> dict[str, Protection]:
    return {
        "nothing": Protection(folder, redact="off", encrypt=False),
        "redaction of secrets": Protection(folder, encrypt=False),
        "redaction of all": Protection(folder, redact="all", encrypt=False),
        "sealing": Protection(folder, redact="off"),
        "redaction of secrets and sealing": Protection(folder),
    }


def _measured(events: Sequence[AgentDecisionEvent], kind: Protection) -> dict[str, float]:
    stored = [row_of(event, kind) for event in events]
    kind.persist()
    return {
        "to_row_us": _micros(lambda: [row_of(event, kind) for event in events], len(events)),
        "from_row_us": _micros(lambda: _read(stored, kind), len(events)),
        "bytes": _bytes(stored),
    }


def _costs(figures: dict[str, dict[str, float]]) -> Table:
    return Table(
        "CPU and bytes of one event",
        ["done to an event", "to a row, us", "from a row, us", "bytes in its block"],
        [
            [name, number(f["to_row_us"]), number(f["from_row_us"]), number(f["bytes"], 0)]
            for name, f in figures.items()
        ],
        "Encoding and decoding are in each line; the first line is what they cost alone. Tools are kept once, apart.",
    )


def _scans(scans: dict[str, float]) -> Table:
    return Table(
        "Redaction: looking whether there may be a find",
        ["rules", "us an event"],
        [[name, number(value)] for name, value in scans.items()],
        "What every event pays; the rules are tried on its values only where this suspects something.",
    )


def _events(count: int) -> list[AgentDecisionEvent]:
    """Decisions of the bank with as many of their last messages as make about 2 kB beside the tools."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bank.jsonl"
        write_traces(file, n=max(20, count // 5))
        found = [item.event for item in read_openai_chat(file) if isinstance(item, Imported)]
    return [_cut(event, f"customer-{number % PERSONS}") for number, event in enumerate(found[:count])]


def _cut(event: AgentDecisionEvent, person: str) -> AgentDecisionEvent:
    messages = event.context["messages"]
    while len(messages) > 1 and len(msgspec.json.encode(messages)) > BYTES:
        messages = messages[1:]
    return msgspec.structs.replace(event, context={"messages": messages}, user_id=person)


def _read(rows: Sequence[Stored], kind: Protection) -> None:
    for stored in rows:
        event_of(1, stored.row, stored.parts.__getitem__, kind)


def _scan(kind: Protection, encoded: Sequence[bytes]) -> float:
    return _micros(lambda: [kind.redactor.suspects(text) for text in encoded], len(encoded))


def _bytes(stored: Sequence[Stored]) -> float:
    blocks = [pack(run) for run in split(one.row for one in stored)]
    return sum(len(b.rows) + len(b.sums) + len(b.data) for b in blocks) / len(stored)


def _micros(work: Callable[[], object], count: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best / max(1, count) * 1e6
