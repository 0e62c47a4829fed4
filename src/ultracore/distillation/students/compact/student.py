"""The compact student: whole calls proposed by numpy and plain Python in milliseconds.

Tiers: a cache of contexts seen before; a ranking of the actions offered now; a ranking of candidate
values for each argument; a ranking of whole calls with a calibrated confidence. What this file does
not know: how it was trained (`train.fit`), and what confidence is enough (`students.certificate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import msgspec
import numpy as np

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.compact.actions import ActionEvidence
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.drafts import Draft, draft_calls
from ultracore.distillation.students.compact.familiarity import Familiarity
from ultracore.distillation.students.compact.logistic import Logistic
from ultracore.distillation.students.compact.memory import ContextMemory
from ultracore.distillation.students.compact.parallel import complete
from ultracore.distillation.students.compact.ranker import Ranker
from ultracore.distillation.students.compact.sources import Sources
from ultracore.distillation.students.compact.sparse import document_of
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.students.compact.triggers import NO_TRIGGERS, Triggers
from ultracore.distillation.students.schema import is_valid
from ultracore.distillation.tools import ToolCall, canonical_json

__all__ = ["CompactStudent", "Rankers", "select", "standing_in", "whole_message"]

ANYTHING = Familiarity()


class Rankers:
    """The fitted rankers.

    Args:
        actions: Ranks actions.
        arguments: Ranks candidate values; `None` where no argument was ever seen.
        calls: Ranks drafts by the tolerant agreement of their first call: which one to propose.
        gate: Probability that all calls of a message agree strictly: how sure the proposal is.
        trust: How much the likelihood of a draft weighs beside the score of `calls`; 0 in earlier releases.
    """

    def __init__(
        self, actions: Ranker, arguments: Ranker | None, calls: Ranker, gate: Logistic, trust: float = 0.0
    ) -> None:
        self.actions = actions
        self.arguments = arguments
        self.calls = calls
        self.gate = gate
        self.trust = trust


def select(drafts: Sequence[Draft], calls: Ranker, trust: float) -> Draft:
    """Which draft to propose: by the ranker's score, and by how likely it is (`Rankers.trust`)."""
    scores = calls.scores(np.stack([draft.features for draft in drafts]))
    return drafts[int((scores + trust * np.array([draft.likelihood for draft in drafts])).argmax())]


def whole_message(
    first: Draft, sources: Sources, evidence: ActionEvidence, actions: Ranker, arguments: Ranker | None
) -> Draft:
    """A draft with all further calls of its message, each the likeliest once those before it are pending.

    `sources` are those that the draft was filled from.
    """

    def next_draft(pending: tuple[ToolCall, ...]) -> Draft:
        transcript = sources.pool.transcript.going_on(pending)
        row = evidence.encoder.encode(document_of(transcript))
        going_on = sources.going_on(Candidates(transcript), row)
        return draft_calls(going_on, evidence, actions, arguments, most=1)[0]

    return complete(first, evidence.learned.knowledge.may_go_on, next_draft)


class CompactStudent:
    """Implements `students.base.Student`.

    Args:
        evidence: Linear models, n-grams and argument counts.
        rankers: The rankers.
        memory: Contexts seen in training.
        model_id: Hash of the artefact.
        familiarity: Says which messages are too strange to be sure of anything.
        triggers: Phrases of users that forced a call in training; where one is heard it is sure of nothing.
        teacher: Whom it stands in for, "" where only one teacher was learned from.
    """

    def __init__(
        self,
        evidence: ActionEvidence,
        rankers: Rankers,
        memory: ContextMemory,
        model_id: str = "",
        familiarity: Familiarity = ANYTHING,
        triggers: Triggers = NO_TRIGGERS,
        teacher: str = "",
    ) -> None:
        self.evidence = evidence
        self.rankers = rankers
        self.memory = memory
        self.familiarity = familiarity
        self.triggers = triggers
        self.teacher = teacher
        self._model_id = model_id

    @property
    def model_id(self) -> str:
        """Hash of the artefact, or "" for a student that was never saved."""
        return self._model_id

    def propose(self, state: State) -> Proposal:
        """What the teacher would probably do now; see `students.base.Student`."""
        remembered = self.recall(state)
        if remembered is not None:
            return remembered
        transcript = self.evidence.prompts.read(state, teacher=self.teacher)
        row = self.evidence.encoder.encode(document_of(transcript))
        rankers = self.rankers
        sources = Sources(Candidates(transcript), row, self.evidence.learned)
        drafts = draft_calls(sources, self.evidence, rankers.actions, rankers.arguments)
        first = select(drafts, rankers.calls, rankers.trust)
        whole = whole_message(first, sources, self.evidence, rankers.actions, rankers.arguments)
        proposal = proposal_of(whole, rankers.gate, transcript)
        sure = self.familiarity.is_familiar(state) and not self.triggers.are_in(transcript)
        return proposal if sure else msgspec.structs.replace(proposal, confidence=0.0)

    def standing_in_for(self, teacher: str) -> CompactStudent:
        """The same student, foretelling another of the teachers that it learned from; all are one if there was one.

        Args:
            teacher: Its name; "" for the one that it stands in for already.
        """
        other = copy(self)
        other.teacher = (teacher or self.teacher) if self.teacher else ""
        return other

    def recall(self, state: State) -> Proposal | None:
        """What the context memory says; see `students.base.Recalls`."""
        return self.memory.recall(state, self.teacher)

    def propose_batch(self, states: Sequence[State]) -> list[Proposal]:
        """As `propose` on each state; equal states are answered once."""
        answers: dict[tuple[bytes, tuple[int, ...]], Proposal] = {}
        proposals = []
        for state in states:
            asked = canonical_json(state.messages), tuple(map(id, state.tools))  # tools of one name may differ
            if asked not in answers:
                answers[asked] = self.propose(state)
            proposals.append(answers[asked])
        return proposals

    def save(self, folder: Path) -> str:
        """Write the student to a folder; returns the id under which `load_student` brings it back."""
        from ultracore.distillation.students.compact.artefact import save_student  # which knows this class

        return save_student(self, folder)


def standing_in(student: CompactStudent, decisions: Sequence[Decision]) -> list[CompactStudent]:
    """For each decision, the student as it foretells the one who decided."""
    views = {teacher: student.standing_in_for(teacher) for teacher in {decision.teacher for decision in decisions}}
    return [views[decision.teacher] for decision in decisions]


def proposal_of(draft: Draft, gate: Logistic, transcript: Transcript) -> Proposal:
    """A whole message as a proposal; arguments that break the offered schema count as missing."""
    confidence = float(gate.probabilities(draft.features[None])[0])
    missing = draft.missing
    for call in draft.calls:
        if not missing and not is_valid(transcript.tools[call.name], call.arguments or {}):
            missing = (f"{call.name}: arguments break the schema",)
    return Proposal(draft.calls, 0.0 if missing else confidence, missing)
