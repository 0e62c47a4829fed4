"""The bank's made-up customers, with what they own: every value is synthetic by construction.

IBANs carry the check digits 00, which no real IBAN has, e-mail addresses end in reserved domains,
and phone numbers come from a range kept free for fiction. What this file does not know: what can
be done with all that (`world`).
"""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from typing import Any

from ultracore.distillation.teachers.scripted.grammar import stream

__all__ = ["NICKNAMES", "Record", "iban", "make_customer", "short_name"]

Record = dict[str, Any]

FIRST = (
    "Anna", "Ben", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Ida", "Jonas",
    "Karin", "Leon", "Maria", "Nils", "Olga", "Paul", "Rosa", "Simon", "Tara", "Uwe",
    "Vera", "Walter", "Yara", "Zeno", "Amira", "Boris", "Chiara", "Dario", "Emil", "Farah",
)  # fmt: skip
LAST = (
    "Weber", "Novak", "Rossi", "Larsen", "Meyer", "Kowalski", "Dubois", "Silva", "Horvat", "Jansen",
    "Moreau", "Keller", "Lindgren", "Costa", "Bauer", "Petrov", "Schulz", "Ferrari", "Olsen", "Marek",
    "Brandt", "Vidal", "Huber", "Sato", "Okafor", "Demir", "Fontaine", "Ivanova", "Grant", "Nilsson",
)  # fmt: skip
STREETS = (
    "Mill Lane",
    "Station Road",
    "Garden Street",
    "Harbour Way",
    "Church Square",
    "Linden Avenue",
    "Bridge Street",
)
CITIES = ("Berlin", "Hamburg", "Leipzig", "Bremen", "Dresden", "Mainz", "Kiel", "Ulm")
MERCHANTS = ("Blue Bean Cafe", "Corner Grocer", "Velo Works", "Star Cinema", "Paper Moon Books", "Metro Tickets",
             "Green Fork Bistro", "Pixel Games", "Sunny Pharmacy", "Nordic Outdoor", "Cloud Locker", "Taxi Direct",
             "Hotel Aurora", "Bright Optics", "Garden Depot", "Quick Parcel", "Tasty Ramen", "Urban Shoes")  # fmt: skip
CREDITORS = ("City Gym", "Stream Box", "Harbour Insurance", "Volt Energy", "Fiber Net", "Lake Housing", "Music Hall",
             "Bike Leasing", "Animal Shelter", "Daily Paper", "Climb Zone", "Kids Club")  # fmt: skip
NICKNAMES = ("holiday", "rainy day", "house", "car", "wedding")
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


def make_customer(seed: int, index: int, today: date) -> Record:
    """A customer of the bank as of `today`; everything lasting depends on `seed` and `index` alone."""
    rng = stream(seed, "customer", index)
    accounts = _accounts(rng)
    return {
        "customer_id": f"C{rng.randrange(100_000, 1_000_000)}",
        **_person(rng),
        "accounts": [
            account | _activity(stream(seed, index, account["account_id"], today), today) for account in accounts
        ],
        "cards": _cards(rng, accounts[0]["account_id"]),
        "payees": _payees(rng),
        "namesake": {"customer_id": f"C{rng.randrange(100_000, 1_000_000)}", "birth_date": str(_birth_date(rng))},
    }


def iban(rng: Random) -> str:
    """A German-looking IBAN whose check digits are 00, so that it cannot exist."""
    return f"DE00{rng.randrange(10**17, 10**18)}"


def short_name(name: str) -> str:
    """What people call a firm: its first two words, in lower case."""
    return " ".join(name.lower().split()[:2])


def _person(rng: Random) -> Record:
    first, last = rng.choice(FIRST), rng.choice(LAST)
    mailbox = f"{first}{rng.choice(('.', '_', ''))}{last}{rng.choice(('', str(rng.randrange(10, 99))))}"
    return {
        "name": {"first": first, "last": last},
        "birth_date": str(_birth_date(rng)),
        "email": f"{mailbox}@example.{rng.choice(('com', 'org', 'net'))}".lower(),
        "phone": f"+49 30 23125 {rng.randrange(1000):03}",
        "address": {
            "street": f"{rng.choice(STREETS)} {rng.randrange(1, 90)}",
            "postcode": f"{rng.randrange(10_000, 99_000)}",
            "city": rng.choice(CITIES),
        },
    }


def _birth_date(rng: Random) -> date:
    return date(1945, 1, 1) + timedelta(rng.randrange(60 * 365))


def _accounts(rng: Random) -> list[Record]:
    kinds = ["checking"] + ["savings"] * rng.choice((0, 1, 1, 1, 2, 2)) + ["joint"] * (rng.random() < 0.3)
    nicknames = rng.sample(NICKNAMES, len(kinds))
    accounts = []
    for kind, nickname in zip(kinds, nicknames, strict=True):
        account: Record = {"account_id": f"AC-{rng.randrange(10**7, 10**8)}", "kind": kind, "iban": iban(rng)}
        if kind == "savings" and (kinds.count("savings") > 1 or rng.random() < 0.4):
            account["nickname"] = nickname
        accounts.append(account | {"opened": str(date(2012, 1, 1) + timedelta(rng.randrange(4000)))})
    return accounts


def _activity(rng: Random, today: date) -> Record:
    return {
        "balance": {"value": rng.choice((1, 3, 3, 10, 25)) * rng.randrange(9_000, 90_000) / 100, "currency": "EUR"},
        "standing_orders": [_standing_order(rng, name) for name in rng.sample(CREDITORS, rng.randint(2, 4))],
        "transactions": _transactions(rng, today),
    }


def _standing_order(rng: Random, name: str) -> Record:
    return {
        "standing_order_id": f"SO-{rng.randrange(1000, 9999)}",
        "to": {"name": name, "iban": iban(rng)},
        "amount": {"value": float(rng.choice((9.99, 14.5, 25, 39.9, 60, 85, 120, 640))), "currency": "EUR"},
        "day_of_month": rng.randint(1, 28),
    }


def _transactions(rng: Random, today: date) -> list[Record]:
    favourites = rng.sample(MERCHANTS, 7)
    days = sorted(rng.randrange(1, 45) for _ in range(rng.randint(14, 22)))
    return [
        {
            "transaction_id": f"TX-{rng.randrange(10**6, 10**7)}",
            "date": str(today - timedelta(age)),
            "amount": {"value": -rng.choice((1, 1, 3)) * rng.randrange(300, 9_000) / 100, "currency": "EUR"},
            "counterparty": rng.choice(favourites),
            "status": "pending" if age < 2 else "booked",
        }
        for age in days
    ]


def _cards(rng: Random, account_id: str) -> list[Record]:
    kinds = ["debit"] + ["credit"] * rng.choice((0, 1, 1, 1, 2)) + ["debit"] * (rng.random() < 0.15)
    cards = [
        {
            "card_id": "card_" + "".join(rng.choice(_ALPHABET) for _ in range(6)),
            "kind": kind,
            "network": "Visa" if rng.random() < 0.5 else "Mastercard",
            "last_four": f"{rng.randrange(1000, 10_000)}",
            "expires": f"{rng.randrange(2027, 2031)}-{rng.randrange(1, 13):02}",
            "account_id": account_id,
            "status": "blocked" if rng.random() < 0.06 else "active",
            "limits": {
                "atm": rng.randrange(200, 1100, 100), "online": rng.randrange(300, 2600, 100),
                "shop": rng.randrange(500, 3100, 100), "abroad": rng.randrange(100, 1100, 100),
            },
        }
        for kind in kinds
    ]  # fmt: skip
    rng.shuffle(cards)
    return cards


def _payees(rng: Random) -> list[Record]:
    names = {f"{rng.choice(FIRST)} {rng.choice(LAST)}" for _ in range(rng.randint(3, 5))}
    firms = rng.sample(CREDITORS, 2)
    payees = [{"payee_id": f"P{rng.randrange(1000, 9999)}", "name": name, "iban": iban(rng)} for name in sorted(names)]
    payees += [{"payee_id": f"P{rng.randrange(1000, 9999)}", "name": name, "iban": iban(rng)} for name in firms]
    rng.shuffle(payees)
    return payees
