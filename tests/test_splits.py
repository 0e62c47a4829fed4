import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.errors import ConfigurationError, DataError
from ultracore.distillation.splits import check_leakage, folds_by_task, split_by_task, units_of


def decision(task: str, episode: str | None = None, text: str = "", agent: str = "a") -> Decision:
    state = State([{"role": "user", "content": text}], [])
    return Decision(state=state, task=task, episode=episode or task, agent_id=agent)


def many(n: int) -> list[Decision]:
    return [decision(f"task {i}") for i in range(n) for _ in range(i % 3 + 1)]


rows = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("stuvwxyz")), min_size=1, max_size=30)


@given(rows, st.integers(0, 3))
def test_no_task_and_no_episode_is_in_two_folds_and_order_does_not_matter(
    names: list[tuple[str, str]], seed: int
) -> None:
    decisions = [decision(task, episode) for task, episode in names]
    if len(set(units_of(decisions))) < 2:
        with pytest.raises(DataError, match="cannot fill"):
            folds_by_task(decisions, 2, seed)
        return
    folds = folds_by_task(decisions, 2, seed)
    assert set(folds) == {0, 1}
    halves = [[d for d, fold in zip(decisions, folds, strict=True) if fold == part] for part in (0, 1)]
    assert check_leakage(*halves).clean
    assert folds_by_task(decisions[::-1], 2, seed) == folds[::-1]


@given(st.integers(3, 200), st.integers(0, 5))
def test_shares_of_tasks_are_kept_within_one(n: int, seed: int) -> None:
    parts = split_by_task(many(n), seed=seed)
    sizes = [len({d.task for d in part}) for part in parts]
    assert sum(sizes) == n
    assert all(size >= 1 for size in sizes)
    assert all(abs(size - share * n) <= 1.5 for size, share in zip(sizes, (0.6, 0.2, 0.2), strict=True))


def test_parts_are_a_partition_in_the_order_of_the_rows() -> None:
    decisions = many(20)
    parts = split_by_task(decisions, (0.5, 0.5))
    assert sorted(map(id, decisions)) == sorted(id(d) for part in parts for d in part)
    place = {id(d): i for i, d in enumerate(decisions)}
    assert all([place[id(d)] for d in part] == sorted(place[id(d)] for d in part) for part in parts)


def test_another_seed_is_another_split() -> None:
    assert folds_by_task(many(30), 3, 0) != folds_by_task(many(30), 3, 1)


def test_strata_are_spread_evenly() -> None:
    decisions = [decision(f"t{i}", agent="rare" if i < 10 else "common") for i in range(100)]
    folds = folds_by_task(decisions, 5, strata=lambda d: d.agent_id)
    rare = [folds[i] for i in range(10)]
    assert sorted(rare) == sorted([0, 1, 2, 3, 4] * 2)


def test_tasks_that_share_an_episode_are_one_unit() -> None:
    decisions = [decision("b", "1"), decision("c", "1"), decision("c", "2"), decision("a", "2"), decision("z", "3")]
    assert units_of(decisions) == ["a", "a", "a", "a", "z"]


def test_the_split_is_the_same_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from ultracore.distillation.decisions import Decision, State\n"
        "from ultracore.distillation.splits import folds_by_task\n"
        "print(folds_by_task([Decision(state=State([], []), task=f't{i}', episode=f'e{i}') for i in range(20)], 4))"
    )
    out = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(out) == 1


def test_leakage_names_what_is_shared() -> None:
    train = [decision("a", "1", "hello"), decision("b", "2", "x")]
    test = [decision("b", "3", "y"), decision("c", "1", "hello")]
    report = check_leakage(train, test)
    assert report.shared_tasks == ("b",)
    assert report.shared_episodes == ("1",)
    assert report.shared_states == (train[0].state.key,)
    assert report.test_share == 0.5
    assert not report.clean
    assert check_leakage(train, []).test_share == 0.0


def test_the_same_state_in_different_tasks_is_reported_but_clean() -> None:
    report = check_leakage([decision("a", text="hello")], [decision("b", text="hello")])
    assert report.clean
    assert report.test_share == 1.0


@pytest.mark.parametrize("shares", [(), (0.5, 0.4), (1.2, -0.2), (1.0, 0.0)])
def test_shares_that_are_none(shares: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError, match="sum to 1"):
        split_by_task(many(10), shares)


def test_one_fold_is_none() -> None:
    with pytest.raises(ConfigurationError, match="at least 2"):
        folds_by_task(many(10), 1)
