"""What a round of the gateway's benchmark asks: contexts that the student does not know are asked in one round only."""

from __future__ import annotations

import numpy as np
from benchmarks.gateway import _own_tail, _parts

KNOWN = 10


def test_a_context_that_is_new_is_new_in_its_round() -> None:
    parts = _parts(40, 4, np.random.default_rng(0))
    ranks = [0, 3, 12, 12, 47, 3, 30]
    tails = [{place for place in _own_tail(ranks, KNOWN, part) if place >= KNOWN} for part in parts]
    assert all(len(tail) == 3 for tail in tails)  # one for each rank beyond the known
    assert len(set.union(*tails)) == 12


def test_known_contexts_and_repetitions_stay_as_they_were_drawn() -> None:
    places = _own_tail([0, 3, 12, 12, 3], KNOWN, [7, 8])
    assert places == [0, 3, KNOWN + 7, KNOWN + 7, 3]


def test_conversations_that_go_on_are_asked_in_order() -> None:
    parts = _parts(10, 3)
    assert [place for part in parts for place in part] == list(range(10))
    assert {len(part) for part in parts} == {3, 4}
