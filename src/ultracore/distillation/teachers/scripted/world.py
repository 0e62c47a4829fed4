"""The bank behind the tools: it runs calls against one customer's state and answers in JSON.

The world only executes; it never advises, and it accepts what the schemas accept. What this file
does not know: who decided to call, and why.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ultracore.distillation.teachers.scripted.grammar import stream
from ultracore.distillation.teachers.scripted.people import Record

__all__ = ["World"]

Arguments = dict[str, Any]
_HIDDEN = ("balance", "standing_orders", "transactions")


class World:
    """One customer's bank, changed by the calls it runs.

    Args:
        customer: The customer; copied, so that every trial starts from the same state.
        daily_limit: What `check_transfer_limit` allows a day, in EUR.
    """

    def __init__(self, customer: Record, daily_limit: float = 3_000.0) -> None:
        self._customer = copy.deepcopy(customer)
        self._daily_limit = daily_limit
        self._receipts = 0

    def run(self, name: str, arguments: Arguments) -> Record:
        """Run one call; what cannot be done is answered with `{"error": ...}`, as a real tool does."""
        tool: Callable[[Arguments], Record] | None = getattr(self, f"_run_{name}", None)
        if tool is None:
            return {"error": f"no such tool: {name}"}
        try:
            return tool(arguments)
        except _NotFoundError as error:
            return {"error": str(error)}

    def _run_find_customer_by_email(self, arguments: Arguments) -> Record:
        if arguments["email"].lower() != self._customer["email"]:
            raise _NotFoundError("no customer with this e-mail address")
        return {"customer_id": self._customer["customer_id"]}

    def _run_find_customer_by_name(self, arguments: Arguments) -> Record:
        me, name = self._customer, self._customer["name"]
        if (arguments["first_name"].lower(), arguments["last_name"].lower()) != (
            name["first"].lower(),
            name["last"].lower(),
        ):
            raise _NotFoundError("no customer with this name")
        matches = [{"customer_id": me["customer_id"], "birth_date": me["birth_date"]}, dict(me["namesake"])]
        matches.sort(key=lambda match: match["customer_id"])
        return {"matches": [match | {"name": name} for match in matches]}

    def _run_get_customer(self, arguments: Arguments) -> Record:
        me = self._customer
        if arguments["customer_id"] != me["customer_id"]:
            raise _NotFoundError("no such customer number")
        accounts = [{k: v for k, v in account.items() if k not in _HIDDEN} for account in me["accounts"]]
        cards = [{k: card[k] for k in ("card_id", "kind", "network", "last_four", "expires")} for card in me["cards"]]
        about = {k: me[k] for k in ("customer_id", "name", "birth_date", "email", "phone", "address")}
        return about | {"accounts": accounts, "cards": cards}

    def _run_get_account(self, arguments: Arguments) -> Record:
        return {k: v for k, v in self._account(arguments).items() if k not in ("transactions", "opened")}

    def _run_list_transactions(self, arguments: Arguments) -> Record:
        account = self._account(arguments)
        first, last = arguments.get("from_date", ""), arguments.get("to_date", "9999")
        found = [booking for booking in account["transactions"] if first <= booking["date"] <= last]
        shown = found[: arguments.get("limit", 10)]
        return {"account_id": account["account_id"], "transactions": shown, "more": len(found) > len(shown)}

    def _run_list_payees(self, arguments: Arguments) -> Record:
        return {"customer_id": arguments["customer_id"], "payees": self._customer["payees"]}

    def _run_get_card(self, arguments: Arguments) -> Record:
        return self._card(arguments)

    def _run_block_card(self, arguments: Arguments) -> Record:
        card = self._card(arguments)
        card["status"] = "blocked"
        replacement = {"replacement": {"arrives_in_days": 5}} if arguments.get("replacement") else {}
        return {"card_id": card["card_id"], "status": "blocked", **replacement}

    def _run_set_card_limits(self, arguments: Arguments) -> Record:
        card = self._card(arguments)
        card["limits"].update({limit["kind"]: limit["amount"] for limit in arguments["limits"]})
        return {"card_id": card["card_id"], "limits": dict(card["limits"])}

    def _run_create_transfer(self, arguments: Arguments) -> Record:
        account = self._account({"account_id": arguments["from_account"]})
        scheduled = "schedule" in arguments
        if not scheduled:
            account["balance"]["value"] = round(account["balance"]["value"] - arguments["amount"]["value"], 2)
        return {"transfer_id": self._receipt("TR"), "status": "scheduled" if scheduled else "sent"}

    def _run_check_transfer_limit(self, arguments: Arguments) -> Record:
        allowed = arguments["amount"]["value"] <= self._daily_limit
        return {"account_id": arguments["account_id"], "allowed": allowed, "daily_limit": self._daily_limit}

    def _run_cancel_standing_orders(self, arguments: Arguments) -> Record:
        account, ids = self._account(arguments), set(arguments["standing_order_ids"])
        account["standing_orders"] = [o for o in account["standing_orders"] if o["standing_order_id"] not in ids]
        return {"account_id": account["account_id"], "cancelled": sorted(ids), "left": len(account["standing_orders"])}

    def _run_dispute_transactions(self, arguments: Arguments) -> Record:
        return {"dispute_id": self._receipt("DP"), "transaction_ids": arguments["transaction_ids"], "status": "open"}

    def _run_order_statement(self, arguments: Arguments) -> Record:
        return {"order_id": self._receipt("ST"), "account_id": arguments["account_id"], "status": "ordered"}

    def _run_update_contact(self, arguments: Arguments) -> Record:
        changes = {key: value for key, value in arguments.items() if key != "customer_id"}
        self._customer.update(changes)
        return {"customer_id": self._customer["customer_id"], "updated": sorted(changes)}

    def _run_escalate_to_human(self, arguments: Arguments) -> Record:
        return {"ticket_id": self._receipt("HC"), "department": arguments["department"], "wait_minutes": 4}

    def _account(self, arguments: Arguments) -> Record:
        return self._one("accounts", "account_id", arguments)

    def _card(self, arguments: Arguments) -> Record:
        return self._one("cards", "card_id", arguments)

    def _one(self, group: str, key: str, arguments: Arguments) -> Record:
        for item in self._customer[group]:
            if item[key] == arguments[key]:
                found: Record = item
                return found
        raise _NotFoundError(f"no such {key}")

    def _receipt(self, prefix: str) -> str:
        self._receipts += 1
        number = stream(self._customer["customer_id"], prefix, self._receipts).randrange(10**5, 10**6)
        return f"{prefix}-{number}"


class _NotFoundError(Exception):
    """What a call names is not there; becomes the tool's answer."""
