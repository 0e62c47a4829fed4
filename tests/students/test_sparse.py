"""Sparse features: letters make forms of a word alike, older students know none, and the penalty suits the data."""

from __future__ import annotations

import random

import numpy as np

from ultracore.distillation.decisions import State
from ultracore.distillation.students.compact.sparse import FIELDS, Document, SparseEncoder, Vector, document_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.train.linear import STRENGTHS, choose_strength, fit_softmax


def document(text: str) -> Document:
    return document_of(Transcript(State([{"role": "user", "content": text}], [])))


def shared(a: str, b: str, field: str) -> set[str]:
    return set(document(a)[field]) & set(document(b)[field])


def test_forms_and_misspellings_of_a_word_have_letters_in_common() -> None:
    assert not shared("exchanging", "exchanges", "user")
    assert {" ex", "han", "ngi"} - shared("exchanging", "exchanges", "letters") == {"ngi"}
    assert len(shared("declined payment", "declind paymnet", "letters")) >= 5


def test_numbers_have_no_letters_and_short_words_only_their_ends() -> None:
    assert document("1234 5678")["letters"] == {}
    assert set(document("I a")["letters"]) == {" i ", " a "}


def test_only_the_beginning_of_a_long_message_is_read_letter_by_letter() -> None:
    assert "xyz" not in document("word " * 80 + "xyz")["letters"]


def test_a_student_that_knows_no_letters_still_reads() -> None:
    now = SparseEncoder.fit([document("pay it back"), document("pay it back now")], ["1", "2"])
    before = SparseEncoder(
        {field: names for field, names in now.names.items() if field != "letters"},
        {field: scales for field, scales in now.scales.items() if field != "letters"},
    )
    row = before.compile().encode(document("pay it back"))
    assert len(row.columns) == len(now.compile().encode(document("pay it back")).columns) - len(now.names["letters"])
    assert before.compile().width == now.compile().width - len(now.names["letters"])
    assert "letters" in FIELDS


def test_the_penalty_is_strong_where_words_mislead_and_weak_where_each_means_one_tool() -> None:
    rng, ones = random.Random(0), np.ones(240)
    telling = [Vector(np.array([n % 60], np.int32), np.ones(1, np.float32)) for n in range(300)]
    names = [f"tool_{n % 60}" for n in range(300)]
    chosen = choose_strength(telling[60:], 60, names[60:], ones, (telling[:60], names[:60]))
    assert chosen.c == max(STRENGTHS)
    assert chosen.model is not None
    assert np.array_equal(chosen.model.weights, fit_softmax(telling[60:], 60, names[60:], ones, c=chosen.c).weights)
    noise = [Vector(np.array(rng.sample(range(400), 20), np.int32), np.ones(20, np.float32)) for _ in range(300)]
    either = [rng.choice(["a", "b"]) for _ in range(300)]
    assert choose_strength(noise[60:], 400, either[60:], ones, (noise[:60], either[:60])).c == min(STRENGTHS)


def test_without_anything_held_the_penalty_is_the_strong_one() -> None:
    row = Vector(np.array([0], np.int32), np.ones(1, np.float32))
    assert choose_strength([row] * 4, 1, ["a", "b"] * 2, np.ones(4), ([], [])) == (STRENGTHS[0], None)


def test_a_field_encoded_before_is_what_it_would_be_afresh() -> None:
    said = ["pay it back", "no, pay now", "thanks"]
    turns = [{"role": role, "content": text} for text in said for role in ("user", "assistant")]
    states = [State(turns[:n], []) for n in range(1, len(turns) + 1)] * 2
    documents = [document_of(Transcript(state)) for state in states]
    encoder = SparseEncoder.fit(documents, [str(number) for number in range(len(documents))])
    warm = encoder.compile()
    for document in documents:
        row, afresh = warm.encode(document), encoder.compile().encode(document)
        assert row.columns.tolist() == afresh.columns.tolist()
        assert row.amounts.tolist() == afresh.amounts.tolist()
        names = [name for field in FIELDS for name in encoder.names[field]]
        crossed = {name for field in ("user", "reply") for name in document[field] if "|" in name}
        assert crossed <= {names[column] for column in row.columns}
    assert any(name.startswith("R>U|") for name in encoder.names["user"])
    assert len(warm.encode(document_of(Transcript(State([{"role": "user", "content": "pay"}], [])))).columns) > 0
