"""Examples of any shape: which belong together, how one reads in words, and three parts that share no task.

What this file does not know: prompts, and how an example is scored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.errors import DataError
from ultracore.distillation.splits import parts_by_task, units_of
from ultracore.distillation.students.prompted.reading import state_text
from ultracore.distillation.tools import canonical_json, fingerprint

__all__ = ["Parts", "Shown", "divide", "example_id", "shown"]

SHARES = (0.5, 0.25, 0.25)
"""Of the tasks: to learn from, to choose by, to report on."""

INPUTS = ("input", "question", "query", "text", "prompt", "messages", "context", "state")
ANSWERS = ("tool_selected", "output", "answer", "expected_output", "expected", "label", "target", "tool")
TASKS = ("task", "session_id", "episode")


class Shown(NamedTuple):
    """An example in words.

    Attributes:
        input: What was asked.
        answer: What the teacher decided; "" where the example does not say.
        verified: Whether nothing in it says that the answer was wrong.
    """

    input: str
    answer: str
    verified: bool


class Parts(NamedTuple):
    """Three parts of the examples.

    Attributes:
        train: To learn from.
        selection: To choose among prompts by.
        test: To report on; nothing is chosen by it but whether the old prompt stays.
        selection_units: Independent unit of each selection example.
        test_units: Independent unit of each test example.
        held_out: Whether no unit is in two parts; with fewer than three units it cannot be.
    """

    train: list[Any]
    selection: list[Any]
    test: list[Any]
    selection_units: list[str]
    test_units: list[str]
    held_out: bool

    def cut(self, selection: int, test: int) -> Parts:
        """With at most so many examples to choose by and to report on; whole units left over train."""
        chosen = _evenly(self.selection, self.selection_units, selection)
        reported = _evenly(self.test, self.test_units, test)
        spare = [*chosen.left_over, *reported.left_over] if self.held_out else []
        return Parts(
            [*self.train, *spare], chosen.examples, reported.examples, chosen.units, reported.units, self.held_out
        )


def divide(examples: Sequence[Any], seed: int, shares: Sequence[float] = SHARES) -> Parts:
    """Three parts that share no task, no session and no equal example.

    Raises:
        DataError: There is no example, or they are no list.
    """
    if not isinstance(examples, Sequence) or isinstance(examples, str | bytes):
        raise DataError("training_examples must be a list of examples, such as logger.get_history()")
    if not examples:
        raise DataError("there are no training_examples; give at least three, 15 to 50 are usual")
    rows = [_unit_row(example) for example in examples]
    units = units_of(rows)
    if len(set(units)) < len(shares):
        return Parts(list(examples), list(examples), list(examples), units, units, held_out=False)
    part_of = parts_by_task(rows, shares, seed)
    train, selection, test = (
        [e for e, part in zip(examples, part_of, strict=True) if part == wanted] for wanted in range(3)
    )
    selection_units, test_units = (
        [unit for unit, part in zip(units, part_of, strict=True) if part == wanted] for wanted in (1, 2)
    )
    return Parts(train, selection, test, selection_units, test_units, held_out=True)


def example_id(example: Any) -> str:
    """Equal for equal examples, in every process."""
    return fingerprint(_plain(example))


def shown(example: Any) -> Shown:
    """An example in words, whatever its shape.

    Example:
        >>> shown({"query": "where is it", "tool_selected": "track"})
        Shown(input='where is it', answer='track', verified=True)
    """
    if isinstance(example, Decision):
        return Shown(state_text(example.state), example.action, verified=True)
    if isinstance(example, Mapping) and "tool_selected" in example and isinstance(example.get("context"), Mapping):
        return shown(Decision.from_row(example))._replace(verified=_verified(example))
    if not isinstance(example, Mapping):
        return Shown(_text(example), "", verified=True)
    asked = next((example[key] for key in INPUTS if example.get(key)), "")
    answer = next((example[key] for key in ANSWERS if example.get(key)), "")
    return Shown(_text(asked), _text(answer), _verified(example))


class _Taken(NamedTuple):
    examples: list[Any]
    units: list[str]
    left_over: list[Any]


def _evenly(examples: Sequence[Any], units: Sequence[str], most: int) -> _Taken:
    """At most so many examples, of each unit as nearly alike as there are, and those of units that none was taken of.

    Few conversations hold most decisions: taken row by row, five of them chose the prompt of tau2 telecom, and on ten
    divisions the gain of demonstrations was 10 points instead of 17.
    """
    if len(examples) <= most:
        return _Taken(list(examples), list(units), [])
    of_unit: dict[str, list[int]] = defaultdict(list)
    for place, unit in enumerate(units):
        of_unit[unit].append(place)
    each = 1
    while sum(min(len(places), each + 1) for places in of_unit.values()) <= most:
        each += 1
    taken = sorted(place for places in of_unit.values() for place in _spread(places, each))
    places = _spread(taken, most)
    kept = {units[i] for i in places}
    left_over = [example for example, unit in zip(examples, units, strict=True) if unit not in kept]
    return _Taken([examples[i] for i in places], [units[i] for i in places], left_over)


def _spread(places: Sequence[int], most: int) -> Sequence[int]:
    """At most so many of them, evenly."""
    n = len(places)
    return places if n <= most else [places[i * n // most] for i in range(most)]


def _verified(example: Mapping[str, Any]) -> bool:
    outcome = example.get("outcome")
    failed = isinstance(outcome, Mapping) and outcome.get("success") is False
    return not failed and example.get("source") != "student"


def _unit_row(example: Any) -> Decision:
    """Only task and episode, for `splits`; equal examples are one unit."""
    if isinstance(example, Decision):
        return Decision(state=State([], []), task=example.task, episode=example.episode)
    identity = example_id(example)
    named = next((example[key] for key in TASKS if example.get(key)), None) if isinstance(example, Mapping) else None
    return Decision(state=State([], []), task=str(named or identity), episode=identity)


def _text(value: Any) -> str:
    """Strings as they are, leaves of objects one after the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "\n".join(_text(item) for item in value.values() if item not in (None, "", [], {}))
    if isinstance(value, list | tuple):
        return "\n".join(_text(item) for item in value)
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    try:
        return canonical_json(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return repr(value)
