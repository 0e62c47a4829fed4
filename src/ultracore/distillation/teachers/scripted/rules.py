"""The teacher's rules: what to do next for each kind of request, given the facts.

A rule returns a `Call`, something to `Say`, or `Settled` when nothing is left to do. What this file
does not know: messages, and how replies are worded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ultracore.distillation.teachers.scripted import references as refs
from ultracore.distillation.teachers.scripted.amounts import Amount, read_amount, read_value
from ultracore.distillation.teachers.scripted.dates import NUMBERS, read_day, read_period
from ultracore.distillation.teachers.scripted.dialogue import Dialogue, Request, booking_key

__all__ = ["RULES", "WORK", "Call", "Say", "Settled", "Step"]

Record = dict[str, Any]


class Call(NamedTuple):
    """Call a tool."""

    name: str
    arguments: Record


class Say(NamedTuple):
    """Reply with text on a topic."""

    topic: str
    details: str = ""
    options: tuple[str, ...] = ()


class Settled(NamedTuple):
    """Nothing is left to do; `outcome` is for the customer."""

    outcome: str


Step = Call | Say | Settled

WORK = {
    "block_card": "card block", "limits": "limits", "transfer": "transfer", "orders": "standing order",
    "dispute": "dispute", "statement": "statement", "contact": "contact data", "balance": "balance",
    "history": "transactions", "card_info": "card details", "human": "hand-over", "forbidden": "request",
}  # fmt: skip
"""How a reply names each kind of request."""

MAX_LIMIT = 5_000
_DEPARTMENTS = (("lending", r"mortgage|\bloan\b"), ("complaints", r"complain"), ("cards", r"\bcards?\b"))
_LOSSES = (("stolen", r"stole|robbed|snatched|took my"), ("damaged", r"broke|snapped|damaged|chip|bent"),
           ("lost", r"lost|missing|gone|can't find|misplaced|disappeared|left it"))  # fmt: skip
_GROUNDS = (("duplicate", r"twice|double|two times"), ("wrong_amount", r"too much|wrong amount|overcharged"),
            ("not_received", r"never (arrived|came)|not received|didn't get"),
            ("unrecognised", r"recognise|wasn't me|not mine|didn't make|don't know|fraud"))  # fmt: skip
_LIMITS = (("atm", r"\batm\b|cash|withdraw"), ("online", r"online|internet"), ("shop", r"\bshops?\b|\bstores?\b"),
           ("abroad", r"abroad|foreign|travel"))  # fmt: skip
_PHONE = re.compile(r"\+49[\d ]+\d")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]*\w")
_ADDRESS = re.compile(r"\b([A-Z][a-z]+ [A-Z][a-z]+ \d+),? (\d{5}) ([A-Z][a-z]+)")
_IBAN = re.compile(r"\bDE\d{2}[\d ]{15,24}\d\b")
_REFERENCE = re.compile(r"reference:? ['\"]([^'\"]+)['\"]")
_HOW_MANY = re.compile(r"last (\d{1,2}|" + "|".join(NUMBERS) + r") (?:transactions|payments|bookings)")


def block_card(d: Dialogue, r: Request) -> Step:
    """Look the card up, learn the reason, confirm unless it was stolen, block."""
    if r.done:
        return Settled("The card is blocked.")
    card = _card(d, r)
    if isinstance(card, Call | Say):
        return card
    if card["status"] == "blocked":
        return Settled(f"The card ending in {card['last_four']} is blocked already.")
    reason = _named(r, _LOSSES)
    if reason is None:
        return Say("reason")
    if reason != "stolen" and not r.confirmed:
        return Say("confirm", f"for the {card['kind']} card ending in {card['last_four']} ({reason})")
    wants_new = re.search(r"(new|replacement) (one|card)|replace", r.words) and "no replacement" not in r.words
    return Call(
        "block_card", {"card_id": card["card_id"], "reason": reason} | ({"replacement": True} if wants_new else {})
    )


def limits(d: Dialogue, r: Request) -> Step:
    """Look at the present limits, work out the new ones, confirm, set."""
    if r.done:
        return Settled("The new limits are set.")
    card = _card(d, r)
    if isinstance(card, Call | Say):
        return card
    wanted = r.find(lambda words: _new_limits(words, card["limits"])) or []
    if not wanted:
        return Say("limits")
    if any(limit["amount"] > MAX_LIMIT for limit in wanted):
        return Settled(f"Limits above {MAX_LIMIT} EUR are not possible.")
    if not r.confirmed:
        return Say("confirm", " and ".join(f"{limit['kind']} to {limit['amount']:g} EUR" for limit in wanted))
    return Call("set_card_limits", {"card_id": card["card_id"], "limits": wanted})


def transfer(d: Dialogue, r: Request) -> Step:
    """Who, how much, is there enough, is it allowed; then confirm and send."""
    if r.done:
        return Settled("The transfer is on its way.")
    source = _source(d, r)
    if isinstance(source, Say):
        return source
    target = _target(d, r, source)
    if isinstance(target, Call | Say):
        return target
    amount = r.find(read_amount)
    if amount is None:
        return Say("amount")
    if source["account_id"] not in d.accounts:
        return Call("get_account", {"account_id": source["account_id"]})
    return _send(d, r, d.accounts[source["account_id"]], target, amount)


def _send(d: Dialogue, r: Request, source: Record, target: Record, amount: Amount) -> Step:
    balance = source["balance"]["value"]
    money: Record = {"value": _neat(amount.of(balance)), "currency": "EUR"}
    if not 0 < money["value"] <= balance:
        return Settled(f"There is not enough in the account for that: the balance is {balance:.2f} EUR.")
    if money["value"] > d.policy.escalate_above:
        return _escalate(d, r, "payments", f"wants to transfer {money['value']:.2f} EUR to {target['name']}")
    if d.policy.check_above is not None and money["value"] > d.policy.check_above:
        allowed = d.checks.get(f"{source['account_id']}:{money['value']}")
        if allowed is None:
            return Call("check_transfer_limit", {"account_id": source["account_id"], "amount": money})
        if not allowed:
            return Settled("That is more than the account may send today.")
    if not r.confirmed:
        return Say("confirm", f"{money['value']:.2f} EUR to {target['name']}")
    arguments = {"from_account": source["account_id"], "to": target, "amount": money}
    return Call("create_transfer", arguments | _extras(d, r))


def orders(d: Dialogue, r: Request) -> Step:
    """List the account's standing orders, pick, confirm, cancel."""
    if r.done:
        return Settled("The standing order is cancelled.")
    account = _account(d, r)
    if isinstance(account, Say):
        return account
    if account["account_id"] not in d.accounts:
        return Call("get_account", {"account_id": account["account_id"]})
    known = d.accounts[account["account_id"]]["standing_orders"]
    chosen = r.find(lambda words: refs.orders_in(words, known))
    if not chosen:
        return Say("orders", options=tuple(order["to"]["name"] for order in known))
    if not r.confirmed:
        return Say("confirm", "cancel " + " and ".join(order["to"]["name"] for order in chosen))
    ids = [order["standing_order_id"] for order in chosen]
    return Call("cancel_standing_orders", {"account_id": account["account_id"], "standing_order_ids": ids})


def dispute(d: Dialogue, r: Request) -> Step:
    """Find the payments, learn the reason, confirm, dispute."""
    if r.done:
        return Settled("The dispute is open; you will hear from us within ten days.")
    account = _account(d, r)
    if isinstance(account, Say):
        return account
    day = r.find(lambda words: read_day(words, d.today, ahead=False))
    arguments = {"account_id": account["account_id"]} | ({"from_date": str(day), "to_date": str(day)} if day else {})
    known = d.bookings.get(booking_key(arguments))
    if known is None:
        return Call("list_transactions", arguments)
    chosen = r.find(lambda words: refs.transactions_in(words, known)) or []
    if not chosen or (len(chosen) > 1 and not re.search(r"\b(all|both|every|each)\b", r.words)):
        return Say("transactions", options=tuple(f"{t['counterparty']} {t['amount']['value']}" for t in chosen[:4]))
    reason = _named(r, _GROUNDS)
    if reason is None:
        return Say("reason")
    if not r.confirmed:
        return Say("confirm", f"{len(chosen)} x {chosen[0]['counterparty']}, {chosen[0]['amount']['value']} EUR")
    ids = [booking["transaction_id"] for booking in chosen]
    return Call("dispute_transactions", {"account_id": account["account_id"], "transaction_ids": ids, "reason": reason})


def statement(d: Dialogue, r: Request) -> Step:
    """Account and period, then order it."""
    if r.done:
        return Settled("The statement is on its way.")
    account = _account(d, r)
    if isinstance(account, Say):
        return account
    period = r.find(lambda words: read_period(words, d.today))
    if period is None:
        return Say("period")
    arguments = {"account_id": account["account_id"], "from_date": str(period.first)}
    arguments |= {"to_date": str(period.last)} if period.last else {}
    arguments |= {"format": "csv"} if re.search(r"csv|spreadsheet|excel", r.words) else {}
    return Call(
        "order_statement", arguments | ({"delivery": "post"} if re.search(r"by post|on paper", r.words) else {})
    )


def contact(d: Dialogue, r: Request) -> Step:
    """Confirm the new contact data, then change them."""
    if r.done:
        return Settled("Your contact data are up to date.")
    said = " ".join(reversed(r.said))
    new: Record = {}
    if "mail" in r.words and (match := _EMAIL.search(said)):
        new["email"] = match[0].lower()
    if match := _PHONE.search(said):
        new["phone"] = match[0]
    if match := _ADDRESS.search(said):
        new["address"] = dict(zip(("street", "postcode", "city"), match.groups(), strict=True))
    if not new:
        return Say("contact")
    if not r.confirmed:
        return Say("confirm", "new " + " and ".join(new))
    return Call("update_contact", {"customer_id": d.profile["customer_id"], **new})


def balance(d: Dialogue, r: Request) -> Step:
    """Look up the account, or all of them."""
    every = re.search(r"\b(all|every|each)\b.*\baccounts?\b", r.words)
    account = _account(d, r)
    if isinstance(account, Say) and not every:
        return account
    wanted = d.profile["accounts"] if every or isinstance(account, Say) else [account]
    for account in wanted:
        if account["account_id"] not in d.accounts:
            return Call("get_account", {"account_id": account["account_id"]})
    parts = (f"{a['kind']}: {d.accounts[a['account_id']]['balance']['value']:.2f} EUR" for a in wanted)
    return Settled(f"Your balance is {', '.join(parts)}.")


def history(d: Dialogue, r: Request) -> Step:
    """List the transactions of the period, or the number asked for."""
    account = _account(d, r)
    if isinstance(account, Say):
        return account
    arguments = {"account_id": account["account_id"]}
    if period := r.find(lambda words: read_period(words, d.today)):
        arguments |= {"from_date": str(period.first)} | ({"to_date": str(period.last)} if period.last else {})
    known = d.bookings.get(booking_key(arguments))
    if known is None:
        match = _HOW_MANY.search(r.words)
        count = {"limit": NUMBERS.get(match[1]) or int(match[1])} if match else {}
        return Call("list_transactions", arguments | count)
    return Settled(f"I find {len(known)} transactions, together {sum(t['amount']['value'] for t in known):.2f} EUR.")


def card_info(d: Dialogue, r: Request) -> Step:
    """Look the card up."""
    card = _card(d, r)
    if isinstance(card, Call | Say):
        return card
    return Settled(
        f"The card is {card['status']} and expires {card['expires']}; its ATM limit is {card['limits']['atm']} EUR."
    )


def human(d: Dialogue, r: Request) -> Step:
    """Hand over, with a note."""
    if r.done:
        return Settled("A colleague will be with you in a few minutes.")
    return _escalate(d, r, _named(r, _DEPARTMENTS) or "payments", "asks for a person")


def forbidden(d: Dialogue, r: Request) -> Step:
    """What the policy rules out is refused."""
    return Settled("I am sorry, that is something I am not allowed to do here.")


RULES: dict[str, Callable[[Dialogue, Request], Step]] = {
    rule.__name__: rule
    for rule in (
        block_card, limits, transfer, orders, dispute, statement, contact, balance, history, card_info, human, forbidden
    )
}  # fmt: skip
"""The rule of each kind of request."""


def _card(d: Dialogue, r: Request) -> Record | Call | Say:
    cards = d.profile["cards"]
    found = r.find(lambda words: refs.cards_in(words, cards)) or []
    if re.search(r"\bother (card|one)\b", next(r.newest(), "")) and len(cards) == 2:
        found = [card for card in cards if card not in found] if len(found) == 1 else found
    if not found and len(cards) == 1:
        found = cards
    if len(found) != 1:
        return Say("card", options=tuple(f"{c['kind']} card ending in {c['last_four']}" for c in cards))
    return d.cards.get(found[0]["card_id"]) or Call("get_card", {"card_id": found[0]["card_id"]})


def _account(d: Dialogue, r: Request) -> Record | Say:
    accounts: list[Record] = d.profile["accounts"]
    return _one_of(r, r.find(lambda words: refs.accounts_in(words, accounts)) or accounts[:1])


def _source(d: Dialogue, r: Request) -> Record | Say:
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


def _target(d: Dialogue, r: Request, source: Record) -> Record | Call | Say:
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


def _extras(d: Dialogue, r: Request) -> Record:
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


def _new_limits(words: str, now: Record) -> list[Record]:
    found = []
    for part in re.split(r"\band\b|,(?!\d)", words):
        kind = next((kind for kind, pattern in _LIMITS if re.search(pattern, part)), None)
        amount = _limit_amount(part, words, now[kind]) if kind else None
        if kind and amount is not None:
            per = next((p for p in ("week", "month") if re.search(rf"(per|a|each) {p}\b|{p}ly", part)), None)
            found.append({"kind": kind, "amount": _neat(amount)} | ({"period": per} if per else {}))
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


def _neat(value: float) -> float:
    """Whole sums without a decimal point, as people and models write them."""
    return int(value) if value == int(value) else value


def _named(r: Request, patterns: tuple[tuple[str, str], ...]) -> str | None:
    return r.find(lambda words: next((name for name, pattern in patterns if re.search(pattern, words)), None))


def _escalate(d: Dialogue, r: Request, department: str, what: str) -> Call:
    who = f"{d.profile['name']['first']} {d.profile['name']['last']}" if d.profile else "A customer not yet identified"
    note = f"{who} {what}. In the customer's words: {r.said[0]}"
    known = {"customer_id": d.profile["customer_id"]} if d.profile else {}
    return Call("escalate_to_human", {"department": department, "note": note, **known})
