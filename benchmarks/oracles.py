"""Which part of a decision costs how much: what the student would agree if it knew one part from the teacher.

A reply in place of a call is not always a wrong "not yet": the student also replies where it cannot fill the call.
What this file does not know: the single disagreements (`errors`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.sections import Table, share
from ultracore.distillation.agreement import strict
from ultracore.distillation.decisions import Decision
from ultracore.distillation.students.compact.actions import action_rows
from ultracore.distillation.students.compact.candidates import Candidates
from ultracore.distillation.students.compact.filling import fill_all
from ultracore.distillation.students.compact.slots import assemble
from ultracore.distillation.students.compact.sources import Sources
from ultracore.distillation.students.compact.sparse import document_of
from ultracore.distillation.students.compact.student import CompactStudent, standing_in
from ultracore.distillation.tools import REPLY, ToolCall

__all__ = ["knowing", "oracle_table"]

OWN, DUE, ACTION, ARGUMENTS = "own", "knowing whether a call is due", "knowing the tool", "knowing the arguments"
REPLIED, NOT_DUE, FILLED, NEXT = "reply instead of call", "reply ranked first", "call could be filled", "next call"


def knowing(decision: Decision, student: CompactStudent) -> Iterator[str]:
    """What would be right of a decision that can be compared: any of the columns of `oracle_table`.

    Args:
        decision: The teacher's.
        student: Whose answer, ranking of actions and filled calls are looked at.
    """
    theirs, tools = decision.calls, decision.state.tools
    ours, evidence = student.propose(decision.state).calls, student.evidence
    transcript = evidence.prompts.read(decision.state, teacher=student.teacher)
    pool, row = Candidates(transcript), evidence.encoder.encode(document_of(transcript))
    names, rows = action_rows(transcript, pool, row, evidence)
    scores = student.rankers.actions.scores(rows)
    ranked = [names[place] for place in scores.argsort(kind="stable")[::-1].tolist()]
    sources = Sources(pool, row, evidence.learned)

    def is_right(name: str | None) -> bool:
        if name not in transcript.tools:
            return False
        filled = fill_all(
            evidence.learned.knowledge.slots_of(transcript.tools[name]), sources, student.rankers.arguments
        )
        return bool(strict((ToolCall(name, assemble([(slot, got.value) for slot, got in filled])),), theirs, tools))

    own, likeliest = bool(strict(ours, theirs, tools)), next((name for name in ranked if name != REPLY), None)
    fills, next_is_right = is_right(decision.action), is_right(likeliest)
    if own:
        yield OWN
    if own or not theirs or next_is_right:
        yield DUE
    if own or not theirs or fills:
        yield ACTION
    if own or ranked[0] == decision.action:
        yield ARGUMENTS
    if theirs and not ours:
        yield REPLIED
        yield from (NOT_DUE,) if ranked[0] == REPLY else ()
        yield from (FILLED,) if fills else ()
        yield from (NEXT,) if next_is_right else ()


def oracle_table(name: str, decisions: Sequence[Decision], student: CompactStudent) -> Table:
    """One line: strict agreement as it is, and as it would be; what replies in place of calls are made of."""
    known = [d for d in decisions if strict(d.calls, d.calls, d.state.tools) is not None]
    asked = zip(known, standing_in(student, known), strict=True)
    counts = Counter(column for decision, mine in asked for column in knowing(decision, mine))
    columns = (OWN, DUE, ACTION, ARGUMENTS, REPLIED, NOT_DUE, FILLED, NEXT)
    return Table(
        "What it would be worth to know a part from the teacher, % of all decisions",
        ["data", "decisions", *columns],
        [[name, f"{len(known):,}", *(share(counts[column] / len(known)) for column in columns)]],
        "Strict. Whether a call is due: the tool that is ranked first and its arguments are the student's own. The "
        "tool: its arguments are. The arguments: the tool is the one ranked first. Of the replies instead of calls: "
        "those where a reply is ranked first before arguments are looked at, those where the student would have filled "
        "the teacher's call like it, and those where the call that it ranks first is the teacher's, filled like it.",
    )
