"""What somebody says of dates and times, in the form that programs want it in."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.students.compact import moments, text
from ultracore.distillation.students.compact.days import Calendar, days_of, today_in
from ultracore.distillation.students.compact.moments import latest_month, moments_of
from ultracore.distillation.students.compact.prompts import Prompts
from ultracore.distillation.students.compact.text import spans_of
from ultracore.distillation.tools import Tool, ToolCall


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on May 7th", [("date", "2024-05-07")]),
        ("the 7th of May, 2021", [("date", "2021-05-07")]),
        ("on the 7th", [("day", "2024-03-07")]),
        ("on May 7 and the 9th", [("date", "2024-05-07"), ("day", "2024-03-09")]),
        ("May 45", []),
        ("7 pm", [("time", "19:00")]),
        ("7:30 p.m. sharp", [("time", "19:30")]),
        ("12 am", [("time", "00:00")]),
        ("12 pm", [("time", "12:00")]),
        ("half past 7 in the morning", [("time", "07:30")]),
        ("quarter to 8 in the evening", [("time", "19:45")]),
        ("7 o'clock", [("time", "07:00"), ("time", "19:00")]),
        ('8 o"clock in the night', [("time", "20:00")]),
        ("17:45", [("time", "17:45")]),
        ("25:00 or 7:75", []),
        ("two seats", [("count", 2)]),
        ("someone often", []),
        ("7 apples", []),
        ("morning at 11", [("time", "11:00")]),
        ("evening 4:30", [("time", "16:30")]),
    ],
)
def test_moments(text: str, expected: list[tuple[str, str | int]]) -> None:
    assert [(kind, value) for kind, value, _ in moments_of(text, Calendar("2024-03"))] == expected


def test_without_a_month_only_whole_dates_are_read() -> None:
    assert list(moments_of("May 7th, the 8th", Calendar())) == []
    assert [value for _, value, _ in moments_of("May 7th, 2021", Calendar())] == ["2021-05-07"]


def test_they_are_spans_like_others() -> None:
    assert ("time", "19:00") in [(span.kind, span.value) for span in spans_of("at 7 pm")]


def test_the_latest_month_of_a_text_counts() -> None:
    assert latest_month("from 2023-12-30 to 2024-01-02, born 1988-05-06") == "2024-01"
    assert latest_month("in 2024") is None


def test_the_month_that_the_teacher_usually_means_is_used_until_the_conversation_names_one() -> None:
    tool = Tool("book", parameters={"type": "object", "properties": {"date": {"type": "string"}}})

    def booked(number: int, text: str, date: str) -> Decision:
        state = State([{"role": "user", "content": text}], [tool])
        return Decision(state=state, calls=(ToolCall("book", {"date": date}),), episode=str(number), task=str(number))

    dates = ["2019-03-01", "2019-03-07", "2020-01-01"]
    prompts = Prompts.of([booked(i, "hello", date) for i, date in enumerate(dates)])
    assert prompts.month == "2019-03"
    values = [leaf.value for leaf in prompts.read(booked(9, "on the 4th", "").state).turns[0].leaves]
    assert "2019-03-04" in values
    named = State(
        [{"role": "system", "content": "Today is 2024-05-15."}, {"role": "user", "content": "on the 4th"}], [tool]
    )
    assert "2024-05-04" in [leaf.value for leaf in prompts.read(named).turns[-1].leaves]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today or tomorrow", ["2024-05-07", "2024-05-08"]),
        ("the day after tomorrow", ["2024-05-09"]),
        ("in three days, in 2 weeks, a week from now", ["2024-05-10", "2024-05-21", "2024-05-14"]),
        ("next Tuesday", ["2024-05-14", "2024-05-21"]),  # today is a Tuesday
        ("on monday", ["2024-05-13", "2024-05-20"]),
        ("Mondays are fine", []),
    ],
)
def test_days_are_counted_from_today(text: str, expected: list[str]) -> None:
    assert [day for _, day, _ in days_of(text, "2024-05-07")] == expected
    assert list(days_of(text, "")) == []


def told(number: int, text: str, date: str, prompt: str = "") -> Decision:
    tool = Tool("book", parameters={"type": "object", "properties": {"date": {"type": "string"}}})
    messages = [{"role": "system", "content": prompt}] if prompt else []
    state = State([*messages, {"role": "user", "content": text}], [tool])
    return Decision(state=state, calls=(ToolCall("book", {"date": date}),), episode=str(number), task=str(number))


def test_today_is_what_the_teachers_dates_agree_on() -> None:
    rows = [told(i, "tomorrow", "2024-05-08") for i in range(4)] + [told(9, "today", "2024-05-07")]
    assert Prompts.of(rows).today == "2024-05-07"
    assert Prompts.of(rows[:4]).today == "", "four tasks are too few"
    moving = [told(i, "tomorrow", f"2024-05-{10 + i}") for i in range(12)]
    assert Prompts.of(moving).today == "", "where it moves, nothing is learned"


def test_a_prompt_that_says_the_date_is_believed() -> None:
    rows = [told(i, "tomorrow", "2024-05-08", f"It is 2024-05-{10 + i}.") for i in range(8)]
    prompts = Prompts.of(rows)
    assert prompts.today == ""
    assert "2024-05-11" in [span.value for span in prompts.read(rows[0].state).turns[-1].spans]
    assert today_in("born 1988-99-99 and 2024-02-01") == "2024-02-01"


@given(st.lists(st.sampled_from([
    "half", "past", "to", "7", "seven", "19", "30", ":", ".", "pm", "P.M.", "o'clock", "in the morning", "at night",
    "tonight", "evening", "quarter", "oneam", "May", "4th", "cloc\u212a", "morn\u0131ng", "2024", "\u0667", ",",
]), max_size=8), st.sampled_from(["", " "]))  # fmt: skip
@example(["7", "at night"], " ")
@example(["7.30"], " ")
@example(["7", "a.m."], " ")
@example(["oneam"], " ")
@example(["Evening", "at", "7"], " ")
@example(["half", "past", "7"], " ")
@example(["quarter", "to", "8"], " ")
@example(["7", "in the morning"], " ")
@example(["7", "o'clock"], " ")
@example(["seven", ":", "19"], "")
@settings(max_examples=500, deadline=None)
def test_what_is_looked_for_first_is_in_every_time_and_date(pieces: list[str], between: str) -> None:
    said, calendar = between.join(pieces), Calendar("2024-05", "2024-05-07")
    found = list(moments_of(said, calendar))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_MAYBE_TIME", "_ANY_DIGIT"):
            patch.setattr(moments, name, re.compile(""))
        assert found == list(moments_of(said, calendar))


@given(st.text("aB7 @-_.,\"'\u2018\u2019\u201c#\u0667", max_size=12))
@settings(max_examples=500, deadline=None)
def test_what_a_text_must_have_first_is_in_every_span(said: str) -> None:
    found = list(spans_of(said))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_SPANS", tuple((kind, re.compile(""), pattern) for kind, _, pattern in text._SPANS))
        assert found == list(spans_of(said))
