"""The demo's servers hear nothing of the settings of whoever starts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ultracore.distillation.demo.servers import process


def test_the_demo_never_touches_the_log_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOG_URL", "postgresql://user@production/log")
    monkeypatch.setenv("DISTILL_TENANT", "acme")
    with process(["settings", "--json"], tmp_path / "said", {"DISTILL_HOME": str(tmp_path)}) as child:
        assert child.wait(60) == 0
    settings = json.loads((tmp_path / "said").read_text())
    assert (settings["log_url"], settings["tenant"], settings["home"]) == (None, "default", str(tmp_path))
