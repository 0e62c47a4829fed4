"""What can be done next: call a tool, say something, or nothing because a request is settled.

What this file does not know: which of them is right (`rules`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = ["WORK", "Call", "Say", "Settled", "Step"]


class Call(NamedTuple):
    """Call a tool."""

    name: str
    arguments: dict[str, Any]


class Say(NamedTuple):
    """Reply with text on a topic."""

    topic: str
    details: str = ""
    options: tuple[str, ...] = ()


class Settled(NamedTuple):
    """Nothing is left to do; `outcome` is for the customer."""

    outcome: str


Step = Call | Say | Settled

WORK: Final = {
    "block_card": "card block", "limits": "limits", "transfer": "transfer", "orders": "standing order",
    "dispute": "dispute", "statement": "statement", "contact": "contact data", "balance": "balance",
    "history": "transactions", "card_info": "card details", "human": "hand-over", "forbidden": "request",
}  # fmt: skip
"""How a reply names each kind of request."""
