"""How often the teacher agrees with itself: no student that learns from it can be asked for more.

Wherever a context recurs in different episodes, two decisions of the same teacher are compared like
a student's with the teacher's. What this file does not know: students.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ultracore.distillation.agreement import Comparators, same_tools, strict, tolerant
from ultracore.distillation.decisions import SYSTEM_ROLES, Decision, Message, State, prompt_fingerprint, text_of
from ultracore.distillation.tools import ToolCall, canonical_json, fingerprint
from ultracore.distillation.train.flips import Flips, count_flips

__all__ = ["Ceiling", "SelfAgreement", "ToolSelfAgreement", "measure_ceiling", "same_state_key"]

MAX_PAIRS = 100
"""Pairs counted for one context: a greeting that opens every episode must not decide the figure."""

RESAMPLES = 1000
ALPHA = 0.05
TOOL_ROLES = frozenset({"tool", "function"})

Interval = tuple[float, float]


class ToolSelfAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """What the teacher did in other runs where it chose this tool in one.

    Attributes:
        tool: The tool, or `(reply)`.
        same_tool: Share of the other decisions that call the same tools.
        whole_call: Share that agree strictly; `None` where arguments were not recorded.
        pairs: Pairs of decisions of which at least one chose the tool.
        arguments: By argument: share of the pairs in which both made one call of the tool that agree on it strictly.
    """

    tool: str
    same_tool: float
    whole_call: float | None
    pairs: int
    arguments: dict[str, float] = {}


class SelfAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """The teacher's agreement with itself over pairs of decisions in matching contexts.

    Attributes:
        tool: Share of the pairs that call the same tools; `None` where no context recurs.
        whole_call: Share that agree strictly, over the pairs whose arguments were recorded.
        whole_call_tolerant: Share that agree tolerantly, over the same pairs.
        pairs: Pairs of decisions, each from two different episodes.
        whole_call_pairs: Those of them whose arguments were recorded.
        contexts: Contexts that recur.
        tasks: Tasks that the pairs come from.
        interval: 95 % interval of `tool` and `whole_call` from a bootstrap over tasks; a figure
            from a single task has none.
        per_tool: The same for each tool, most pairs first.
    """

    tool: float | None = None
    whole_call: float | None = None
    whole_call_tolerant: float | None = None
    pairs: int = 0
    whole_call_pairs: int = 0
    contexts: int = 0
    tasks: int = 0
    interval: dict[str, Interval] = {}
    per_tool: tuple[ToolSelfAgreement, ...] = ()


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """Teacher self-agreement, measured in two ways.

    Attributes:
        exact: Where the whole history recurs under the same system prompt; biased to early, easy steps.
        same_state: Where the calls and their last results recur, but the user's words may differ:
            a lower bound, over more of the conversation.
        flips: Decisions that contradict others in the very same state.
    """

    exact: SelfAgreement
    same_state: SelfAgreement
    flips: Flips

    def to_dict(self) -> dict[str, Any]:
        """The `ceiling` entry of a result: the exact figures, and the others under `same_state` and `flips`."""
        beside = {name: msgspec.to_builtins(getattr(self, name)) for name in ("same_state", "flips")}
        return {**msgspec.to_builtins(self.exact), **beside}


class _Pair(NamedTuple):
    a: Decision
    b: Decision
    tool: bool
    whole: bool | None
    tolerant: bool | None


def measure_ceiling(decisions: Sequence[Decision], comparators: Comparators, seed: int = 0) -> Ceiling:
    """Compare the teacher with itself wherever a context recurs in another episode.

    Decisions of different teachers or system prompts are never paired: an agent's whole assignment may
    stand in its prompt (digits, such as a date, do not count). An episode enters a context once, with
    its first decision there. At most `MAX_PAIRS` pairs count for one context, so the work grows with
    the number of decisions and not with its square.

    Args:
        decisions: Any number, in any order; usually everything that was imported.
        comparators: What tolerant agreement overlooks.
        seed: Seed of the bootstrap.
    """
    return Ceiling(
        exact=_self_agreement(decisions, _history_key, comparators, seed),
        same_state=_self_agreement(decisions, same_state_key, comparators, seed),
        flips=count_flips(decisions),
    )


def same_state_key(decision: Decision) -> str:
    """Equal where the same calls were made, with the same arguments, and the last results are equal.

    Also equal must be the tools offered, what kind of message came last and a flat context. Before the
    first call nothing else says that two conversations are about the same thing, so there the
    task must be the same too.
    """
    state = decision.state
    calls = [_call_content(call) for message in state.messages for call in _calls(message)]
    flat = [m.get("content") for m in state.messages if m.get("role") == "context"]
    last = str(state.messages[-1].get("role")) if state.messages else ""
    shared = decision.task if not calls and not flat else ""
    return fingerprint([calls, flat, last, _last_results(state), sorted(t.name for t in state.tools), shared])


def _history_key(decision: Decision) -> str:
    """The history without the system prompt, whose digits do not count: `_self_agreement` compares it."""
    state = decision.state
    return State([m for m in state.messages if m.get("role") not in SYSTEM_ROLES], state.tools).key


def _last_results(state: State) -> list[str]:
    results: list[str] = []
    for message in reversed(state.messages):
        if message.get("role") not in TOOL_ROLES:
            break
        results.append(text_of(message) or canonical_json(message.get("content")).decode())
    return results


def _calls(message: Message) -> list[Any]:
    return [*(message.get("tool_calls") or ()), *([message["function_call"]] if message.get("function_call") else ())]


def _call_content(call: Any) -> Any:
    inner = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(inner, dict):
        return inner
    arguments = inner.get("arguments")
    return [inner.get("name"), _decoded(arguments) if isinstance(arguments, str) else arguments]


def _decoded(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:  # what is not JSON still compares as text
        return arguments


def _self_agreement(
    decisions: Sequence[Decision], key: Callable[[Decision], Hashable], comparators: Comparators, seed: int
) -> SelfAgreement:
    contexts: defaultdict[Hashable, list[Decision]] = defaultdict(list)
    for decision in decisions:
        prompt = prompt_fingerprint(decision.state.messages)
        contexts[decision.teacher, prompt, key(decision)].append(decision)
    found = [list(islice(_pairs(_first_of_each_episode(group)), MAX_PAIRS)) for group in contexts.values()]
    pairs = [_compare(a, b, comparators) for group in found for a, b in group]
    if not pairs:
        return SelfAgreement()
    known = [pair for pair in pairs if pair.whole is not None]
    intervals = {"tool": _bootstrap(pairs, lambda p: p.tool, seed), "whole_call": _bootstrap(known, _whole, seed)}
    return SelfAgreement(
        tool=_mean([pair.tool for pair in pairs]),
        whole_call=_mean([_whole(pair) for pair in known]),
        whole_call_tolerant=_mean([bool(pair.tolerant) for pair in known]),
        pairs=len(pairs),
        whole_call_pairs=len(known),
        contexts=sum(bool(group) for group in found),
        tasks=len({task for pair in pairs for task in (pair.a.task, pair.b.task)}),
        interval={name: interval for name, interval in intervals.items() if interval is not None},
        per_tool=_per_tool(pairs, comparators),
    )


def _first_of_each_episode(group: Sequence[Decision]) -> list[Decision]:
    """One decision an episode, in an order that does not depend on the input's."""
    first: dict[str, Decision] = {}
    for decision in sorted(group, key=lambda d: (d.task, d.trial, d.episode, d.step)):
        first.setdefault(decision.episode, decision)
    return list(first.values())


def _pairs(group: Sequence[Decision]) -> Iterator[tuple[Decision, Decision]]:
    """Every pair once; a cap cuts off far neighbours in the ring, not decisions."""
    size = len(group)
    for distance in range(1, size // 2 + 1):
        for i in range(distance if 2 * distance == size else size):
            yield group[i], group[(i + distance) % size]


def _compare(a: Decision, b: Decision, comparators: Comparators) -> _Pair:
    tools = a.state.tools
    known = strict(a.calls, a.calls, tools) is not None and strict(b.calls, b.calls, tools) is not None
    return _Pair(
        a,
        b,
        tool=same_tools(a.calls, b.calls),
        whole=strict(a.calls, b.calls, tools, comparators) if known else None,
        tolerant=tolerant(a.calls, b.calls, tools, comparators) if known else None,
    )


def _whole(pair: _Pair) -> bool:
    return pair.whole is True


def _mean(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _per_tool(pairs: Sequence[_Pair], comparators: Comparators) -> tuple[ToolSelfAgreement, ...]:
    sides: defaultdict[str, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        sides[pair.a.action].append(pair)
        sides[pair.b.action].append(pair)
    rows = [_tool_row(tool, seen, comparators) for tool, seen in sides.items()]
    return tuple(sorted(rows, key=lambda row: (-row.pairs, row.tool)))


def _tool_row(tool: str, sides: Sequence[_Pair], comparators: Comparators) -> ToolSelfAgreement:
    return ToolSelfAgreement(
        tool=tool,
        same_tool=sum(pair.tool for pair in sides) / len(sides),
        whole_call=_mean([_whole(pair) for pair in sides if pair.whole is not None]),
        pairs=len({id(pair) for pair in sides}),
        arguments=_per_argument([p for p in sides if p.tool and p.whole is not None], comparators),
    )


def _per_argument(pairs: Sequence[_Pair], comparators: Comparators) -> dict[str, float]:
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for a, b, *_ in pairs:
        if len(a.calls) == 1:
            for name in {*(a.calls[0].arguments or {}), *(b.calls[0].arguments or {})}:
                left, right = ([_only(call, name) for call in side.calls] for side in (a, b))
                found[name].append(strict(left, right, a.state.tools, comparators) is True)
    return {name: sum(agree) / len(agree) for name, agree in sorted(found.items())}


def _only(call: ToolCall, name: str) -> ToolCall:
    given = call.arguments or {}
    return ToolCall(call.name, {name: given[name]} if name in given else {})


def _bootstrap(pairs: Sequence[_Pair], agrees: Callable[[_Pair], bool], seed: int) -> Interval | None:
    """Percentile interval over resampled tasks; a pair of two tasks counts once for each pair of their copies."""
    tasks = sorted({task for pair in pairs for task in (pair.a.task, pair.b.task)})
    if len(tasks) < 2:
        return None
    index = {task: i for i, task in enumerate(tasks)}
    cells: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for pair in pairs:
        cell = cells[index[pair.a.task], index[pair.b.task]]
        cell[0] += agrees(pair)
        cell[1] += 1
    ends = np.array(list(cells))
    hits, totals = np.array(list(cells.values()), dtype=float).T
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(RESAMPLES):
        copies = np.bincount(rng.integers(len(tasks), size=len(tasks)), minlength=len(tasks))
        weight = np.where(ends[:, 0] == ends[:, 1], copies[ends[:, 0]], copies[ends[:, 0]] * copies[ends[:, 1]])
        if (total := weight @ totals) > 0:
            shares.append((weight @ hits) / total)
    if not shares:
        return None
    low, high = np.quantile(shares, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)
