"""What customers come for, and the words in which they ask for it.

A goal is one request: its opening words, its answers to what the bank may ask, and sometimes a
change of mind. Some goals name things plainly; hard ones describe, compare or compute. What this
file does not know: how the bank handles them (`rules`).
"""

# ruff: noqa: E501 - a sentence pattern reads best on one line.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import Any

from ultracore.distillation.teachers.scripted import dates
from ultracore.distillation.teachers.scripted.amounts import say_amount, say_computed
from ultracore.distillation.teachers.scripted.people import CREDITORS, FIRST, LAST, iban, short_name
from ultracore.distillation.teachers.scripted.scene import Scene

__all__ = ["Goal", "make_goal"]

_PLEASE = "[please|could you|can you|would you|I'd like you to|I need you to|]"
_WANT = "[I want to|I'd like to|I need to|can I|could I|I have to|help me]"


@dataclass(frozen=True)
class Goal:
    """One request of a customer.

    Attributes:
        kind: What it is about.
        words: How the customer opens.
        answers: What the customer replies, by the topic of the bank's question.
        change: What the customer says instead of a first yes, or "".
        hard: Whether it describes, compares or computes instead of naming.
    """

    kind: str
    words: str
    answers: dict[str, str] = field(default_factory=dict)
    change: str = ""
    hard: bool = False


def _block_card(s: Scene) -> Goal:
    reason = s.rng.choice(("lost", "stolen", "damaged", ""))
    card = s.name_card()
    patterns = {
        "lost": "[I lost my {c}|I can't find my {c} anywhere|my {c} is gone|I think I misplaced my {c}|my {c} is missing since {d}]",
        "stolen": "[somebody stole my {c}|my {c} was stolen [in the train|at the market|]|thieves stole my bag, and the {c} with it]",
        "damaged": "[my {c} broke in two|the chip of my {c} is broken, block the card|my {c} snapped]",
        "": f"[{_PLEASE} block my {{c}}|{_WANT} block the {{c}}|{_PLEASE} freeze my {{c}} [now|right away|]]",
    }
    words = s.say(
        patterns[reason], c=card if s.chance(0.7) else "card", d=s.rng.choice(("Monday", "yesterday", "noon"))
    )
    extra = s.say(
        "[, and I need a new one|, send me a replacement|, a replacement would be nice|||, no replacement needed]"
    )
    why = s.say(
        "[I lost it|it was stolen|I must have lost it [on the way|]|someone stole it|it broke|it is gone, misplaced I think]"
    )
    return Goal("block_card", words + extra, {"card": _which(s, card), "reason": why}, _other_card(s), s.hard)


def _limits(s: Scene) -> Goal:
    kinds = s.rng.sample(("ATM", "online", "shop", "abroad"), 2 if s.chance(0.35) else 1)
    parts = [_limit_part(s, kind) for kind in kinds]
    card = s.name_card()
    verb = s.say("[set|change|put|adjust]") if not s.hard else s.rng.choice(("raise", "lower"))
    tail = s.say("[on|for|of] my {c}", c=card) if s.chance(0.7) else ""
    wish = s.say("[" + _PLEASE + "|" + _WANT + "]")
    change = s.say("[no, make it|sorry, make that] {p} instead", p=_limit_part(s, kinds[0])) if s.chance(0.15) else ""
    if s.chance(0.2):
        return Goal(
            "limits",
            f"{wish} change a limit {tail}",
            {"card": _which(s, card), "limits": " and ".join(parts)},
            change,
            s.hard,
        )
    return Goal("limits", f"{wish} {verb} {' and '.join(parts)} {tail}", {"card": _which(s, card)}, change, s.hard)


def _limit_part(s: Scene, kind: str) -> str:
    spoken = s.say(f"[the|my] [{kind}|{_SYNONYMS[kind]}] limit")
    if s.hard:
        step = say_amount(float(s.rng.randrange(50, 400, 50)), s.rng)
        return s.say("{k} [by {m}|to double of what it is now|to half of it|by {m}]", k=spoken, m=step)
    return s.say("{k} to {m}{p}", k=spoken, m=s.limit(), p=s.rng.choice(("", "", "", " per week", " a month")))


_SYNONYMS = {"ATM": "cash withdrawal", "online": "internet", "shop": "store", "abroad": "foreign"}


def _transfer(s: Scene) -> Goal:
    money = say_computed(s.rng) if s.hard and s.chance(0.65) else s.money()
    to, answers = _receiver(s)
    when = " " + dates.future(s.today, s.rng, s.hard) if s.chance(0.45) else ""
    repeat = s.rng.choice(("", "", "", "", " every month", " weekly"))
    source = f" from my {s.name_account()}" if s.chance(0.4) else ""
    verb = s.say(f"[{_WANT}|{_PLEASE}|{_PLEASE}] [transfer|send|wire|pay|move]")
    note = (
        s.say(", reference '{r}'", r=s.say("[rent|invoice|gift|tickets|trip] [{n}|]", n=s.rng.randrange(100, 999)))
        if s.chance(0.2)
        else ""
    )
    change = _transfer_change(s)
    answers["amount"] = s.say("[|make it |I think ]{m}", m=money)
    if s.chance(0.15):
        return Goal("transfer", f"{verb} some money to {to}{source}{when}{note}", answers, change, s.hard)
    order = s.rng.choice((f"{money}{source} to {to}", f"{money} to {to}{source}"))
    return Goal("transfer", f"{verb} {order}{when}{repeat}{note}", answers, change, s.hard)


def _receiver(s: Scene) -> tuple[str, dict[str, str]]:
    payee = s.rng.choice(s.customer["payees"])
    others = [account for account in s.customer["accounts"][1:] if account != s.account]
    target = s.rng.choice(others) if others and s.chance(0.3) else None
    fallback = {"payee": s.say("[to|I mean] {n}", n=payee["name"]), "account": s.point_out(target)}
    if target is not None:
        return f"my {s.name_account(target)}", fallback
    if s.chance(0.15):
        return f"{s.rng.choice(FIRST)} {s.rng.choice(LAST)}, {iban(s.rng)}", fallback
    first = payee["name"].split()[0]
    return (first if s.chance(0.3) and payee["name"] not in CREDITORS else payee["name"]), fallback


def _transfer_change(s: Scene) -> str:
    return s.say(
        "[||||||no, make it {m} instead|wait, {m} instead please|actually take it from my {a} instead|no, forget it]",
        m=s.money(), a=s.name_account(s.rng.choice(s.customer["accounts"])),
    )  # fmt: skip


def _orders(s: Scene) -> Goal:
    s.account = s.customer["accounts"][0] if s.chance(0.8) else s.account
    known = s.account["standing_orders"]
    names = [order["to"]["name"] for order in s.rng.sample(known, 2 if s.chance(0.25) else 1)]
    what = s.rng.choice((f"all standing orders except {names[0]}", "the most expensive standing order", "all my standing orders",
                         "the cheapest standing order")) if s.hard else f"the standing order{'s' * (len(names) > 1)} to {' and '.join(names)}"  # fmt: skip
    where = f" on my {s.name_account()}" if s.account != s.customer["accounts"][0] or s.chance(0.2) else ""
    if s.chance(0.2):
        what = "a standing order"
    change = s.say("no, the one to {n} instead", n=s.rng.choice(known)["to"]["name"]) if s.chance(0.12) else ""
    answers = {"orders": s.say("[the one to|it is|] {n}", n=" and ".join(names)), "account": s.point_out()}
    return Goal(
        "orders", s.say(f"[{_WANT}|{_PLEASE}] [cancel|stop|end|delete] {{w}}", w=what) + where, answers, change, s.hard
    )


def _dispute(s: Scene) -> Goal:
    bookings = s.customer["accounts"][0]["transactions"]
    booking = s.rng.choice(bookings[:10])
    shop, cost = booking["counterparty"], say_amount(abs(booking["amount"]["value"]), s.rng)
    when = dates.past(date.fromisoformat(booking["date"]), s.today, s.rng, s.hard)
    easy = ("the {m} [at|to|from] {s}", "{m} by {s}", "a payment of {m} {d}", "the {s} payment over {m}")
    vague = (
        "the [last|bigger|smaller|first] {s} payment",
        "all {s} payments",
        "the {s} payment {d}",
        "the last payment to {s}",
    )
    what = s.say(
        s.rng.choice(vague if s.hard else easy), m=cost, s=shop if s.chance(0.5) else short_name(shop).title(), d=when
    )
    why = s.say("[I don't recognise it|I was charged twice|they charged me too much|it never arrived|that wasn't me]")
    pattern = (
        f"[{_WANT} dispute {{w}}|{_PLEASE} dispute {{w}}|there is {{w}} that I don't recognise|I don't recognise {{w}}]"
    )
    words = s.say(pattern, w=what) if s.chance(0.85) else s.say(f"{_WANT} dispute a payment")
    words += f", {why}" if s.chance(0.5) else ""
    exact = s.say("[the|it is the|I mean] {m} at {s}", m=cost, s=shop)
    return Goal("dispute", words, {"transactions": exact, "reason": why}, s.say("[||||||||no, forget it]"), s.hard)


def _statement(s: Scene) -> Goal:
    when = dates.period(s.today, s.rng, s.hard)
    how = s.say("[|||, as csv|, as a spreadsheet|, by post please|, on paper]")
    which = f" [for|of] my {s.name_account()}" if s.chance(0.6) else ""
    start = s.say(
        f"[{_PLEASE} send me|{_WANT} order|I need|give me] [a statement|an account statement|the statement]{which}"
    )
    opening = start + (f" {when}" if s.chance(0.75) else "") + how
    return Goal("statement", opening, {"period": when, "account": s.point_out()}, "", s.hard)


def _contact(s: Scene) -> Goal:
    name = s.customer["name"]
    mail = f"{name['first']}.{name['last']}{s.rng.randrange(100)}@example.{s.rng.choice(('com', 'org'))}".lower()
    phone = f"+49 30 23125 {s.rng.randrange(1000):03}"
    street = f"{s.rng.choice(('Mill Lane', 'Rose Street', 'Park Avenue', 'North Road'))} {s.rng.randrange(1, 99)}"
    home = f"{street}, {s.rng.randrange(10_000, 99_000)} {s.rng.choice(('Bonn', 'Essen', 'Jena', 'Fulda'))}"
    words, value = s.rng.choice((("e-mail address", mail), ("phone number", phone), ("postal address", home)))
    pattern = (
        f"[{_WANT}|{_PLEASE}] [change|update] my {{w}} to {{v}}"
        if s.chance(0.5)
        else "[my new {w} is {v}|I have a new {w}: {v}]"
    )
    if s.chance(0.25):
        return Goal(
            "contact", s.say(f"{_WANT} [change|update] my {{w}}", w=words), {"contact": s.say("[it is|] {v}", v=value)}
        )
    return Goal("contact", s.say(pattern, w=words, v=value))


def _balance(s: Scene) -> Goal:
    if s.hard:
        return Goal("balance", s.say("[what is|tell me] the balance of all my accounts"), hard=True)
    pattern = "[what's|what is|tell me|can you check] [the|my] balance {o}|how much money do I have {o}|how much is left {o}|how much is on it {o}"
    words = s.say(f"[{pattern}]", o=f"on my {s.name_account()}" if s.chance(0.7) else "on my account")
    return Goal("balance", words.replace("on it ", "left "), {"account": s.point_out()})


def _history(s: Scene) -> Goal:
    where = f" [on|of] my {s.name_account()}" if s.chance(0.6) else ""
    when = dates.period(s.today, s.rng, s.hard)
    many = f"my last {s.rng.choice(('five', '3', '20', 'ten', '15'))} [transactions|bookings|payments]"
    what = s.say((many if s.chance(0.4) else f"[the|my] [transactions|bookings|payments] {when}") + where)
    return Goal(
        "history",
        s.say("[show me|list|what are|can you list|I want to see] {w}", w=what),
        {"account": s.point_out()},
        "",
        s.hard,
    )


def _card_info(s: Scene) -> Goal:
    card = s.name_card()
    pattern = "[is my {c} still active|when does my {c} expire|what are the limits of my {c}|does my {c} work|is the {c} valid]"
    return Goal("card_info", s.say(pattern, c=card if s.chance(0.8) else "card"), {"card": _which(s, card)}, "", s.hard)


def _human(s: Scene) -> Goal:
    pattern = (
        "[I want to talk to a [person|human] about {t}|can I speak to [someone|a colleague] about {t}|I'd like to make a complaint about {t}|"
        f"{_WANT} [ask about|get] a mortgage|I am interested in a loan [over|of] {{m}}]"
    )
    topic = s.say(
        "[a late payment|the app|your fees|my credit card bill|a card fee|the branch in [Ulm|Kiel|Mainz]|a wrong booking]"
    )
    return Goal("human", s.say(pattern, t=topic, m=s.money()))


def _forbidden(s: Scene) -> Goal:
    return Goal("forbidden", s.say(
        "[can you tell me the PIN of my {c}|send me my PIN|should I invest [in stocks|my savings]|unblock my {c} [again|please]|"
        "move {m} from my [wife|husband|mother|boss]'s account|what do you think of crypto|reactivate my {c}]",
        c=s.name_card(), m=s.money(),
    ))  # fmt: skip


_MAKERS: tuple[tuple[Callable[[Scene], Goal], float], ...] = (
    (_block_card, 1.3), (_limits, 1.3), (_transfer, 2.4), (_orders, 1.1), (_dispute, 1.4), (_statement, 1.2),
    (_contact, 0.8), (_balance, 0.9), (_history, 0.8), (_card_info, 0.6), (_human, 0.5), (_forbidden, 0.2),
)  # fmt: skip


def make_goal(customer: dict[str, Any], today: date, rng: Random, hard_share: float = 0.33) -> Goal:
    """Draw a request that makes sense for this customer."""
    makers, weights = zip(*_MAKERS, strict=True)
    goal: Goal = rng.choices(makers, weights)[0](Scene(customer, today, rng, rng.random() < hard_share))
    return goal


def _which(s: Scene, card: str) -> str:
    if card == "card":
        card = f"card ending in {s.card['last_four']}"
    return s.say("[the {c}|it's the {c}|my {c}|{c}]", c=card)


def _other_card(s: Scene) -> str:
    return s.say("[||||||no, the other card instead|hold on, forget it]")
