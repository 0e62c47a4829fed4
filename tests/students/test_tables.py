"""What is worked out once, or for all slots at once, must be what it would be alone."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact import figures
from ultracore.distillation.students.compact.actions import ActionEvidence
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.matching import Matcher
from ultracore.distillation.students.compact.per_tool import REMEMBERED, PerTool
from ultracore.distillation.students.compact.sources import Sources
from ultracore.distillation.students.compact.sparse import document_of
from ultracore.distillation.students.compact.tables import (
    ARGUMENT_FEATURES,
    ARGUMENT_FEATURES_BEFORE_TOPICS,
    lay_out,
    without,
)
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.fit import fit_compact

CITIES = ["Adastra", "Belmont", "Corvus", "Dunmore", "Elgin", "Farrow"]
TRIP = Tool(
    "book_trip",
    "Book a trip",
    {
        "type": "object",
        "properties": {
            "start": {"type": "string", "description": "where it begins"},
            "end": {"type": "string"},
            "seats": {"type": "integer"},
            "class": {"type": "string", "enum": ["first", "second"]},
        },
        "required": ["start", "end"],
    },
)


def asked(number: int, rng: random.Random) -> Decision:
    start, end = rng.sample(CITIES, 2)
    seats, kind = rng.randrange(1, 7), rng.choice(["first", "second"])
    text = f"{seats} seats from {start} to {end}, {kind} class"
    call = ToolCall("book_trip", {"start": start, "end": end, "seats": seats, "class": kind})
    return Decision(
        state=State([{"role": "user", "content": text}], [TRIP]), calls=(call,), episode=f"e{number}", task=f"t{number}"
    )


@pytest.fixture(scope="module")
def evidence() -> ActionEvidence:
    rng = random.Random(0)
    return fit_compact([asked(i, rng) for i in range(30)], seed=0).student.evidence


def test_slots_laid_out_together_are_described_as_alone(evidence: ActionEvidence) -> None:
    rng = random.Random(2)
    slots = evidence.learned.knowledge.slots_of(TRIP)
    assert len(slots) == 4
    for number in range(5):
        transcript = Transcript(asked(100 + number, rng).state)
        row = evidence.encoder.encode(document_of(transcript))
        together, alone = (Sources(Candidates(transcript), row, evidence.learned) for _ in range(2))
        lay_out(slots, together)
        for slot in reversed(slots):
            lay_out((slot,), alone)
            mine, other = together.tables[slot.key], alone.tables[slot.key]
            assert mine.alternatives == other.alternatives
            assert len(mine.alternatives) > 1
            assert mine.rows.shape == (len(mine.alternatives), ARGUMENT_FEATURES)
            np.testing.assert_array_equal(mine.rows, other.rows)


def test_what_is_left_of_a_table_is_compared_with_what_is_left(evidence: ActionEvidence) -> None:
    rng = random.Random(1)
    slot = evidence.learned.knowledge.slots_of(TRIP)[0]
    transcript = Transcript(asked(100, rng).state)
    sources = Sources(Candidates(transcript), evidence.encoder.encode(document_of(transcript)), evidence.learned)
    lay_out((slot,), sources)
    table = sources.tables[slot.key]
    best = max(table.alternatives, key=lambda alternative: alternative.key)
    rest = without(table, {best.key}, may_end=True)
    assert best.key not in [key for _, _, key in rest.alternatives]
    assert len(rest.rows) == len(table.rows) - 1
    assert ((rest.rows <= table.rows.max(axis=0)) | (rest.rows == 0)).all()
    relative = slice(ARGUMENT_FEATURES_BEFORE_TOPICS - 6, ARGUMENT_FEATURES_BEFORE_TOPICS)
    assert (rest.rows[:, relative].max(axis=0) == 0).all(), "the best of those left is the measure"
    assert without(table, set(table.keys), may_end=False).rows.shape == (0, ARGUMENT_FEATURES)


def test_an_index_of_tools_that_come_again_says_what_each_description_says() -> None:
    tools = [
        Tool("weather", "Weather forecast for a city"),
        Tool("table", "Book a table in a restaurant of the city"),
        Tool("taxi", "Call a taxi"),
    ]
    matcher = Matcher({"city": 2.0, "table": 3.0})
    for text in ("a table in the city", "will it rain?", "taxis, please, to the weather station"):
        transcript = Transcript(State([{"role": "user", "content": text}], tools))
        again = [matcher.similarities(transcript) for _ in range(3)]
        apart = {tool.name: Matcher({"city": 2.0, "table": 3.0}).similarities(
            Transcript(State([{"role": "user", "content": text}], [tool])))[tool.name] for tool in tools}  # fmt: skip
        assert again == [apart] * 3
    assert apart["weather"] > 0


def test_a_fact_of_a_tool_is_worked_out_once_and_never_of_another_tool() -> None:
    calls: list[str] = []

    def work_out(tool: Tool) -> str:
        calls.append(tool.name)
        return tool.name

    fact = PerTool(work_out)
    first = Tool("first")
    assert [fact(first), fact(first)] == ["first"] * 2
    assert calls == ["first"]
    # tools that die at once leave their identity to the next; what is remembered must not
    assert all(fact(Tool(f"t{i}")) == f"t{i}" for i in range(REMEMBERED + 100))


def test_known_values_that_nobody_said_are_described_as_any_other(
    evidence: ActionEvidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    slots = evidence.learned.knowledge.slots_of(TRIP)

    def rows(transcript: Transcript) -> list[np.ndarray]:
        sources = Sources(Candidates(transcript), evidence.encoder.encode(document_of(transcript)), evidence.learned)
        lay_out(slots, sources)
        return [sources.tables[slot.key].rows for slot in slots]

    transcripts = [Transcript(asked(100 + number, rng).state) for number in range(5)]
    short = [rows(transcript) for transcript in transcripts]
    silent = []
    monkeypatch.setattr(figures._Known, "silent", lambda known, *about: silent.append(_silent(known, *about)) or {})
    for mine, transcript in zip(short, transcripts, strict=True):
        for row, other in zip(mine, rows(transcript), strict=True):
            np.testing.assert_array_equal(row, other)
    assert sum(map(len, silent)) > 20


_silent = figures._Known.silent
