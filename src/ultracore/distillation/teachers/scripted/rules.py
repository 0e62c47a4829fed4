"""The teacher's rules: what to do next for each kind of request, given the facts.

A rule returns a `Call`, something to `Say`, or `Settled` when nothing is left to do. What this file
does not know: messages, and how replies are worded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ultracore.distillation.teachers.scripted import references as refs
from ultracore.distillation.teachers.scripted.amounts import Amount, read_amount
from ultracore.distillation.teachers.scripted.dates import NUMBERS, read_day, read_period
from ultracore.distillation.teachers.scripted.details import (
    account_of,
    card_of,
    escalate,
    extras_of,
    named,
    neat,
    new_limits,
    source_of,
    target_of,
)
from ultracore.distillation.teachers.scripted.dialogue import Dialogue, Request, booking_key
from ultracore.distillation.teachers.scripted.steps import Call, Say, Settled, Step

__all__ = ["RULES"]

Record = dict[str, Any]

MAX_LIMIT = 5_000
DEFAULT_COUNT = 10
_DEPARTMENTS = (("lending", r"mortgage|\bloan\b"), ("complaints", r"complain"), ("cards", r"\bcards?\b"))
_LOSSES = (("stolen", r"stole|robbed|snatched|took my"), ("damaged", r"broke|snapped|damaged|chip|bent"),
           ("lost", r"lost|missing|gone|can't find|misplaced|disappeared|left it"))  # fmt: skip
_GROUNDS = (("duplicate", r"twice|double|two times"), ("wrong_amount", r"too much|wrong amount|overcharged"),
            ("not_received", r"never (arrived|came)|not received|didn't get"),
            ("unrecognised", r"recognise|wasn't me|not mine|didn't make|don't know|fraud"))  # fmt: skip
_PHONE = re.compile(r"\+49[\d ]+\d")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]*\w")
_ADDRESS = re.compile(r"\b([A-Z][a-z]+ [A-Z][a-z]+ \d+),? (\d{5}) ([A-Z][a-z]+)")
_HOW_MANY = re.compile(r"last (\d{1,2}|" + "|".join(NUMBERS) + r") (?:transactions|payments|bookings)")


def block_card(d: Dialogue, r: Request) -> Step:
    """Look the card up, learn the reason, confirm unless it was stolen, block."""
    if r.done:
        return Settled("The card is blocked.")
    card = card_of(d, r)
    if isinstance(card, Call | Say):
        return card
    if card["status"] == "blocked":
        return Settled(f"The card ending in {card['last_four']} is blocked already.")
    reason = named(r, _LOSSES)
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
    card = card_of(d, r)
    if isinstance(card, Call | Say):
        return card
    wanted = r.find(lambda words: new_limits(words, card["limits"])) or []
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
    source = source_of(d, r)
    if isinstance(source, Say):
        return source
    target = target_of(d, r, source)
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
    money: Record = {"value": neat(amount.of(balance)), "currency": "EUR"}
    if not 0 < money["value"] <= balance:
        return Settled(f"There is not enough in the account for that: the balance is {balance:.2f} EUR.")
    if money["value"] > d.policy.escalate_above:
        return escalate(d, r, "payments", f"wants to transfer {money['value']:.2f} EUR to {target['name']}")
    if d.policy.check_above is not None and money["value"] > d.policy.check_above:
        allowed = d.checks.get(f"{source['account_id']}:{money['value']}")
        if allowed is None:
            return Call("check_transfer_limit", {"account_id": source["account_id"], "amount": money})
        if not allowed:
            return Settled("That is more than the account may send today.")
    if not r.confirmed:
        return Say("confirm", f"{money['value']:.2f} EUR to {target['name']}")
    arguments = {"from_account": source["account_id"], "to": target, "amount": money}
    return Call("create_transfer", arguments | extras_of(d, r))


def orders(d: Dialogue, r: Request) -> Step:
    """List the account's standing orders, pick, confirm, cancel."""
    if r.done:
        return Settled("The standing order is cancelled.")
    account = account_of(d, r)
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
    account = account_of(d, r)
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
    reason = named(r, _GROUNDS)
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
    account = account_of(d, r)
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
    account = account_of(d, r)
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
    account = account_of(d, r)
    if isinstance(account, Say):
        return account
    arguments = {"account_id": account["account_id"]}
    if period := r.find(lambda words: read_period(words, d.today)):
        arguments |= {"from_date": str(period.first)} | ({"to_date": str(period.last)} if period.last else {})
    known = d.bookings.get(booking_key(arguments))
    if known is None:
        match = _HOW_MANY.search(r.words)
        count = (NUMBERS.get(match[1]) or int(match[1])) if match else DEFAULT_COUNT
        return Call("list_transactions", arguments | ({"limit": count} if count != DEFAULT_COUNT else {}))
    return Settled(f"I find {len(known)} transactions, together {sum(t['amount']['value'] for t in known):.2f} EUR.")


def card_info(d: Dialogue, r: Request) -> Step:
    """Look the card up."""
    card = card_of(d, r)
    if isinstance(card, Call | Say):
        return card
    return Settled(
        f"The card is {card['status']} and expires {card['expires']}; its ATM limit is {card['limits']['atm']} EUR."
    )


def human(d: Dialogue, r: Request) -> Step:
    """Hand over, with a note."""
    if r.done:
        return Settled("A colleague will be with you in a few minutes.")
    return escalate(d, r, named(r, _DEPARTMENTS) or "payments", "asks for a person")


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
