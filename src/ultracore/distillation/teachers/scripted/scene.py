"""The ground a goal stands on: a customer, a day, a random stream, and ways to name what they own.

What this file does not know: what the customer wants (`goals`).
"""

from __future__ import annotations

from datetime import date
from random import Random

from ultracore.distillation.teachers.scripted.amounts import say_amount
from ultracore.distillation.teachers.scripted.grammar import expand
from ultracore.distillation.teachers.scripted.people import Record

__all__ = ["Scene"]


class Scene:
    """What a goal is made from: the customer, the day, a random stream, and how hard it may be."""

    def __init__(self, customer: Record, today: date, rng: Random, hard: bool) -> None:
        self.customer, self.today, self.rng, self.hard = customer, today, rng, hard
        self.account: Record = rng.choice(customer["accounts"]) if rng.random() < 0.5 else customer["accounts"][0]
        self.card: Record = rng.choice(customer["cards"])

    def say(self, pattern: str, **slots: object) -> str:
        """Pick one sentence of a pattern."""
        return expand(pattern, self.rng, **slots)

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.rng.random() < share

    def money(self) -> str:
        """Name a plain sum."""
        round_sum = self.rng.choice((20, 50, 100, 200, 300, 500, 1000, 2400, self.rng.randrange(15, 900, 5)))
        value = round_sum if self.chance(0.6) else self.rng.randrange(500, 190_000) / 100
        return say_amount(float(value), self.rng)

    def limit(self) -> str:
        """Name a plausible card limit."""
        return say_amount(float(self.rng.randrange(200, 3000, 100)), self.rng)

    def name_card(self) -> str:
        """Name the scene's card; a hard scene compares instead."""
        kind, four = self.card["kind"], self.card["last_four"]
        if self.hard:
            return self.say("[|{k}] card that expires [first|last]", k=kind)
        same = [card for card in self.customer["cards"] if card["kind"] == kind]
        plain: tuple[str, ...] = (f"{kind} card", f"{self.card['network']} {kind} card") if len(same) == 1 else ()
        return self.rng.choice(
            (f"card ending in {four}", f"{kind} card ending {four}", f"card x{four}", *plain, *plain)
        )

    def name_account(self, account: Record | None = None) -> str:
        """Name an account, sometimes so that several fit."""
        account = account or self.account
        alike = [other for other in self.customer["accounts"] if other["kind"] == account["kind"]]
        if self.hard and len(alike) > 1:
            return f"{account['kind']} account that I opened {self.rng.choice(('first', 'last'))}"
        if "nickname" in account and self.chance(0.6):
            return f"{account['nickname']} {self.rng.choice(('account', 'savings', 'pot'))}"
        if len(alike) > 1 and self.chance(0.7):
            return f"account ending in {account['iban'][-4:]}"
        return f"{account['kind']} account"

    def point_out(self, account: Record | None = None) -> str:
        """Name an account so that no other fits."""
        account = account or self.account
        name = account.get("nickname") or f"account ending in {account['iban'][-4:]}"
        return self.say("[the {n}|the {n}, please|my {n}|I mean the {n}]", n=name)
