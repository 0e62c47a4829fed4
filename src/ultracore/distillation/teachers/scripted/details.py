"""The details of a request, read from the customer's words against the records seen so far.

Each function returns the detail, or the step that has to come first: a look-up, or a question. What
this file does not know: in which order a rule needs them (`rules`).
"""

from __future__ import annotations

import re
from typing import Any

from ultracore.distillation.teachers.scripted import references as refs
from ultracore.distillation.teachers.scripted.amounts import read_value
from ultracore.distillation.teachers.scripted.dates import read_day
from ultracore.distillation.teachers.scripted.dialogue import Dialogue, Request
from ultracore.distillation.teachers.scripted.steps import Call, Say

__all__ = ["account_of", "card_of", "escalate", "extras_of", "named", "neat", "new_limits", "source_of", "target_of"]

Record = dict[str, Any]
Patterns = tuple[tuple[str, str], ...]

_LIMITS = (("atm", r"\batm\b|cash|withdraw"), ("online", r"online|internet"), ("shop", r"\bshops?\b|\bstores?\b"),
           ("abroad", r"abroad|foreign|travel"))  # fmt: skip
_IBAN = re.compile(r"\bDE\d{2}[\d ]{15,24}\d\b")
_REFERENCE = re.compile(r"reference:? ['\"]([^'\"]+)['\"]")


def card_of(d: Dialogue, r: Request) -> Record | Call | Say:
    """The card meant, looked up; else the look-up or the question for it."""
    cards = d.profile["cards"]
    found = r.find(lambda words: refs.cards_in(words, cards)) or []
    if re.search(r"\bother (card|one)\b", next(r.newest(), "")) and len(cards) == 2:
        found = [card for card in cards if card not in found] if len(found) == 1 else found
    if not found and len(cards) == 1:
        found = cards
    if len(found) != 1:
        return Say("card", options=tuple(f"{c['kind']} card ending in {c['last_four']}" for c in cards))
    return d.cards.get(found[0]["card_id"]) or Call("get_card", {"card_id": found[0]["card_id"]})


def account_of(d: Dialogue, r: Request) -> Record | Say:
    """The account meant; the first one where none is mentioned."""
    accounts: list[Record] = d.profile["accounts"]
    return _one_of(r, r.find(lambda words: refs.accounts_in(words, accounts)) or accounts[:1])


def source_of(d: Dialogue, r: Request) -> Record | Say:
    """The account that money comes from; the first one where none is mentioned."""
    accounts: list[Record] = d.profile["accounts"]
    return _one_of(r, r.find(lambda words: refs.own_account_in(words, accounts, target=False)) or accounts[:1])


def _one_of(r: Request, accounts: list[Record]) -> Record | Say:
    """The account meant among several that fit, if any sentence names exactly one of them."""
    if len(accounts) == 1:
        return accounts[0]
    exact = r.find(lambda words: _single(refs.accounts_in(words, accounts)))
    return exact or _which(accounts)


def _single(found: list[Record]) -> Record | None:
    return found[0] if len(found) == 1 else None


def _which(accounts: list[Record]) -> Say:
    return Say("account", options=tuple(f"{a.get('nickname', a['kind'])} ending in {a['iban'][-4:]}" for a in accounts))


def target_of(d: Dialogue, r: Request, source: Record) -> Record | Call | Say:
    """Who receives a transfer: an own account, a given IBAN, or a saved payee."""
    holder = f"{d.profile['name']['first']} {d.profile['name']['last']}"
    others = [account for account in d.profile["accounts"] if account != source]
    own = r.find(lambda words: refs.own_account_in(words, others, target=True)) or []
    if own:
        account = _one_of(r, own)
        return account if isinstance(account, Say) else {"iban": account["iban"], "name": holder}
    if match := _IBAN.search(" ".join(r.said)):
        named = re.search(r"\bto ([A-Z][a-z]+ [A-Z][a-z]+)", " ".join(r.said))
        return {"iban": match[0].replace(" ", ""), "name": named[1] if named else holder}
    if d.payees is None:
        return Call("list_payees", {"customer_id": d.profile["customer_id"]})
    payees = d.payees
    found = r.find(lambda words: refs.payees_in(words, payees)) or []
    if len(found) != 1:
        return Say("payee", options=tuple(payee["name"] for payee in found or payees))
    return {"iban": found[0]["iban"], "name": found[0]["name"]}


def extras_of(d: Dialogue, r: Request) -> Record:
    """The optional arguments of a transfer: schedule and reference."""
    extras: Record = {}
    every = re.search(r"every week|weekly", r.words), re.search(r"every month|monthly", r.words)
    day = r.find(lambda words: read_day(words, d.today, ahead=True))
    if day or any(every):
        extras["schedule"] = {"date": str(day or d.today)}
        if any(every):
            extras["schedule"]["repeat"] = "weekly" if every[0] else "monthly"
    if match := _REFERENCE.search(" ".join(reversed(r.said))):
        extras["reference"] = match[1]
    return extras


def new_limits(words: str, now: Record) -> list[Record]:
    """The limits that the words set, worked out from the present ones."""
    found = []
    for part in re.split(r"\band\b|,(?!\d)", words):
        kind = next((kind for kind, pattern in _LIMITS if re.search(pattern, part)), None)
        amount = _limit_amount(part, words, now[kind]) if kind else None
        if kind and amount is not None:
            per = next((p for p in ("week", "month") if re.search(rf"(per|a|each) {p}\b|{p}ly", part)), None)
            found.append({"kind": kind, "amount": neat(amount)} | ({"period": per} if per else {}))
    return found


def _limit_amount(part: str, words: str, now: float) -> float | None:
    if re.search(r"\b(double|twice)\b", part):
        return now * 2
    if re.search(r"\b(halve|half)\b", part):
        return now / 2
    value = read_value(part)
    if value is None or not re.search(r"\bby\b", part):
        return value
    return max(0.0, now - value) if re.search(r"\b(lower|reduce|decrease|cut)\b", words) else now + value


def neat(value: float) -> float:
    """Whole sums without a decimal point, as people and models write them."""
    return int(value) if value == int(value) else value


def named(r: Request, patterns: Patterns) -> str | None:
    """The first name whose pattern the newest fitting sentence shows."""
    return r.find(lambda words: next((name for name, pattern in patterns if re.search(pattern, words)), None))


def escalate(d: Dialogue, r: Request, department: str, what: str) -> Call:
    """Hand over, with a note in prose."""
    who = f"{d.profile['name']['first']} {d.profile['name']['last']}" if d.profile else "A customer not yet identified"
    note = f"{who} {what}. In the customer's words: {r.said[0]}"
    known = {"customer_id": d.profile["customer_id"]} if d.profile else {}
    return Call("escalate_to_human", {"department": department, "note": note, **known})
