"""The bank's tools as a model is offered them: OpenAI definitions with MCP-like annotations.

`POLICIES` holds what changed when: "2026" adds a tool and lowers a limit, so that drift can be
shown. What this file does not know: what the tools do (`world`) and when they are called (`policy`).
"""

# ruff: noqa: E501 - a definition reads best on one line.

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ultracore.distillation.errors import ConfigurationError

__all__ = ["DESTRUCTIVE", "POLICIES", "Policy", "Schema", "offered", "policy_of"]

Schema = dict[str, Any]


class Policy(NamedTuple):
    """One version of the rules.

    Attributes:
        year: Its name, and the year its conversations take place in.
        escalate_above: Transfers above this many EUR go to a person.
        check_above: Transfers above this many EUR need a limit check first; `None` where none do.
    """

    year: int
    escalate_above: int
    check_above: int | None


POLICIES: Final = {"2025": Policy(2025, 10_000, None), "2026": Policy(2026, 5_000, 1_000)}


def policy_of(name: str) -> Policy:
    """The policy of that name.

    Raises:
        ConfigurationError: There is none.
    """
    if name not in POLICIES:
        raise ConfigurationError(f"policy must be one of {', '.join(POLICIES)}, not {name!r}")
    return POLICIES[name]


def offered(policy: str = "2025") -> list[Schema]:
    """The tool definitions under a policy."""
    new = [_CHECK_LIMIT] if policy_of(policy).check_above is not None else []
    return [*_TOOLS, *new]


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _enum(description: str, *values: str, **more: Any) -> Schema:
    return {"type": "string", "enum": list(values), "description": description, **more}


def _object(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _list(description: str, items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "description": description}


def _tool(
    name: str, description: str, required: tuple[str, ...] = (), destructive: bool = False, /, **properties: Schema
) -> Schema:
    function = {"name": name, "description": description, "parameters": _object(required, **properties)}
    hints = {"readOnlyHint": not destructive, "destructiveHint": destructive}
    return {"type": "function", "function": function, "annotations": hints}


_CUSTOMER = _text("Customer number, such as C204817", pattern="^C[0-9]{6}$")
_ACCOUNT = _text("Account id from the customer's profile, such as AC-58213077")
_CARD = _text("Card id from the customer's profile, such as card_9f3k2x")
_DAY = _text("A day, as YYYY-MM-DD", format="date")
_MONEY = _object(
    ("value", "currency"), value={"type": "number", "exclusiveMinimum": 0}, currency=_enum("Currency", "EUR", "USD")
)
_PARTY = _object(("iban", "name"), iban=_text("IBAN without spaces"), name=_text("Name of the holder"))
_LIMIT = _object(
    ("kind", "amount"),
    kind=_enum("What is limited", "atm", "online", "shop", "abroad"),
    amount={"type": "number", "minimum": 0, "maximum": 5000, "description": "New limit in EUR"},
    period=_enum("Per which period", "day", "week", "month", default="day"),
)

_TOOLS: Final = [
    _tool("find_customer_by_email", "Find a customer by e-mail address.", ("email",), email=_text("E-mail", format="email")),
    _tool(
        "find_customer_by_name", "Find customers by name; several may share one, compare the birth dates.",
        ("first_name", "last_name"), first_name=_text("First name"), last_name=_text("Last name"),
    ),
    _tool("get_customer", "Profile of a customer with the ids of accounts and cards.", ("customer_id",), customer_id=_CUSTOMER),
    _tool("get_account", "Balance and standing orders of an account.", ("account_id",), account_id=_ACCOUNT),
    _tool(
        "list_transactions", "Transactions of an account, newest first.", ("account_id",),
        account_id=_ACCOUNT, from_date=_DAY, to_date=_DAY,
        limit={"type": "integer", "minimum": 1, "maximum": 50, "default": 10, "description": "At most so many"},
    ),
    _tool("list_payees", "Saved payees of a customer.", ("customer_id",), customer_id=_CUSTOMER),
    _tool("get_card", "Status, expiry and limits of a card.", ("card_id",), card_id=_CARD),
    _tool(
        "block_card", "Block a card for good.", ("card_id", "reason"), True,
        card_id=_CARD, reason=_enum("Why", "lost", "stolen", "damaged"),
        replacement={"type": "boolean", "default": False, "description": "Send a new card"},
    ),
    _tool(
        "set_card_limits", "Set one or several limits of a card.", ("card_id", "limits"), True,
        card_id=_CARD, limits=_list("The new limits", _LIMIT),
    ),
    _tool(
        "create_transfer", "Send money, now or on a later day.", ("from_account", "to", "amount"), True,
        from_account=_ACCOUNT, to=_PARTY, amount=_MONEY,
        schedule=_object(("date",), date=_DAY, repeat=_enum("How often", "once", "weekly", "monthly", default="once")),
        reference=_text("Reference for the receiver"),
    ),
    _tool(
        "cancel_standing_orders", "Cancel standing orders of an account.", ("account_id", "standing_order_ids"), True,
        account_id=_ACCOUNT, standing_order_ids=_list("Ids of the orders", {"type": "string"}),
    ),
    _tool(
        "dispute_transactions", "Dispute transactions of an account.", ("account_id", "transaction_ids", "reason"), True,
        account_id=_ACCOUNT, transaction_ids=_list("Ids of the transactions", {"type": "string"}),
        reason=_enum("Why", "unrecognised", "duplicate", "wrong_amount", "not_received"),
    ),
    _tool(
        "order_statement", "Send an account statement.", ("account_id", "from_date"),
        account_id=_ACCOUNT, from_date=_DAY, to_date=_DAY,
        format=_enum("File format", "pdf", "csv", default="pdf"),
        delivery=_enum("How it is sent", "email", "post", default="email"),
    ),
    _tool(
        "update_contact", "Change a customer's contact data; leave out what stays.", ("customer_id",), True,
        customer_id=_CUSTOMER, email=_text("E-mail", format="email"), phone=_text("Phone number"),
        address=_object(("street", "postcode", "city"), street=_text("Street"), postcode=_text("Postcode"), city=_text("City")),
    ),
    _tool(
        "escalate_to_human", "Hand the conversation to a colleague.", ("department", "note"),
        department=_enum("Who takes over", "payments", "cards", "lending", "complaints"),
        note=_text("What the colleague needs to know"), customer_id=_CUSTOMER,
    ),
]  # fmt: skip

_CHECK_LIMIT: Final = _tool(
    "check_transfer_limit", "Whether an account may send this amount today.", ("account_id", "amount"),
    account_id=_ACCOUNT, amount=_MONEY,
)  # fmt: skip

DESTRUCTIVE: Final = frozenset(tool["function"]["name"] for tool in _TOOLS if tool["annotations"]["destructiveHint"])
"""Names of the tools that change the world for good."""
