"""Tickets, and a fake model that is right where the prompt tells it."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

WORDS = {
    "refund": ("money back for {}", "return {} please", "{} arrived broken"),
    "track": ("where is {}", "has {} been shipped", "trace {}"),
    "cancel": ("stop {}", "do not ship {}", "never mind {}"),
}


def tickets(n: int, seed: int = 0) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    chosen = [draw.choice(sorted(WORDS)) for _ in range(n)]
    return [
        {"input": draw.choice(WORDS[tool]).format(f"parcel {i}"), "output": tool, "task": f"t{i}"}
        for i, tool in enumerate(chosen)
    ]


class Rubric:
    """A fake model: an example is right where the prompt's notes name its tool; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def score(self, prompt: str, example: dict[str, Any]) -> float:
        self.asked.append((prompt, example["task"]))
        return 1.0 if f"- {example['output']}" in prompt else 0.5 if f"Answer: {example['output']}" in prompt else 0.0

    async def __call__(self, prompt: str, examples: Sequence[dict[str, Any]]) -> float:
        await asyncio.sleep(0)
        return sum(self.score(prompt, example) for example in examples) / len(examples)
