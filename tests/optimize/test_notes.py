"""What the mined notes say: the words that tell one answer from the others, each once, and how often it is given."""

from __future__ import annotations

from typing import Any

import pytest

from ultracore.distillation.optimize.notes import NotesReflection
from ultracore.distillation.optimize.reflection import Observation, ReflectionFailed
from ultracore.distillation.students.prompted.prompt import parse_prompt

TRAIN = [
    {"input": text, "output": tool}
    for tool, texts in {
        "cross": ["the zebra crossing number 17", "a zebra crossing there"] * 3,
        "board": ["skating board there", "skating is fun, a board helps", "a black board there"] * 1,
    }.items()
    for text in texts
]


def mined(prompt: str = "Choose.", missed: str = "cross", train: Any = TRAIN) -> Any:
    seen = [Observation("the zebra crossing", missed, 0.0, "")]
    return parse_prompt(NotesReflection(train).propose(prompt, seen, None))  # type: ignore[arg-type]


def test_words_that_tell_it_apart_and_no_pair_that_repeats_one() -> None:
    notes = mined().notes
    assert {"zebra", "cross"} <= set(notes["cross"].words)
    assert "zebra cross" not in notes["cross"].words, "it comes whenever zebra does"
    assert "there" not in notes["cross"].words
    assert not any(any(c.isdigit() for c in word) for word in notes["cross"].words)


def test_it_says_how_often_and_gives_each_answer_a_note() -> None:
    notes = mined().notes
    assert (notes["cross"].share, notes["board"].share) == (67, 33)


def test_a_mistake_that_says_nothing_new_proposes_nothing() -> None:
    with pytest.raises(ReflectionFailed):
        mined(missed="never seen", train=[])
