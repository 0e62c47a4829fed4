"""Which draft is proposed: by its ranker and by how likely it is; a student of an earlier release asks the ranker."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.artefact import load_student
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.drafts import DRAFT_FEATURES, LACKING, Draft, draft_calls
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.sources import Sources
from ultracore.distillation.students.compact.sparse import document_of
from ultracore.distillation.students.compact.student import CompactStudent, select
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train import layers
from ultracore.distillation.train.fit import fit_compact
from ultracore.distillation.train.layers import TRUST

ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
TOOLS = [Tool("get_order", "Look an order up", ORDER), Tool("open_ticket", "Tell a person")]


def asked(number: int) -> Decision:
    text, call = ("where is it?", ToolCall("open_ticket", {}))
    if number % 2:
        text, call = f"where is W{1000 + number}?", ToolCall("get_order", {"order_id": f"W{1000 + number}"})
    state = State([{"role": "user", "content": text}], TOOLS)
    return Decision(state=state, calls=(call,), episode=f"e{number}", task=f"t{number}")


@pytest.fixture(scope="module")
def student() -> CompactStudent:
    return fit_compact([asked(number) for number in range(40)], seed=0).student


def first_feature() -> Ranker:
    """Scores a draft about as high as its first feature."""
    w1 = np.zeros((1, DRAFT_FEATURES, 1), np.float32)
    w1[0, 0, 0] = 1.0
    ones = np.ones(DRAFT_FEATURES, np.float32)
    return Ranker({"mean": 0 * ones, "scale": ones, "w1": w1, "b1": np.zeros((1, 1), np.float32),
                   "w2": np.ones((1, 1), np.float32), "b2": np.zeros(1, np.float32)})  # fmt: skip


def test_a_likelier_draft_outweighs_a_little_higher_score() -> None:
    score, none = np.eye(1, DRAFT_FEATURES, dtype=np.float32)[0], np.zeros(DRAFT_FEATURES, np.float32)
    scored, likely = Draft((), (), score, 0.2, -1.6), Draft((), (), none, 0.8, -0.2)
    assert select([scored, likely], first_feature(), 0.0) is scored
    assert select([scored, likely], first_feature(), TRUST) is likely


def test_a_draft_is_as_likely_as_its_action_and_what_was_found(student: CompactStudent) -> None:
    evidence, state = student.evidence, State([{"role": "user", "content": ""}], TOOLS)
    transcript = evidence.prompts.read(state)
    sources = Sources(Candidates(transcript), evidence.encoder.encode(document_of(transcript)), evidence.learned)
    drafts = draft_calls(sources, evidence, student.rankers.actions, student.rankers.arguments, least=0.0)
    lacking = next(draft for draft in drafts if draft.missing)
    assert lacking.likelihood == pytest.approx(float(lacking.features[0] + lacking.features[15]) - LACKING, abs=1e-5)
    whole = next(draft for draft in drafts if not draft.missing)
    assert whole.likelihood == pytest.approx(np.log(whole.share), abs=1e-4)


def test_prose_that_nobody_is_asked_about_makes_no_draft_less_likely(student: CompactStudent) -> None:
    """Each optional one did, by the logarithm of a half: a tool with remarks lost against all without."""
    optional = Tool("get_order", "Look an order up", {"type": "object", "properties": ORDER["properties"]})
    transcript = student.evidence.prompts.read(State([{"role": "user", "content": "where is W1007?"}], [optional]))
    learned = student.evidence.learned
    prose = msgspec.structs.replace(learned.knowledge, free_text=["get_order/order_id"])
    evidence = student.evidence._replace(learned=learned._replace(knowledge=prose))
    sources = Sources(Candidates(transcript), evidence.encoder.encode(document_of(transcript)), evidence.learned)
    for ranker in (student.rankers.arguments, None):
        drafts = draft_calls(sources, evidence, student.rankers.actions, ranker, least=0.0)
        assert "get_order" in {call.name for draft in drafts for call in draft.calls}
        assert all(draft.likelihood == pytest.approx(draft.features[0]) for draft in drafts)


def test_what_is_held_out_is_proposed_with_the_trust_of_the_final_student(monkeypatch: pytest.MonkeyPatch) -> None:
    trusted: list[float] = []
    monkeypatch.setattr(layers, "select", lambda drafts, _, trust: trusted.append(trust) or drafts[0])
    fit_compact([asked(number) for number in range(40)], seed=0)
    assert set(trusted) == {TRUST}


def test_a_loaded_student_trusts_as_before_and_an_older_one_the_ranker_alone(
    student: CompactStudent, tmp_path: Path
) -> None:
    student.save(tmp_path / "new")
    assert load_student(tmp_path / "new").rankers.trust == student.rankers.trust == TRUST
    student.rankers.trust = 0.0
    student.save(tmp_path / "old")
    assert load_student(tmp_path / "old").rankers.trust == 0.0
    student.rankers.trust = TRUST
