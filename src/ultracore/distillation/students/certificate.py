"""The certificate: which calls a student may send by itself, and how sure one may be of them.

"Of the calls this student sends itself, at least `target` agree with the teacher, with confidence
1 - `delta`"; of tools that may do harm, at least their own level. A refusal is a certificate too
(`certified` is false): then nothing is sent. Evaluation, report and gateway all ask `accepts`, so that
what was certified is what is served and what is counted. What this file does not know: how the
thresholds were chosen and tested (`train.certify`), and why a tool has its level (`policy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ultracore.distillation.agreement import Comparator
from ultracore.distillation.decisions import Message, prompt_fingerprint
from ultracore.distillation.students.base import Proposal
from ultracore.distillation.students.prompt_shapes import PromptShapes
from ultracore.distillation.tools import fingerprint

__all__ = ["Certificate", "RiskClass"]

Level = Literal["whole_call", "tool"]


class RiskClass(msgspec.Struct, frozen=True, kw_only=True):
    """One statement of a certificate: about the calls of tools that share a level.

    Attributes:
        target: Agreement among their sent calls (0..1).
        certified: Whether it was shown; if not, none of their calls is sent.
        reason: One sentence for a person.
        tools: The tools; none means all that no other class names.
        alone: Actions for which the level was also shown by their own calls, each with confidence 1 - delta.
        method: Name of the test.
        sent: Calibration decisions that would be sent.
        agreeing: Those of them that agree with the teacher.
        lower_bound: As of the certificate.
        cap: As of the certificate.
        more_units: As of the certificate.
    """

    target: float
    certified: bool
    reason: str = ""
    tools: list[str] = []
    alone: list[str] = []
    method: str = ""
    sent: int = 0
    agreeing: int = 0
    lower_bound: float | None = None
    cap: float | None = None
    more_units: int | None = None


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A statement about one model, one teacher and one set of calibration episodes.

    Attributes:
        certified: Whether the statement holds; if not, `reason` says why and everything escalates.
        reason: One sentence for a person.
        level: `whole_call` (tool and arguments), or `tool` where no arguments were recorded.
        target: T, the agreement that is guaranteed among sent calls (0..1).
        delta: Probability that the guarantee is wrong (0..1).
        thresholds: Least confidence to send a call, by action; an action that is absent is never sent.
        pooled: Whether the guarantee is over all actions together, not for each one.
        method: Name of the test, such as `exact_binomial` or `betting`.
        units: Independent calibration units (tasks or episodes).
        decisions: Calibration decisions.
        sent: Calibration decisions that the student would send.
        agreeing: Those of them that agree with the teacher.
        coverage: sent / decisions.
        lower_bound: Lower bound of the agreement at confidence 1 - delta, where the method gives one; for
            these thresholds alone, without allowing for their choice (the guarantee is `target`).
        cap: How many sent calls of one unit count in full; a longer unit counts for so many, in proportion.
        more_units: About how many more units a certificate needs, where it was refused for want of data.
        data_id: Fingerprint of the calibration decisions.
        model_id: The student.
        teacher: The teacher model.
        tools: Fingerprint of each tool's definition at calibration.
        prompts: Fingerprints of the system prompts seen.
        prompt_shapes: Which others are covered, that differ from these as those of its tasks differ; `None`: none.
        alone: Actions for which their level was also shown by their own calls, each with confidence 1 - delta.
        levels: The level of each tool whose own was decided (destructive, or the user's word); `target` is the others'.
        never: Tools whose calls always go to the teacher.
        classes: The statements, one a level; empty in certificates of older versions, which make one.
        policy: Fingerprint of the user's policy, "" where there was none.
        comparators: How arguments compare, by tool and argument, where the user declared it.
    """

    certified: bool
    reason: str = ""
    level: Level = "whole_call"
    target: float = 0.93
    delta: float = 0.05
    thresholds: dict[str, float] = {}
    pooled: bool = True
    method: str = ""
    units: int = 0
    decisions: int = 0
    sent: int = 0
    agreeing: int = 0
    coverage: float = 0.0
    lower_bound: float | None = None
    cap: float | None = None
    more_units: int | None = None
    data_id: str = ""
    model_id: str = ""
    teacher: str = ""
    tools: dict[str, str] = {}
    prompts: list[str] = []
    alone: list[str] = []
    levels: dict[str, float] = {}
    never: list[str] = []
    classes: list[RiskClass] = []
    policy: str = ""
    comparators: dict[str, dict[str, Comparator]] = {}
    prompt_shapes: PromptShapes | None = None

    @property
    def agreement(self) -> float | None:
        """Share of the sent calibration calls that agree; `None` where none was sent."""
        return self.agreeing / self.sent if self.sent else None

    @property
    def fingerprint(self) -> str:
        """Equal for equal content; a certificate from before there were shapes keeps its own."""
        content = msgspec.to_builtins(self)
        if self.prompt_shapes is None:
            del content["prompt_shapes"]
        return fingerprint(content)

    def covers_prompt(self, messages: Sequence[Message]) -> bool:
        """Whether it speaks about conversations with this system prompt; one without prompts does so of all."""
        if not self.prompts or prompt_fingerprint(messages) in self.prompts:
            return True
        return self.prompt_shapes is not None and self.prompt_shapes.covers(messages)

    def level_of(self, tool: str) -> float:
        """The agreement demanded of this tool's calls."""
        return self.levels.get(tool, self.target)

    def is_sendable(self, proposal: Proposal) -> bool:
        """Whether it could be sent if it were sure enough: a complete call, of tools that may go out, of one level."""
        if not proposal.calls or proposal.missing:
            return False
        names = {call.name for call in proposal.calls}
        return names.isdisjoint(self.never) and len({self.level_of(name) for name in names}) == 1

    def accepts(self, proposal: Proposal) -> bool:
        """Whether the gate lets this proposal out: sendable, and sure enough for its action."""
        if not self.certified or not self.is_sendable(proposal):
            return False
        return proposal.confidence >= self.thresholds.get(proposal.action, float("inf"))
