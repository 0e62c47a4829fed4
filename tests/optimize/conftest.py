import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.optimize.tickets import Rubric, tickets


@pytest.fixture
def rubric() -> Rubric:
    return Rubric()


@pytest.fixture
def run() -> Callable[..., dict[str, Any]]:
    """`run(Optimizer, evaluate, ...)`: an optimization of 60 tickets, unless others are given."""

    def optimize(
        optimizer: Any, evaluate: Any, examples: Any = None, prompt: str = "Choose a tool.", **more: Any
    ) -> Any:
        given = tickets(60) if examples is None else examples
        return asyncio.run(optimizer.optimize(prompt, given, evaluate, **more))

    return optimize
