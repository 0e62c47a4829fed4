import numpy as np
import pytest
from numpy.typing import NDArray

from ultracore.distillation.curate.validate import LEAST_UNITS, choose_threshold
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
