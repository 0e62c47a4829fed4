"""System prompts: the policy says nothing, what varies is read like something that was said."""

from __future__ import annotations

from typing import Any

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact.prompts import MAX_CHARACTERS, Prompts
from ultracore.distillation.students.compact.transcript import Transcript
from ultracore.distillation.tools import Tool, ToolCall
from ultracore.distillation.train.fit import fit_compact

POLICY = "You help customers.\nBe polite."
TOOL = Tool("find", parameters={"type": "object", "properties": {"phone": {"type": "string"}}, "required": ["phone"]})


def ticket(number: int) -> str:
    return f"555-123-{4000 + 7 * number}"


def told(number: int, text: str | None = None) -> Decision:
    """The number stands in the system prompt alone."""
    prompt = f"{POLICY}\nTicket: the customer's phone number is {ticket(number)}." if text is None else text
    messages: list[dict[str, Any]] = [{"role": "system", "content": prompt}]
    calls = (ToolCall("find", {"phone": ticket(number)}),)
    return Decision(state=State(messages, [TOOL]), calls=calls, episode=f"e{number}", task=f"t{number}")


def test_lines_of_the_policy_do_not_vary() -> None:
    prompts = Prompts.of([told(i) for i in range(10)])
    assert prompts.varying(told(77).state.messages) == f"Ticket: the customer's phone number is {ticket(77)}."
    assert list(prompts.constant) == ["Be polite.", "You help customers."]


def test_one_prompt_for_all_says_nothing_and_neither_does_a_new_policy() -> None:
    prompts = Prompts.of([told(i, POLICY) for i in range(10)])
    assert prompts.varying([{"role": "system", "content": "Another policy."}]) == ""


def test_a_line_counts_once_a_task_however_long_its_episode() -> None:
    long = [told(0)] * 50
    assert "Ticket" in Prompts.of([*long, *(told(i) for i in range(1, 5))]).varying(told(0).state.messages)


def test_of_much_text_the_end_is_read() -> None:
    prompts = Prompts.of([told(i) for i in range(10)])
    assert len(prompts.varying([{"role": "system", "content": "x " * MAX_CHARACTERS + "\nend"}])) == MAX_CHARACTERS


def test_what_was_told_is_the_users_word_until_the_user_speaks() -> None:
    transcript = Transcript(State([], [TOOL]), told="phone 555-123-4567")
    assert transcript.last_user_text == "phone 555-123-4567"
    assert transcript.actions == [], "nobody has had a turn"
    spoken = Transcript(State([{"role": "user", "content": "hello"}], [TOOL]), told="phone 555-123-4567")
    assert spoken.last_user_text == "hello"


def test_arguments_are_found_in_the_system_prompt() -> None:
    student = fit_compact([told(i) for i in range(40)], seed=0).student
    assert [student.propose(told(i).state).calls for i in range(50, 60)] == [told(i).calls for i in range(50, 60)]
