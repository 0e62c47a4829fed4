from pathlib import Path

import pytest

from ultracore.distillation.curate.on_ray import OnRay
from ultracore.distillation.curate.workers import InProcess
from ultracore.distillation.errors import MissingExtraError


def test_pieces_are_done_in_order_and_only_when_they_are_asked_for() -> None:
    done = []

    def work(shared: str, piece: int) -> str:
        done.append(piece)
        return shared * piece

    results = InProcess().map(work, ("a",), ((n,) for n in range(1, 4)))
    assert next(results) == "a"
    assert done == [1]
    assert list(results) == ["aa", "aaa"]


def test_without_ray_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError")  # the same in an environment that has it
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "ray", raising=False)
    with pytest.raises(MissingExtraError, match=r"\[ray\]"):
        OnRay("auto")
