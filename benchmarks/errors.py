"""Where does the student go wrong? Every disagreement of one division, by kind, by tool and by argument.

    python -m benchmarks errors --only telecom sgd

What this file does not know: how the student could do better.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.data import Part, Size, parts_of
from benchmarks.oracles import oracle_table
from benchmarks.sections import Section, Table, share
from ultracore.distillation.agreement import normalise, same_tools, strict
from ultracore.distillation.decisions import Decision
from ultracore.distillation.students.compact.arguments import question_for
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.slots import ABSENT, Slot, value_at
from ultracore.distillation.students.compact.sources import Sources
from ultracore.distillation.students.compact.sparse import document_of
from ultracore.distillation.students.compact.student import CompactStudent, standing_in
from ultracore.distillation.students.compact.transcript import Transcript, key_of
from ultracore.distillation.tools import Tool, ToolCall, canonical_json
from ultracore.distillation.train.fit import fit_compact

__all__ = ["Failure", "failures", "measure_errors", "strange_tools", "whereabouts"]

SHOWN = 12
"""Rows of the tables of tools and of arguments."""

GLANCE = (
    "reply instead of call",
    "call instead of reply",
    "other tool",
    "set of calls",
    "candidate missing",
    "wrong candidate",
    "variant",
    "list or array",
    "argument left out",
    "argument given",
    "free text",
)
"""How the kinds of failure begin, for the one line of a set."""

NEGATION = re.compile(r"\b(?:no|not|never|except|without|instead|don't|doesn't|isn't|rather than|but)\b", re.IGNORECASE)
"""English; counts where a negation stands in the user's last words, not what it does there."""


class Failure(NamedTuple):
    """One disagreement, or one argument of it.

    Attributes:
        kind: What went wrong.
        tool: What the teacher chose.
        argument: Which argument was wrong, "" where it was not an argument.
        negated: Whether the user's last words hold a negation.
    """

    kind: str
    tool: str
    argument: str
    negated: bool


def measure_errors(name: str, data: Path, size: Size) -> Section:
    """The first division of a set."""
    part = parts_of(name, data, size)[0]
    student = fit_compact(part.train, seed=0).student
    asked = zip(part.test, _later(part.test), standing_in(student, part.test), strict=True)
    found = [list(failures(*one)) for one in asked]
    n = len(found)
    about = f"{n:,} decisions, the first division only; trained on {len(part.train):,}"
    details = [
        _kinds(name, found, n),
        oracle_table(name, part.test, student),
        strange_tools(name, part, found),
        _tools(name, part.test, found),
        _places(name, found),
    ]
    return Section(f"errors/{name}", about, [at_a_glance(name, found)], details=details)


def failures(decision: Decision, later: set[bytes], student: CompactStudent) -> Iterator[Failure]:
    """What is wrong with the student's answer; nothing where it agrees strictly, or cannot be compared.

    Args:
        decision: The teacher's.
        later: Identities of the calls that the teacher makes later in the episode.
        student: Whose answer it is.
    """
    state, theirs = decision.state, decision.calls
    ours = student.propose(state).calls
    if strict(ours, theirs, state.tools) is not False:
        return
    transcript = student.evidence.prompts.read(state, teacher=student.teacher)
    negated = bool(NEGATION.search(transcript.last_user_text))
    if same_tools(ours, theirs) and len(ours) == 1:
        for argument, kind in _wrong_arguments(theirs[0], ours[0], transcript, student):
            yield Failure(kind, decision.action, argument, negated)
    else:
        yield Failure(_wrong_calls(decision, ours, later, transcript), decision.action, "", negated)


def _wrong_calls(decision: Decision, ours: Sequence[ToolCall], later: set[bytes], transcript: Transcript) -> str:
    theirs = decision.calls
    if not ours:
        return "reply instead of call"
    if len(ours) > 1 or len(theirs) > 1:
        return "set of calls"
    what = "call instead of reply" if not theirs else "other tool"
    if _identity(ours[0]) in later:
        return f"{what}: premature, the teacher makes this call later"
    if _identity(ours[0]) in {_identity(call) for call in transcript.calls}:
        return f"{what}: made already"
    return what


def _wrong_arguments(
    theirs: ToolCall, ours: ToolCall, transcript: Transcript, student: CompactStudent
) -> Iterator[tuple[str, str]]:
    tool, learned = transcript.tools[theirs.name], student.evidence.learned
    right, wrong = (_normal(call, tool) for call in (theirs, ours))
    pool = Candidates(transcript)
    sources = Sources(pool, student.evidence.encoder.encode(document_of(transcript)), learned)
    before: list[tuple[Slot, Any]] = []
    for slot in learned.knowledge.slots_of(tool):
        a, b = value_at(right, slot.path), value_at(wrong, slot.path)
        if a is not b and (ABSENT in (a, b) or canonical_json(a) != canonical_json(b)):
            yield "/".join(slot.path), _wrong_value(slot, a, b, sources, before)
        before.append((slot, a))


def _wrong_value(slot: Slot, right: Any, chosen: Any, sources: Sources, before: Sequence[tuple[Slot, Any]]) -> str:
    if right is ABSENT:
        return "argument given, the teacher leaves it out"
    if slot.key in sources.knowledge.free_text:
        return "free text"
    if slot.kind in ("list", "objects"):
        return "list or array"
    if key_of(right) not in question_for(slot, sources, before).keys:
        return f"candidate missing: {whereabouts(right, sources.pool)}"
    if chosen is ABSENT:
        return "argument left out, the teacher gives it"
    return "variant: a value from the same place" if _same_place(right, chosen, sources.pool) else "wrong candidate"


def whereabouts(value: Any, pool: Candidates) -> str:
    """Where the conversation holds a value that was no candidate of its argument, if anywhere."""
    text = key_of(value)
    if text in pool.index:
        return "it lies where such values never lay"
    said = "\n".join(turn.text for turn in pool.transcript.turns)
    if text in said:
        return "said as part of something else"
    return "said in other letters" if text.lower() in said.lower() else "said nowhere like this"


def _same_place(right: Any, chosen: Any, pool: Candidates) -> bool:
    places = [pool.index.get(key_of(value)) for value in (right, chosen)]
    paths = [set(pool.paths_of[place]) if place is not None else set() for place in places]
    return bool({path for path in paths[0] & paths[1] if not path.startswith("call:")})


def _later(decisions: Sequence[Decision]) -> list[set[bytes]]:
    calls: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for decision in decisions:
        calls[decision.episode] += [(decision.step, _identity(call)) for call in decision.calls]
    return [{call for step, call in calls[d.episode] if step > d.step} for d in decisions]


def _identity(call: ToolCall) -> bytes:
    return canonical_json([call.name, call.arguments or {}])


def _normal(call: ToolCall, tool: Tool) -> dict[str, Any]:
    return normalise(call, tool) or {}


def at_a_glance(name: str, found: Sequence[Sequence[Failure]]) -> Table:
    """One line: of what kind each disagreement is, the first one of a call with several."""
    first = [next((g for g in GLANCE if group[0].kind.startswith(g)), "") for group in found if group]
    counts, n = Counter(first), len(found)
    cells = [share(counts[kind] / n) if counts[kind] else "" for kind in GLANCE]
    return Table(
        "Where students go wrong, % of all decisions",
        ["data", "decisions", "wrong", *GLANCE],
        [[name, f"{n:,}", share(len(first) / n), *cells]],
        "Strict; the first division of each set only. Each wrong decision counts once, under what is wrong first in "
        "the order of the schema. Missing: the teacher's value was not among the candidates. Variant: another value "
        "from the same place.",
    )


def _kinds(name: str, found: Sequence[Sequence[Failure]], n: int) -> Table:
    counts = Counter(kind for group in found for kind in {failure.kind for failure in group})
    negated = Counter(kind for group in found for kind in {failure.kind for failure in group if failure.negated})
    rows = [[name, kind, str(count), share(count / n), str(negated[kind])] for kind, count in counts.most_common()]
    return Table(
        "Disagreements by kind",
        ["data", "kind", "decisions", "% of all", "with a negation in the user's last words"],
        rows,
        "Strict. A call with two wrong arguments stands in two rows if they are wrong in two ways.",
    )


def strange_tools(name: str, part: Part, found: Sequence[Sequence[Failure]]) -> Table:
    """How often calls of tools that training saw, and of others, are wrong."""
    known = {call.name for decision in part.train for call in decision.calls}
    rows = []
    for label, is_new in (("called in training", False), ("never called in training", True)):
        mine = [
            group for d, group in zip(part.test, found, strict=True) if d.is_call and (d.action not in known) == is_new
        ]
        wrong = sum(bool(group) for group in mine)
        tool = sum(any(not failure.argument for failure in group) for group in mine)
        if mine:
            rows.append([name, label, str(len(mine)), share(wrong / len(mine)), share(tool / len(mine))])
    columns = ["data", "the teacher's tool was", "decisions", "wrong, %", "other calls than the teacher's, %"]
    return Table("Tools that are new", columns, rows)


def _tools(name: str, decisions: Sequence[Decision], found: Sequence[Sequence[Failure]]) -> Table:
    all_of = Counter(decision.action for decision in decisions)
    wrong = Counter(group[0].tool for group in found if group)
    rows = [
        [name, tool, str(all_of[tool]), str(count), share(count / all_of[tool])]
        for tool, count in wrong.most_common(SHOWN)
    ]
    return Table("Disagreements by the teacher's choice", ["data", "tool", "decisions", "wrong", "%"], rows)


def _places(name: str, found: Sequence[Sequence[Failure]]) -> Table:
    counts = Counter((f.tool, f.argument, f.kind) for group in found for f in group if f.argument)
    rows = [[name, f"{tool}/{where}", kind, str(n)] for (tool, where, kind), n in counts.most_common(SHOWN)]
    return Table("Disagreements by argument, same tool", ["data", "argument", "kind", "decisions"], rows)
