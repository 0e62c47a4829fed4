"""What a conversation has come to: identity, records seen, and requests with their words.

A fold over the messages; it holds facts and takes no decision. What this file does not know: what
to do next (`rules`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from ultracore.distillation.teachers.scripted.tools import POLICIES, Policy
from ultracore.distillation.teachers.scripted.understanding import understand

__all__ = ["CLOSING", "Dialogue", "Request"]

Record = dict[str, Any]
Found = TypeVar("Found")

CLOSING = frozenset(
    {"block_card", "set_card_limits", "create_transfer", "cancel_standing_orders", "dispute_transactions",
     "order_statement", "update_contact", "escalate_to_human"}
)  # fmt: skip
"""A successful call of one of these ends the request it was made for."""

_TODAY = re.compile(r"Today is (\d{4}-\d{2}-\d{2})")
_DEFAULT_TODAY = date(2025, 6, 2)
_DROP = re.compile(r"\b(forget|never ?mind|leave it|cancel that|don't bother|drop)\b")


@dataclass
class Request:
    """One thing the customer wants.

    Attributes:
        kind: What it is about, such as `transfer`.
        said: The customer's sentences about it, oldest first.
        confirmed: Whether the customer said yes after it was read back.
        done: Whether a tool carried it out.
        dropped: Whether the customer took it back.
        outcome: How it ended, once nothing is left to do for it.
        told: Whether the customer was told the outcome.
    """

    kind: str
    said: list[str] = field(default_factory=list)
    confirmed: bool = False
    done: bool = False
    dropped: bool = False
    outcome: str = ""
    told: bool = False

    @property
    def is_open(self) -> bool:
        """Whether something is left to do for it."""
        return not (self.dropped or self.outcome)

    def find(self, read: Callable[[str], Found | None]) -> Found | None:
        """What a reader of lower-case words finds first, from the newest sentence back."""
        return next((found for words in self.newest() if (found := read(words))), None)

    def newest(self) -> Iterator[str]:
        """The sentences in lower case, newest first."""
        return (words.lower() for words in reversed(self.said))

    @property
    def words(self) -> str:
        """Everything said about it, in lower case."""
        return " ".join(self.said).lower()


@dataclass
class Dialogue:
    """The facts of a conversation so far."""

    policy: Policy = POLICIES["2025"]
    today: date = _DEFAULT_TODAY
    identity: dict[str, str] = field(default_factory=dict)
    not_found: bool = False
    matches: list[Record] = field(default_factory=list)
    profile: Record = field(default_factory=dict)
    accounts: dict[str, Record] = field(default_factory=dict)
    cards: dict[str, Record] = field(default_factory=dict)
    bookings: dict[str, list[Record]] = field(default_factory=dict)
    payees: list[Record] | None = None
    checks: dict[str, bool] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    last_topic: str = ""
    farewell: bool = False

    def set_rules(self, prompt: str, tools: Sequence[str]) -> None:
        """Read the day and the policy from the system prompt and the tools offered."""
        if match := _TODAY.search(prompt):
            self.today = date.fromisoformat(match[1])
        self.policy = POLICIES["2026" if "check_transfer_limit" in tools else "2025"]

    def hear(self, text: str, active: Request | None) -> None:
        """A message of the customer, while `active` is in hand."""
        heard = understand(text)
        self._identify(heard.identity)
        news = self._sort_clauses(heard.clauses, active)
        if self.last_topic == "confirm" and active is not None:
            active.confirmed = heard.answer == "yes"
            active.dropped = heard.answer == "no" and not news
        elif active is not None and _DROP.search(text.lower()):
            active.dropped = True
        self.farewell = heard.farewell and self.last_topic in ("summary", "goodbye") and not news
        self.last_topic = ""

    def learn(self, name: str, arguments: Record, result: Record, active: Request | None) -> None:
        """The result of a call that was made while `active` was in hand."""
        if "error" in result:
            self._forget_identity(name)
        elif name in CLOSING:
            self._close(active, arguments)
        elif name == "find_customer_by_email":
            self.identity["customer_id"] = result["customer_id"]
        elif name == "find_customer_by_name":
            self.matches = result["matches"]
        elif name == "get_customer":
            self.profile = result
        elif name == "get_account":
            self.accounts[result["account_id"]] = result
        elif name == "get_card":
            self.cards[result["card_id"]] = result
        elif name == "list_payees":
            self.payees = result["payees"]
        elif name == "list_transactions":
            self.bookings[booking_key(arguments)] = result["transactions"]
        elif name == "check_transfer_limit":
            self.checks[f"{result['account_id']}:{arguments['amount']['value']}"] = result["allowed"]

    def _identify(self, identity: dict[str, str]) -> None:
        if identity:
            self.not_found = False
        if not self.profile:
            self.identity |= identity

    def _sort_clauses(self, clauses: Sequence[tuple[str | None, str]], active: Request | None) -> bool:
        """Give each sentence to the request it is about; whether a new request came up."""
        news, current = False, active
        answering = active is not None and self.last_topic not in ("", "summary", "goodbye", "request")
        for kind, words in clauses:
            if kind and not (answering and "also" not in words.lower()):
                known = next((r for r in self.requests if r.kind == kind and r.is_open), None)
                current = known or Request(kind)
                if known is None:
                    self.requests.append(current)
                    news = True
            if current is not None:
                current.said.append(words)
        return news

    def _forget_identity(self, name: str) -> None:
        if name in ("find_customer_by_email", "find_customer_by_name", "get_customer"):
            self.not_found = True
            self.identity = {}

    def _close(self, active: Request | None, arguments: Record) -> None:
        if active is not None:
            active.done = True
        self.accounts.pop(arguments.get("from_account") or arguments.get("account_id") or "", None)
        self.cards.pop(arguments.get("card_id", ""), None)


def booking_key(arguments: Record) -> str:
    """What tells one list of transactions from another: the account and the days, not the length."""
    return ":".join(str(arguments.get(name, "")) for name in ("account_id", "from_date", "to_date"))
