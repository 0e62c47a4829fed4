"""Reads what a customer wrote: who they are, what they want, yes or no. Rules, not statistics.

What this file does not know: what was asked before, and what the bank's records hold.
"""

# ruff: noqa: E501 - a pattern reads best on one line.

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ultracore.distillation.teachers.scripted.dates import read_birth_date
from ultracore.distillation.teachers.scripted.grammar import correct

__all__ = ["Heard", "understand"]


class Heard(NamedTuple):
    """A customer's message.

    Attributes:
        clauses: (kind of request or `None`, words) of each sentence.
        identity: What the customer said about who they are: customer_id, email, first, last, birth_date.
        answer: "yes", "no", "change" (no, but differently) or "" where it is none of them.
        farewell: Whether it only takes leave.
    """

    clauses: tuple[tuple[str | None, str], ...]
    identity: dict[str, str]
    answer: str
    farewell: bool


_INTENTS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("forbidden", r"\bpin\b|invest|stocks|crypto|unblock|reactivate|(wife|husband|mother|father|son|boss)'s account"),
        ("human", r"mortgage|\bloan\b|complain|complaint|speak (to|with)|talk (to|with)|real person|\bhuman\b"),
        ("block_card", (r"(block|freeze|deactivate|disable)\b.*\b(card|debit|credit|one|visa|mastercard)\b"
                       r"|\bcard\b.*\b(stolen|lost|missing|gone|broke|broken|snapped|disappeared)"
                       r"|(lost|stole|misplaced|can't find|broke|snapped)\b.*\bcard\b")),
        ("dispute", r"dispute|chargeback|recognise|wasn't me|not mine|charged (me )?(twice|too much)|never (arrived|came)"),
        ("limits", r"(raise|lower|increase|decrease|set|change|double|halve|put|reduce|adjust|cut)\b.*\blimits?\b"),
        ("orders", r"standing orders?\b|stop paying|regular payments?\b"),
        ("statement", r"\bstatements?\b|account extract"),
        ("contact", r"(new|change|update|changed)\b.*\b(e-?mail|phone|mobile|address|number)|\bmoved\b|relocated"),
        ("transfer", r"\b(transfer|send|wire|move|pay|put)\b"),
        ("balance", r"\bbalances?\b|how much (money )?(do i have|is (left )?(on|in)|have i got)|how much is left"),
        ("history", r"transactions|payments|bookings|what did i spend|spending"),
        ("card_info", r"\bcard\b.*\b(active|valid|expire|expires|limits?|work)|(limits?|expiry)\b.*\bcard\b"),
    )
)  # fmt: skip

_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_NUMBER = re.compile(r"\bC-?(\d{6})\b|\b(?:customer|client) (?:number|no\.?|id)\D{0,8}(\d{6})\b", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]*\w")
_NAME = re.compile(r"(?:[Mm]y name is|[Nn]ame:|[Tt]his is|I'm|I am|[Nn]ame's) ([A-Z][a-z]+) ([A-Z][a-z]+)")
_SURNAME_FIRST = re.compile(r"\b([A-Z][a-z]+), ([A-Z][a-z]+)[,;] born")
_YES = re.compile(
    r"^(yes|yeah|yep|yup|sure|ok|okay|correct|right|go ahead|please do|do it|confirmed|exactly|that's (right|fine|correct)"
    r"|perfect|sounds good|fine|of course|absolutely|alright|go for it|by all means)\b"
)
_NO = re.compile(
    r"^(no|nope|nah|stop|wait|don't|hold on|cancel that|forget|never ?mind|actually|hmm|on second thought)\b"
)
_CHANGE = re.compile(r"\binstead\b|\brather\b|make (it|that)|i meant|not the\b")
_BYE = re.compile(r"^(no|nope|bye|thanks|thank you|that's (all|it)|that was (all|it)|all good|great|perfect|nothing)\b")


@lru_cache(maxsize=4096)
def understand(text: str) -> Heard:
    """Read one message; the same text is always read the same."""
    text = correct(text)
    clauses = tuple((_intent(sentence.lower()), sentence) for sentence in _SENTENCE.split(text.strip()) if sentence)
    return Heard(clauses, _identity(clauses), _answer(text.lower()), _is_farewell(text.lower(), clauses))


def _intent(sentence: str) -> str | None:
    return next((kind for kind, pattern in _INTENTS if pattern.search(sentence)), None)


def _answer(text: str) -> str:
    if _YES.search(text) and not _CHANGE.search(text):
        return "yes"
    if _CHANGE.search(text):
        return "change"
    return "no" if _NO.search(text) else ""


def _is_farewell(text: str, clauses: tuple[tuple[str | None, str], ...]) -> bool:
    return bool(_BYE.search(text)) and not any(kind for kind, _ in clauses)


def _identity(clauses: tuple[tuple[str | None, str], ...]) -> dict[str, str]:
    known: dict[str, str] = {}
    for kind, sentence in clauses:
        if match := _NUMBER.search(sentence):
            known["customer_id"] = f"C{match[1] or match[2]}"
        if kind != "contact" and (match := _EMAIL.search(sentence)):
            known["email"] = match[0].lower()
        if match := _NAME.search(sentence):
            known |= {"first": match[1], "last": match[2]}
        if match := _SURNAME_FIRST.search(sentence):
            known |= {"first": match[2], "last": match[1]}
        if day := read_birth_date(sentence):
            known["birth_date"] = day.isoformat()
    return known
