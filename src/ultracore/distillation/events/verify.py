"""Reads a whole log again, hashes it again, and names the first event that is not what was written.

Checked are the chain, every payload, the index rows against the blocks, the parts against their names,
and the signed checkpoints kept outside. What this file does not know: which database holds the blocks
(a `Ledger` gives them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from ultracore.distillation.errors import LogError
from ultracore.distillation.events import block as blocks
from ultracore.distillation.events.block import GENESIS, Chained, DamagedBlockError, Row
from ultracore.distillation.events.checkpoints import Checkpoint
from ultracore.distillation.events.codec import part_of
from ultracore.distillation.events.facts import EVENT_TYPES
from ultracore.distillation.events.rows import index_of

__all__ = ["Finding", "Ledger", "Report", "verify"]

MAX_FINDINGS = 20

IndexRow = tuple[int | str | None, ...]

_SHARED = "|".join(sorted({name for cls in EVENT_TYPES.values() for name in cls.shared}))
_PART = re.compile(rf'"(?:{_SHARED})":{{"part":"([0-9a-f]{{64}})"}}'.encode())


class Ledger(Protocol):
    """A log as it lies there; reading it may raise `LogError`."""

    def store_id(self) -> str:
        """Which log it is."""
        ...

    def blocks(self) -> Iterator[Chained]:
        """The blocks in order, checked by nobody."""
        ...

    def index(self, first: int, last: int) -> list[IndexRow]:
        """The index rows of these positions, as `rows.index_of` makes them."""
        ...

    def index_rows(self) -> int:
        """How many index rows there are."""
        ...

    def parts(self) -> Iterator[tuple[str, bytes | None]]:
        """Each part by its name, null where it cannot be unpacked."""
        ...

    def problems(self) -> Iterator[str]:
        """What the database itself finds wrong."""
        ...


class Finding(NamedTuple):
    """Something that is not as it was written.

    Attributes:
        position: Of the event, null where it is not one event.
        event: Its id and type, as far as they are known.
        reason: What is wrong.
    """

    position: int | None
    event: str
    reason: str

    def __str__(self) -> str:
        where = "" if self.position is None else f"position {self.position}{self.event and f' ({self.event})'}: "
        return where + self.reason


class Report(NamedTuple):
    """What `verify` found.

    Attributes:
        events: How many were read.
        blocks: In how many blocks.
        intact: Position up to which blocks and parts are as they were written.
        hash: The chain's hash at its end.
        checkpoints: How many signed statements of this log agree with it.
        findings: What is wrong, in order, the first `MAX_FINDINGS` of it; empty if nothing is.
    """

    events: int
    blocks: int
    intact: int
    hash: str
    checkpoints: int
    findings: list[Finding]


def verify(
    ledger: Ledger, checkpoints: Iterable[Checkpoint] = (), progress: Callable[[int], None] | None = None
) -> Report:
    """Check a log.

    Args:
        ledger: The log.
        checkpoints: Statements kept outside, their signatures checked.
        progress: Told the position that was reached, block by block.
    """
    check = _Check(ledger)
    check.take_checkpoints(checkpoints)
    try:
        for chained in ledger.blocks():
            check.block(chained)
            if progress is not None:
                progress(chained.last)
    except LogError as error:
        check.found(check.next, "", f"from here on the log cannot be read: {error}")
    check.whole()
    return check.report()


class _Check:
    """One pass over a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.next = 1
        self._ledger = ledger
        self._previous = GENESIS
        self._blocks = 0
        self._events = 0
        self._findings: list[Finding] = []
        self._intact = 1 << 63  # as far as is known
        self._parts: dict[str, tuple[int, Row]] = {}
        self._statements: dict[int, list[Checkpoint]] = {}
        self._agreeing = 0

    def found(self, position: int | None, event: str, reason: str, *, of_index: bool = False) -> None:
        if position is not None and not of_index:  # an index can be made anew
            self._intact = min(position - 1, self._intact)
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(Finding(position, event, reason))

    def take_checkpoints(self, checkpoints: Iterable[Checkpoint]) -> None:
        try:
            store_id, statements = self._ledger.store_id(), list(checkpoints)
        except LogError as error:
            return self.found(None, "", str(error))
        for statement in statements:
            if statement.store_id == store_id:
                self._statements.setdefault(statement.position, []).append(statement)
        if statements and not self._statements:
            self.found(None, "", f"the checkpoints are those of another log; this one calls itself {store_id}")
        return None

    def block(self, chained: Chained) -> None:
        self._blocks += 1
        self._events += chained.block.events
        if chained.first != self.next:
            self._gap(chained.first)
        elif chained.previous != self._previous:
            self.found(chained.first, self._name(chained.first), "its block does not continue the chain before it")
        self._content(chained)
        self._compare(chained)
        self.next, self._previous = chained.last + 1, chained.hash

    def whole(self) -> None:
        for statement in (s for group in self._statements.values() for s in group):
            if statement.position >= self.next:
                reason = "its tail was dropped or it was replaced by an older copy"
            else:
                reason = "it was chained anew"
            self.found(
                min(statement.position, self.next), "",
                f"the log ends at position {self.next - 1} and does not hold what the checkpoint of {statement.time} "
                f"saw at position {statement.position}: {reason}",
            )  # fmt: skip
        try:
            self._check_parts()
            if self._ledger.index_rows() != self._events:
                self.found(None, "", f"the index has {self._ledger.index_rows()} rows for {self._events} events")
            for problem in self._ledger.problems():
                self.found(None, "", problem)
        except LogError as error:
            self.found(None, "", str(error))

    def report(self) -> Report:
        intact = min(self.next - 1, self._intact)
        findings = sorted(self._findings, key=lambda finding: finding.position or self.next)
        return Report(self._events, self._blocks, intact, self._previous.hex(), self._agreeing, findings)

    def _gap(self, first: int) -> None:
        if first > self.next:
            self.found(self.next, self._name(self.next), f"positions {self.next} to {first - 1} are missing")
        else:
            self.found(first, self._name(first), "two blocks claim this position")

    def _content(self, chained: Chained) -> None:
        try:
            rows = blocks.rows(chained.block)
        except DamagedBlockError as error:
            position = chained.first + error.index
            return self.found(position, self._name(position), str(error))
        stored = self._index(chained.first, chained.last)
        differing = [
            (position, row) for position, row in enumerate(rows, chained.first)
            if stored.get(position) != index_of(position, row)
        ]  # fmt: skip
        if differing:
            position, row = differing[0]
            self.found(position, _name_of(row), "its index row is not what its block says", of_index=True)
        if not chained.is_intact:
            reason = "the hash of its block does not match what is stored"
            self.found(chained.first, _name_of(rows[0]), f"{reason} (positions {chained.first} to {chained.last})")
        for position, row in enumerate(rows, chained.first):
            for key in _PART.findall(row.payload):
                self._parts.setdefault(key.decode(), (position, row))
        return None

    def _index(self, first: int, last: int) -> dict[int | str | None, IndexRow]:
        try:
            return {row[0]: row for row in self._ledger.index(first, last)}
        except LogError:
            if first == last:  # what cannot be read is not what the block says
                return {}
        middle = (first + last) // 2
        return self._index(first, middle) | self._index(middle + 1, last)

    def _compare(self, chained: Chained) -> None:
        for statement in self._statements.pop(chained.last, ()):
            if statement.hash == chained.hash.hex():
                self._agreeing += 1
            else:
                self.found(
                    chained.last, self._name(chained.last),
                    f"the checkpoint of {statement.time} saw another hash here: an event up to this one was changed "
                    "and the log chained anew",
                )  # fmt: skip

    def _check_parts(self) -> None:
        found = set()
        for key, part in self._ledger.parts():
            found.add(key)
            if part is None or part_of(part) != key:
                position, row = self._parts.get(key, (None, None))
                self.found(position, _name_of(row) if row else "", f"part {key} is damaged")
        for key, (position, row) in self._parts.items():
            if key not in found:
                self.found(position, _name_of(row), f"part {key}, which it names, is missing")

    def _name(self, position: int) -> str:
        """Id and type of an event whose own bytes cannot be trusted, as the index has them."""
        try:
            return next((f"{row[1]}, {row[2]}" for row in self._ledger.index(position, position)), "")
        except LogError:
            return ""


def _name_of(row: Row) -> str:
    return f"{row.event_id}, {row.type}"
