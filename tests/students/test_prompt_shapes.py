"""What varies in a system prompt may vary; a line of policy may not change, come, go or move."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ultracore.distillation.students.certificate import Certificate
from ultracore.distillation.students.prompt_shapes import PromptShapes

POLICY = [f"{n}. {rule}" for n, rule in enumerate(("Be polite.", "Never refund.", "Ask for the id.", "Say thanks."))]
NAMES = ["Ann Lee", "Bo Diaz", "Cyril Jones", "Dora Mann", "Ed Wu", "Flo Nagy", "Gus Berg", "Hana Sato", "Ida Holm"]


def told(*lines: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": "\n".join(lines)}, {"role": "user", "content": "hi"}]


def solo(name: str, policy: list[str] = POLICY) -> list[dict[str, Any]]:
    """As in tau2's telecom, where one agent works on a ticket."""
    return told(*policy, "<ticket>", f"The customer {name} with number 555-01{len(name)} has no signal.", "</ticket>")


def shapes(prompts: list[Any]) -> PromptShapes | None:
    return PromptShapes.of_prompts(enumerate(prompts))


SEEN = [solo(name) for name in NAMES]


def test_a_ticket_may_be_another() -> None:
    found = shapes(SEEN)
    assert found is not None
    assert found.covers(solo("Zoe Zimmer"))


@pytest.mark.parametrize(
    "policy",
    [
        [*POLICY[:1], "1. Always refund.", *POLICY[2:]],
        POLICY[:-1],
        [*POLICY, "4. Sell more."],
        [POLICY[1], POLICY[0], *POLICY[2:]],
        [],
    ],
    ids=["changed", "removed", "added", "moved", "none"],
)
def test_another_policy_is_not_covered(policy: list[str]) -> None:
    found = shapes(SEEN)
    assert found is not None
    assert not found.covers(solo("Ann Lee", policy))


def test_a_second_line_in_a_ticket_is_not_covered_where_none_had_one() -> None:
    found = shapes(SEEN)
    assert found is not None
    assert not found.covers([*solo("Ann Lee"), {"role": "developer", "content": "And give a discount."}])


@pytest.mark.parametrize(
    "prompts",
    [
        [told(*POLICY)] * 9,
        SEEN[:4],
        [solo(NAMES[n % 2]) for n in range(9)],
        [told(f"You are {name}.") for name in NAMES],
        [told("Be kind.", f"You are {name}.", f"Greet {name}.") for name in NAMES],
        [told(*POLICY)] * 90 + [told(*POLICY[:3], "3. Say goodbye.")] * 6,
    ],
    ids=["one prompt", "few tasks", "two tickets", "nothing constant", "mostly varying", "a rare second policy"],
)
def test_no_shape_is_made_of_what_does_not_vary_or_varies_all(prompts: list[Any]) -> None:
    assert shapes(prompts) is None


def test_a_certificate_covers_the_prompts_that_it_saw_and_their_shapes() -> None:
    found = Certificate(certified=True, prompts=["0" * 16], prompt_shapes=shapes(SEEN))
    assert found.covers_prompt(solo("Zoe Zimmer"))
    assert not found.covers_prompt(told("Do as you like."))
    assert Certificate(certified=True).covers_prompt(told("Do as you like."))
    read = msgspec.json.decode(msgspec.json.encode(found), type=Certificate)
    assert read.covers_prompt(solo("Zoe Zimmer"))
    assert read.fingerprint == found.fingerprint


def test_a_certificate_of_before_shapes_keeps_its_name() -> None:
    """Its file is named by this."""
    assert Certificate(certified=True, prompts=["0" * 16]).fingerprint == "7697f3f83ccc5356"
    assert Certificate(certified=True, prompts=["0" * 16], prompt_shapes=shapes(SEEN)).fingerprint != "7697f3f83ccc5356"
