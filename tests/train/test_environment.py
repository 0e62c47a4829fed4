"""What is switched off while a student is fitted, and on again afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from ultracore.distillation.train.environment import uncollected


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_off_for_the_while_and_then_as_it_was(was_on: bool) -> None:
    if not was_on:
        gc.disable()
    assert uncollected(gc.isenabled)() is False
    assert gc.isenabled() is was_on


def test_an_error_leaves_the_collector_on() -> None:
    with pytest.raises(ZeroDivisionError):
        uncollected(lambda: 1 / 0)()
    assert gc.isenabled()
