import numpy as np
import pytest
from numpy.typing import NDArray

from ultracore.distillation.curate.validate import LEAST_UNITS, _decide, choose_threshold, clustered_error
from ultracore.distillation.decisions import Decision, State
from ultracore.distillation.tools import ToolCall


def at(degrees: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.column_stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]).astype(np.float32)


def decision(i: int, tool: str) -> Decision:
    state = State([{"role": "user", "content": str(i)}], [])
    return Decision(state=state, calls=(ToolCall(tool, {}),), task=f"t{i}", episode=f"t{i}")


def stripes(width: float, rows: int = 300) -> tuple[list[Decision], NDArray[np.float32]]:
    """The tool changes each `width` degrees; rows lie between 0 and 90."""
    degrees = np.random.default_rng(3).uniform(0, 90, rows)
    return [decision(i, f"tool{int(d // width) % 2}") for i, d in enumerate(degrees)], at(degrees)


def test_a_threshold_that_does_no_harm_is_supported() -> None:
    decisions, E = stripes(45)
    choice = choose_threshold(decisions, E, (0.99999, 0.9999))
    assert choice.threshold == 0.9999
    assert [evidence["supported"] for evidence in choice.evidence] == [True, True]
    assert choice.agreement is not None
    assert choice.agreement > 0.9
    assert choice.evidence[1]["kept_share"] < choice.evidence[0]["kept_share"] < 1


def test_a_threshold_that_wipes_out_a_boundary_is_not() -> None:
    decisions, E = stripes(6)
    choice = choose_threshold(decisions, E, (0.999999, 0.9))
    assert choice.threshold == 0.999999
    harmful = choice.evidence[-1]
    assert not harmful["supported"]
    assert harmful["agreement"] < harmful["agreement_of_all_rows"] - harmful["standard_error"]


def test_it_stops_at_the_first_that_harms() -> None:
    decisions, E = stripes(6)
    choice = choose_threshold(decisions, E, (0.9, 0.5, 0.1))
    assert choice.threshold is None
    assert [evidence["threshold"] for evidence in choice.evidence] == [0.9]
    assert "only exact duplicates" in choice.reason


@pytest.mark.parametrize("rows", [0, 1, LEAST_UNITS - 1])
def test_too_few_tasks_support_nothing(rows: int) -> None:
    decisions, E = stripes(45, rows)
    choice = choose_threshold(decisions, E)
    assert choice.threshold is None
    assert choice.agreement is None
    assert "too few" in choice.reason


def test_no_candidates() -> None:
    decisions, E = stripes(45)
    assert choose_threshold(decisions, E, ()).threshold is None


def test_large_data_are_sampled_by_task(monkeypatch: pytest.MonkeyPatch) -> None:
    from ultracore.distillation.curate import validate

    monkeypatch.setattr(validate, "MOST_ROWS", 100)
    decisions, E = stripes(45)
    assert choose_threshold(decisions, E, (0.99999,)).evidence


def hits(full: int, reduced: int, rows: int = 100) -> NDArray[np.float64]:
    return np.array([[i < full for i in range(rows)], [i < reduced for i in range(rows)]], dtype=np.float64)


@pytest.mark.parametrize(("reduced", "supported"), [(80, True), (79, True), (70, False)])
def test_one_standard_error_is_the_line(reduced: int, supported: bool) -> None:
    units = [f"t{i}" for i in range(100)]
    choice = _decide([0.9], hits(80, reduced), np.ones(2), np.ones(100), units)
    assert choice.evidence[0]["supported"] is supported
    assert (choice.threshold, choice.agreement) == ((0.9, reduced / 100) if supported else (None, 0.8))


def test_the_standard_error_counts_tasks_not_rows() -> None:
    differences = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    alone = clustered_error(differences, np.ones(8), list("abcdefgh"))
    assert alone == pytest.approx(differences.std(ddof=1) / np.sqrt(8))
    pairs = clustered_error(np.repeat(differences, 2), np.ones(16), [unit for unit in "abcdefgh" for _ in range(2)])
    assert pairs == pytest.approx(alone), "the same row said twice is no more evidence"
    assert clustered_error(differences, np.full(8, 3.0), list("abcdefgh")) == pytest.approx(alone)
