import random
from collections.abc import Callable
from typing import Any

import pytest

Row = dict[str, Any]

BARE = [{"name": name} for name in ("track_order", "cancel_order", "refund_order")]
REQUESTS = {
    "track_order": ("where is order {}", "has {} been shipped", "track {} please"),
    "cancel_order": ("cancel order {}", "please stop order {}", "do not ship {}"),
    "refund_order": ("refund order {}", "money back for {}", "order {} arrived broken"),
}


@pytest.fixture
def traffic() -> Callable[..., list[Row]]:
    """Rows as `get_history()` gives them: support requests with an order number."""

    def rows(
        n: int,
        *,
        orders: int = 5000,
        parameters: bool = True,
        tools: list[Row] = BARE,
        per_session: int = 0,
        noise: float = 0.0,
        seed: int = 0,
    ) -> list[Row]:
        draw, names = random.Random(seed), sorted(REQUESTS)
        out = []
        for i in range(n):
            tool, order = draw.choice(names), draw.randrange(1, orders)
            said = draw.choice(REQUESTS[tool]).format(order)
            if draw.random() < noise:
                tool = draw.choice(names)
            row = {
                "event_id": f"{seed}-{i}",
                "agent_id": "support",
                "session_id": f"{seed}-s{i // per_session}" if per_session else None,
                "context": {"user_query": said},
                "tools_available": tools,
                "tool_selected": tool,
                "tool_parameters": {"order_id": order} if parameters else None,
                "outcome": None,
                "timestamp": "2026-01-01T00:00:00+00:00",
            }
            out.append(row)
        return out

    return rows
