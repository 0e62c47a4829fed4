"""Which card, account, payee, order or payment people mean: words against the bank's records.

Each function returns every candidate that fits the words: none where nothing is mentioned, several
where the words are ambiguous. What this file does not know: what to do then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ultracore.distillation.teachers.scripted.amounts import read_value
from ultracore.distillation.teachers.scripted.people import short_name

__all__ = ["accounts_in", "cards_in", "orders_in", "own_account_in", "payees_in", "transactions_in"]

Record = dict[str, Any]

_ENDING = re.compile(r"(?:ending|ends|end)(?: in| with| on)? (\d{4})|\.{3}(\d{4})|\bx(\d{4})")
_KIND = re.compile(r"\b(checking|current|savings|joint)\b")
_ACCOUNT = (
    r"(?:my|the|our) ([a-z ]*?(?:checking|savings|joint|current|pot|account)(?: account)?"
    r"(?: that i opened (?:first|last)| ending in \d{4})?)"
)
_FROM = re.compile(r"\b(?:from|use|off|out of) " + _ACCOUNT)
_TO = re.compile(r"\b(?:to|into|onto) " + _ACCOUNT)


def cards_in(words: str, cards: Sequence[Record]) -> list[Record]:
    """Cards by their last four digits, kind, network, or expiry."""
    if match := _ENDING.search(words):
        return [card for card in cards if card["last_four"] in match.groups()]
    kinds = [kind for kind in ("debit", "credit") if re.search(rf"\b{kind}\b", words)]
    networks = [network for network in ("Visa", "Mastercard") if network.lower() in words]
    expiry = re.search(r"expires? (first|soonest|sooner|last|later)", words)
    if not (kinds or networks or expiry):
        return []
    fitting = [c for c in cards if (not kinds or c["kind"] in kinds) and (not networks or c["network"] in networks)]
    if expiry and fitting:
        pick = max if expiry[1] in ("last", "later") else min
        return [pick(fitting, key=lambda card: card["expires"])]
    return fitting


def accounts_in(words: str, accounts: Sequence[Record]) -> list[Record]:
    """Accounts by the end of their IBAN, nickname, kind, or age."""
    if match := _ENDING.search(words):
        return [account for account in accounts if account["iban"].endswith(match[1] or match[2] or match[3])]
    if named := [a for a in accounts if a.get("nickname") and a["nickname"] in words]:
        return named
    kind = _KIND.search(words)
    fitting = [a for a in accounts if kind and a["kind"] == kind[1].replace("current", "checking")]
    if opened := re.search(r"opened (first|last)", words):
        pick = min if opened[1] == "first" else max
        return [pick(fitting or accounts, key=lambda account: account["opened"])]
    return fitting


def own_account_in(words: str, accounts: Sequence[Record], *, target: bool) -> list[Record]:
    """The own account that money goes to (`target`) or comes from."""
    match = (_TO if target else _FROM).search(words)
    return accounts_in(match[1], accounts) if match else []


def payees_in(words: str, payees: Sequence[Record]) -> list[Record]:
    """Payees by full name, else by a part of it."""
    if full := [payee for payee in payees if payee["name"].lower() in words]:
        return full
    tokens = set(re.findall(r"[a-z]+", words))
    return [payee for payee in payees if tokens & set(payee["name"].lower().split())]


def orders_in(words: str, orders: Sequence[Record]) -> list[Record]:
    """Standing orders by creditor, by amount, all of them, or all but some."""
    named = [order for order in orders if order["to"]["name"].lower() in words]
    if re.search(r"\ball\b|\bevery", words):
        return [order for order in orders if order not in named]
    if named or not orders:
        return named
    if match := re.search(r"(most expensive|biggest|cheapest|smallest)", words):
        pick = max if match[1] in ("most expensive", "biggest") else min
        return [pick(orders, key=_size)]
    return []


def transactions_in(words: str, transactions: Sequence[Record]) -> list[Record]:
    """Transactions by counterparty and amount, then narrowed by 'the last', 'the biggest', 'all' ..."""
    fitting = [t for t in transactions if short_name(t["counterparty"]) in words]
    value = read_value(words)
    if value is not None:
        fitting = [t for t in fitting or transactions if abs(t["amount"]["value"]) == value]
    if len(fitting) < 2 or re.search(r"\b(all|both|every|each)\b", words):
        return fitting
    return _picked(words, fitting)


_PICKS: tuple[tuple[str, Callable[[Iterable[Record]], Record]], ...] = (
    (r"\b(bigger|biggest|larger|largest|higher|highest)\b", lambda found: max(found, key=lambda t: _size(t))),
    (r"\b(smaller|smallest|lower|lowest)\b", lambda found: min(found, key=lambda t: _size(t))),
    (r"\b(last|latest|newest|most recent)\b", lambda found: max(found, key=lambda t: str(t["date"]))),
    (r"\b(first|earliest|oldest)\b", lambda found: min(reversed(list(found)), key=lambda t: str(t["date"]))),
)


def _picked(words: str, fitting: list[Record]) -> list[Record]:
    for pattern, pick in _PICKS:
        if re.search(pattern, words):
            return [pick(fitting)]
    return fitting


def _size(item: Record) -> float:
    return abs(float(item["amount"]["value"]))
