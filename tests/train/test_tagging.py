"""The tagger: decoding is exact, fitting follows the gradient, and values come back as they were written."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.crf import MAX_REPAIRS, Chain
from ultracore.distillation.students.compact.slots import slots_of
from ultracore.distillation.students.compact.sparse import Vector
from ultracore.distillation.students.compact.tagger import Tagger, pack_lines, unpack_lines
from ultracore.distillation.students.compact.tokens import MAX_TOKENS, Lexicon, Use, describe, phrase_of, tokens_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train import tagging
from ultracore.distillation.train.crf import _Likelihood, fit_crf, pack
from ultracore.distillation.train.examples import Example
from ultracore.distillation.train.tagging import fit_tagger

TEXT = {"type": "string"}
SHIP = Tool(
    "ship",
    parameters={
        "properties": {
            "goods": TEXT,
            "to": {"type": "object", "properties": {"port": TEXT}},
            "marks": {"type": "array", "items": TEXT},
            "ledger": TEXT,
        }
    },
)
SYLLABLES = ["ba", "to", "li", "mu", "ren", "sor", "ka", "vel", "dim"]


def word(i: int) -> str:
    """A word of its own for each number."""
    return SYLLABLES[i % 9] + SYLLABLES[i // 9 % 9] + SYLLABLES[i // 81 % 9]


ASKS = ["ship {goods} to {port}", "please send {goods} over to {port} now", "to {port}: {goods}, marked {a} and {b}"]


def example(text: str, arguments: dict[str, Any] | None, task: str, *later: dict[str, Any]) -> Example:
    calls = (ToolCall("ship", arguments),)
    messages = [{"role": "user", "content": text}, *later]
    decision = Decision(state=State(messages, [SHIP]), calls=calls, episode=task, task=task)
    transcript = Transcript(decision.state)
    nothing = Vector(np.zeros(0, np.int32), np.zeros(0, np.float32))
    return Example(decision, transcript, Candidates(transcript), nothing, frozenset())


def asked(n: int) -> list[Example]:
    out = []
    for i in range(n):
        goods = f"{word(i)} {word(7 * i + 3)}" if i % 2 else word(11 * i)
        port = f"{word(5 * i + 1)} {word(i + 400)}".title() if i % 5 < 2 else word(i + 200).title()
        ask = ASKS[i % 3]
        arguments: dict[str, Any] = {"goods": goods, "to": {"port": port}, "ledger": f"entry {i}"}
        if "{a}" in ask:
            arguments["marks"] = ["fragile", f"lot{i}"]
        out.append(example(ask.format(goods=goods, port=port, a="fragile", b=f"lot{i}"), arguments, f"t{i}"))
    return out


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    found = fit_tagger(asked(120), slots_of)
    assert found is not None
    return found


def values(tagger: Tagger, text: str) -> list[tuple[str, str]]:
    return [(spoken.slot, spoken.value) for spoken in tagger.read("ship", text).best]


def test_values_never_seen_are_read_as_they_were_written(tagger: Tagger) -> None:
    text = "please send  Fine  mangoes over to Porto  Alegre now"
    assert values(tagger, text) == [("ship/goods", "Fine  mangoes"), ("ship/to/port", "Porto  Alegre")]
    for spoken in tagger.read("ship", text).spans:
        assert text[spoken.start :].startswith(spoken.value)


def test_texts_that_are_read_together_say_what_each_says_alone(tagger: Tagger) -> None:
    texts = [
        "ship salt to Riga",
        "",
        "please ship four crates of tin and copper to Split tomorrow",
        "ship salt to Riga",
    ]
    alone = [span for text in texts for span in tagger.read("ship", text).spans]
    assert alone
    fresh = Tagger(tagger.config, tagger.arrays)
    assert [fresh.spans("ship", texts), fresh.spans("ship", texts)] == [alone, alone]


def test_a_list_slot_has_several_values_and_a_scalar_one(tagger: Tagger) -> None:
    text = "to Genoa: silk, marked fragile and lot99"
    assert [value for slot, value in values(tagger, text) if slot == "ship/marks"] == ["fragile", "lot99"]
    assert dict(zip(tagger.config["tools"][0]["slots"], tagger.config["tools"][0]["single"], strict=True)) == {
        "ship/goods": True,
        "ship/marks": False,
        "ship/to/port": True,
    }


def test_a_slot_whose_values_are_not_in_the_text_is_not_spoken(tagger: Tagger) -> None:
    assert tagger.tools == ("ship",)
    assert "ship/ledger" not in tagger.config["tools"][0]["slots"]
    with pytest.raises(KeyError):
        tagger.read("sink", "anything")


def test_probabilities_are_high_on_what_is_familiar_and_bounded(tagger: Tagger) -> None:
    familiar, strange = tagger.read("ship", "ship salt to Riga"), tagger.read("ship", "Riga salt ship ship salt of")
    assert familiar.probability > 0.8 > strange.probability
    for reading in (familiar, strange):
        assert all(0.0 <= spoken.probability <= 1.0 for spoken in (*reading.best, *reading.spans))


def test_nothing_spoken_gives_no_tagger() -> None:
    assert fit_tagger([], slots_of) is None
    assert fit_tagger([example("do as usual", {"goods": f"g{i}"}, f"t{i}") for i in range(20)], slots_of) is None
    assert fit_tagger([example("ship salt", None, f"t{i}") for i in range(20)], slots_of) is None
    assert fit_tagger(asked(4), slots_of) is None


def test_a_decision_after_a_tool_result_teaches_only_if_the_user_said_a_value() -> None:
    result = {"role": "tool", "content": "done"}
    silent = [example("go on", {"goods": "tin"}, f"s{i}", result) for i in range(100)]
    said = [example("ship tin to Hull", {"goods": "tin", "to": {"port": "Hull"}}, f"r{i}", result) for i in range(9)]
    learned = fit_tagger([*silent, *said], slots_of)
    assert learned is not None  # the 100 silent values would have been 92 % of all
    assert ("ship/goods", "tin") in values(learned, "ship tin to Hull")


def test_fitting_is_deterministic_and_an_artefact_reads_the_same(tagger: Tagger) -> None:
    again = fit_tagger(asked(120), slots_of)
    assert again is not None
    assert again.config == tagger.config
    assert all(np.array_equal(again.arrays[name], array) for name, array in tagger.arrays.items())
    loaded = Tagger(json.loads(json.dumps(tagger.config)), {k: v.copy() for k, v in tagger.arrays.items()})
    text = "ship paper to Split"
    assert loaded.read("ship", text) == tagger.read("ship", text)


def test_too_many_sentences_are_sampled_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagging, "MAX_CELLS", 1200)
    fits = [fit_tagger(asked(60), slots_of, seed=seed) for seed in (0, 0, 1)]
    a, b, c = (fit.arrays["0/features"].tobytes() for fit in fits if fit is not None)
    assert a == b != c


@pytest.mark.parametrize("text", ["", " \n\t", "\ud83d", "\x00", "_", "a" * 50_000, "to Oslo: salt, " * 1000])
def test_any_text_is_read(tagger: Tagger, text: str) -> None:
    reading = tagger.read("ship", text)
    assert 0.0 <= reading.probability <= 1.0
    assert all(text[s.start : s.start + len(s.value)] == s.value for s in reading.best)


def test_the_own_task_does_not_vouch_for_a_value() -> None:
    one, two = {Use("red tea", "goods"), Use("red", "mark")}, {Use("red tea", "goods")}
    lexicon = Lexicon.count([one, two])
    assert lexicon.phrases["red tea"] == {"goods": 2}
    assert lexicon.words["red"] == {"goods": 2, "mark": 1}
    without = lexicon.without(one)
    assert list(without.matches(["the", "red", "tea"])) == [(1, 2, "goods", 1)]
    assert list(lexicon.matches(["the", "red", "tea"])) == [(1, 1, "mark", 1), (1, 2, "goods", 2)]
    assert without.hints("red") == ["goods4"]
    assert without.hints("mast") == ["-"]


def test_training_hides_the_own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Lexicon] = []

    def spy(tokens: Any, lexicon: Lexicon) -> list[list[str]]:
        seen.append(lexicon)
        return describe(tokens, lexicon)

    monkeypatch.setattr(tagging, "describe", spy)
    rare = example("ship zinc to Hull", {"goods": "zinc", "to": {"port": "Hull"}}, "rare")
    assert fit_tagger([*asked(30), rare], slots_of) is not None
    assert not list(seen[-1].matches(["zinc"]))
    assert list(seen[0].matches(["zinc"])) == [(0, 1, "goods", 1)]


@given(st.text(max_size=80))
def test_tokens_are_stretches_of_the_text(text: str) -> None:
    tokens = tokens_of(text)
    assert all(text[token.start : token.end] == token.text and token.text.strip() for token in tokens)
    assert "".join(token.text for token in tokens) == "".join(text.split())
    assert len(describe(tokens, Lexicon({}, {}))) == len(tokens)
    lines = [phrase_of(text), "x"]
    assert unpack_lines(pack_lines(lines)) == lines


def test_of_a_long_text_the_end_is_read() -> None:
    tokens = tokens_of("word " * 5000 + "end")
    assert len(tokens) == MAX_TOKENS
    assert tokens[-1].text == "end"


def random_chain(seed: int, slots: int = 2, single: bool = False) -> tuple[Chain, list[list[str]]]:
    random = np.random.default_rng(seed)
    n = 1 + 2 * slots
    chain = Chain(
        {f"f{i}": i for i in range(1, 6)},
        random.normal(size=(6, n)) * 2,
        random.normal(size=(n + 1, n)),
        [single] * slots,
    )
    return chain, [[f"f{i}" for i in random.integers(1, 8, 2)] for _ in range(4)]


def every_path(chain: Chain, features: list[list[str]]) -> dict[tuple[int, ...], float]:
    scores = chain._scores(features)
    weights = {}
    for path in itertools.product(range(len(chain.first)), repeat=len(features)):
        total = chain.first[path[0]] + sum(scores[i, s] for i, s in enumerate(path))
        total += sum(chain.incoming[b, a] for a, b in itertools.pairwise(path))
        if np.isfinite(total):
            weights[path] = float(np.exp(total))
    whole = sum(weights.values())
    return {path: weight / whole for path, weight in weights.items()}


def spans_in(path: tuple[int, ...]) -> set[tuple[int, int, int]]:
    """(slot, first, end) of each value, read off a path independently of the decoder."""
    found = set()
    for first, state in enumerate(path):
        if state % 2:
            end = first + 1
            while end < len(path) and path[end] == state + 1:
                end += 1
            found.add((state // 2, first, end))
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_decoding_is_exact(seed: int) -> None:
    chain, features = random_chain(seed)
    paths = every_path(chain, features)
    best = max(paths, key=lambda path: paths[path])
    decoded = chain.decode(features)
    assert {span[:3] for span in decoded.best} == spans_in(best)
    assert decoded.probability == pytest.approx(paths[best])
    marginals: dict[tuple[int, int, int], float] = {}
    for path, probability in paths.items():
        for span in spans_in(path):
            marginals[span] = marginals.get(span, 0.0) + probability
    likely = {span: p for span, p in marginals.items() if p >= 0.05}
    assert {span[:3]: span.probability for span in decoded.likely} == pytest.approx(likely)
    assert {s[:3]: s.probability for s in decoded.best} == pytest.approx({s: marginals[s] for s in spans_in(best)})


@pytest.mark.parametrize("seed", range(8))
def test_a_slot_that_takes_one_value_gets_one(seed: int) -> None:
    chain, features = random_chain(seed, single=True)
    decoded = chain.decode(features)
    assert MAX_REPAIRS >= 2
    assert len({span.slot for span in decoded.best}) == len(decoded.best)
    chosen = {tuple(sorted(span[:3] for span in decoded.best))}
    assert any(tuple(sorted(spans_in(path))) in chosen for path in every_path(chain, features))


def test_unknown_features_and_no_tokens_are_nothing() -> None:
    chain, _ = random_chain(0)
    assert chain.decode([]) == ([], 1.0, [])
    assert chain.decode([["new"], []]) == chain.decode([[], []])


def packed_problem() -> tuple[csr_matrix, Any, Any, int]:
    random = np.random.default_rng(0)
    packing = pack([2, 4, 1])
    features = csr_matrix((random.random((7, 5)) < 0.5).astype(float))
    sentences = [[1, 0], [0, 1, 2, 0], [1]]
    path = np.array([sentences[i][t] for t in range(4) for i in packing.order if t < len(sentences[i])])
    return features, path, packing, 1


def test_sentences_are_packed_longest_first() -> None:
    packing = pack([2, 4, 1])
    assert packing.order == [1, 0, 2]
    assert packing.blocks == [slice(0, 3), slice(3, 5), slice(5, 6), slice(6, 7)]
    assert packing.heads == [slice(0, 2), slice(3, 4), slice(5, 6), slice(6, 6)]


def test_the_gradient_is_that_of_the_likelihood() -> None:
    likelihood = _Likelihood(*packed_problem(), 0.3)
    theta = np.random.default_rng(1).normal(size=likelihood.size)
    _, gradient = likelihood(theta)
    step = 1e-5 * np.eye(likelihood.size)
    numeric = [(likelihood(theta + s)[0] - likelihood(theta - s)[0]) / 2e-5 for s in step]
    assert gradient == pytest.approx(np.array(numeric), abs=1e-5)


def test_the_likelihood_is_that_of_the_decoder() -> None:
    features, path, packing, slots = packed_problem()
    likelihood = _Likelihood(features, path, packing, slots, 0.0)
    theta = np.random.default_rng(2).normal(size=likelihood.size)
    weights, transitions = likelihood.parts(theta)
    rows = {f"c{i}": i + 1 for i in range(5)}
    chain = Chain(rows, np.vstack([np.zeros((1, 3)), weights]), transitions, [False])
    dense = features.toarray()
    total = 0.0
    for i, length in ((0, 2), (1, 4), (2, 1)):
        at = [packing.blocks[t].start + packing.order.index(i) for t in range(length)]
        named = [[f"c{j}" for j in np.flatnonzero(dense[row])] for row in at]
        total -= np.log(every_path(chain, named)[tuple(path[at].tolist())])
    assert likelihood(theta)[0] == pytest.approx(total, rel=1e-5)


def test_fitting_lowers_the_loss() -> None:
    features, path, packing, slots = packed_problem()
    likelihood = _Likelihood(features, path, packing, slots, 0.1)
    fitted = fit_crf(features, path, packing, slots, l2=0.1, iterations=50)
    theta = np.concatenate([part.ravel() for part in fitted]).astype(float)
    start, _ = likelihood(np.zeros(likelihood.size))
    end, gradient = likelihood(theta)
    assert end < 0.6 * start
    assert np.abs(gradient).max() < 0.05
