"""A phrase that stood for a value of one tool's argument stands for it elsewhere too."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.artefact import load_student
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.knowledge import Knowledge
from ultracore.distillation.students.compact.paraphrases import Paraphrases, phrases_in
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.sources import Sources
from ultracore.distillation.students.compact.sparse import document_of
from ultracore.distillation.students.compact.student import CompactStudent, Rankers
from ultracore.distillation.students.compact.tables import ARGUMENT_FEATURES_BEFORE_PARAPHRASES
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.examples import Example, prepare
from ultracore.distillation.train.fit import FitResult, fit_compact
from ultracore.distillation.train.gazetteers import fit_gazetteer
from ultracore.distillation.train.paraphrasing import fit_paraphrases

TOWNS = {"Philadelphia": "philly", "Los Angeles": "lax", "Chicago": "chi town", "New York": "the big apple"}
PLAIN = ("Boston", "Denver", "Dallas", "Houston", "Phoenix", "Austin", "Memphis", "Tucson", "Omaha", "Tulsa") * 4
ASKED = {"weather": "Is it sunny in {} now?", "stay": "I need a bed in {} tonight"}
ARGUMENT = {"weather": "city", "stay": "where"}


def tool(name: str) -> Tool:
    argument = {ARGUMENT[name]: {"type": "string"}}
    return Tool(name, name, {"type": "object", "properties": argument, "required": [ARGUMENT[name]]})


TOOLS = [tool("weather"), tool("stay")]


def asked(number: int, name: str, town: str, said: str) -> Decision:
    state = State([{"role": "user", "content": ASKED[name].format(said)}], TOOLS)
    return Decision(
        state=state, calls=(ToolCall(name, {ARGUMENT[name]: town}),), episode=f"e{number}", task=f"{number}"
    )


def training() -> list[Decision]:
    """Nicknames are only used where the weather is asked for; every town is also named, to both tools."""
    rng = random.Random(0)
    cases = [("weather", town, said) for town, said in TOWNS.items() for _ in range(12)]
    cases += [(name, town, town) for name in ASKED for town in (*TOWNS, *TOWNS, *PLAIN)]
    rng.shuffle(cases)
    return [asked(number, *case) for number, case in enumerate(cases)]


@pytest.fixture(scope="module")
def fit() -> FitResult:
    return fit_compact(training(), seed=0)


def test_what_was_said_to_one_tool_means_the_same_to_another(fit: FitResult) -> None:
    cases = [asked(number, "stay", town, said) for number, (town, said) in enumerate(TOWNS.items())]
    assert all(strict(fit.student.propose(d.state).calls, d.calls, TOOLS) for d in cases)


def test_the_phrase_that_explains_a_value_keeps_the_credit(fit: FitResult) -> None:
    found = fit.student.evidence.learned.paraphrases
    assert found is not None
    assert found.values["philly"]["Philadelphia"] > 0.3
    assert not {"is it", "sunny", "now"} & found.values.keys()
    assert "boston" not in found.values


def test_values_that_two_arguments_take_are_of_both_kinds(fit: FitResult) -> None:
    known = fit.student.evidence.learned.gazetteer
    where, colour = known.takers(["where"]), known.takers(["colour"])
    assert where == {"where", "city"}
    assert [known.kind(key, where) for key in ("Philadelphia", "Boston", "philly")] == [1, 1, 0]
    assert known.kind("Boston", colour) == -1


def test_values_are_known_again_by_their_hash(fit: FitResult) -> None:
    rows = [asked(number, "stay", town, town) for number, town in enumerate(("Ys", "Ur"))]
    known = fit_gazetteer(prepare(rows).examples, fit.student.evidence.learned.knowledge)
    assert [known.kind(key, known.takers(["where"])) for key in ("Ys", "Ur", "Boston")] == [1, 1, 0]
    assert b"Ys" not in msgspec.json.encode(known)


def test_a_value_is_new_until_the_next_result(fit: FitResult) -> None:
    call = {"id": "1", "function": {"name": "weather", "arguments": '{"city": "Chicago"}'}}
    said = [{"role": "user", "content": "the weather in the big apple"}, {"role": "assistant", "content": "Now?"}]
    said += [{"role": "user", "content": "Or in Boston, why not"}]
    done = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "1", "content": "Fine."}]

    def freshness(messages: list[dict[str, Any]]) -> list[float]:
        transcript = Transcript(State(messages, TOOLS))
        sources = Sources(Candidates(transcript), fit.student.evidence.encoder.encode(document_of(transcript)), learned)
        return [sources.freshness(key, key) for key in ("New York", "Boston", "Chicago")]

    learned = fit.student.evidence.learned
    assert freshness(said) == [1.0, 1.0, 0.0]
    assert freshness([*said, *done, {"role": "user", "content": "Thanks"}]) == [0.0, 0.0, 0.0]


def test_the_newest_turn_that_means_a_value_says_how_likely_it_is() -> None:
    shares = {"philly": 0.5, "in philly": 0.5, "brotherly": 0.9}
    known = Paraphrases({phrase: {"Philadelphia": share} for phrase, share in shares.items()})
    turns = [{"role": "user", "content": text} for text in ("the brotherly town", "I mean in Philly", "yes")]
    meant = known.meant(Transcript(State(turns, [])))["Philadelphia"]
    assert meant.probability == pytest.approx(0.75)
    assert sorted(mention.age for mention in meant.mentions) == [1, 1, 2]
    assert known.meant(Transcript(State(turns[2:], []))) == {}


def test_phrases_have_up_to_three_words() -> None:
    found = phrases_in("A b-c D a")
    assert sorted(found) == ["a", "a b", "a b c", "b", "b c", "b c d", "c", "c d", "c d a", "d", "d a"]
    assert (found["a"], found["c d"]) == (0, 4)


def long_talks(times: int) -> tuple[list[Example], Knowledge]:
    """Calls whose values nobody had said, two tasks for each, in much that is never said again."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    said = [" ".join("".join(rng.choices(letters, k=5)) for _ in range(500)) for _ in range(2 * times)]
    examples = prepare([asked(n, "stay", f"Town{n // 2}", text) for n, text in enumerate(said)]).examples
    return examples, Knowledge.count([e.decision for e in examples], [e.pool for e in examples], {}, [])


def memory_of(times: int) -> tuple[int, int]:
    """Bytes that a fit takes at once, and those that it leaves behind."""
    examples, knowledge = long_talks(times)
    knowledge.slots_of(TOOLS[1])
    tracemalloc.start()
    try:
        fit_paraphrases(examples, knowledge)
        now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return most, now


def test_a_fit_holds_the_phrases_of_one_value_at_a_time() -> None:
    (few, _), (many, kept) = memory_of(4), memory_of(16)
    assert many < 2 * few
    assert kept < few / 4


def test_nothing_is_learned_where_every_value_was_said() -> None:
    examples = prepare([asked(n, "stay", town, town) for n, town in enumerate(PLAIN)]).examples
    assert (
        fit_paraphrases(examples, Knowledge.count([e.decision for e in examples], [e.pool for e in examples], {}, []))
        is None
    )


def test_a_phrase_counts_once_a_task() -> None:
    again = State([{"role": "user", "content": "windy"}], TOOLS)
    rows = [msgspec.structs.replace(asked(n, "stay", "Chicago", ""), state=again, task="one") for n in range(9)]
    examples = prepare(rows).examples
    knowledge = Knowledge.count(rows, [e.pool for e in examples], {}, [])
    assert fit_paraphrases(examples, knowledge) is None
    rows.append(msgspec.structs.replace(rows[0], task="other"))
    found = fit_paraphrases(prepare(rows).examples, knowledge)
    assert found is not None
    assert found.values == {"windy": {"Chicago": 0.5}}


def test_a_loaded_student_hears_the_same(fit: FitResult, tmp_path: Path) -> None:
    fit.student.save(tmp_path / "model")
    loaded = load_student(tmp_path / "model")
    states = [asked(0, "stay", town, said).state for town, said in TOWNS.items()]
    assert loaded.evidence.learned.paraphrases == fit.student.evidence.learned.paraphrases
    assert loaded.evidence.learned.gazetteer == fit.student.evidence.learned.gazetteer
    assert [loaded.propose(state) for state in states] == [fit.student.propose(state) for state in states]


def test_a_student_from_before_is_loaded_and_hears_none(fit: FitResult, tmp_path: Path) -> None:
    ranker, learned = fit.student.rankers.arguments, fit.student.evidence.learned
    assert ranker is not None
    width = ARGUMENT_FEATURES_BEFORE_PARAPHRASES
    cut = {name: ranker.arrays[name][..., :width] for name in ("mean", "scale")} | {
        "w1": ranker.arrays["w1"][:, :width]
    }
    old = CompactStudent(
        fit.student.evidence._replace(learned=learned._replace(paraphrases=None)),
        Rankers(
            fit.student.rankers.actions,
            Ranker({**ranker.arrays, **cut}),
            fit.student.rankers.calls,
            fit.student.rankers.gate,
        ),
        fit.student.memory,
    )
    old.save(tmp_path / "old")
    decision = asked(0, "stay", "New York", "the big apple")
    proposed = load_student(tmp_path / "old").propose(decision.state)
    assert proposed.action == "stay"
    assert not strict(proposed.calls, decision.calls, TOOLS)
