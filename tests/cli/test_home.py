"""Where a command looks for the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultracore.distillation.cli.home import find_home, home_or_new
from ultracore.distillation.errors import ConfigurationError


def test_a_home_that_is_named_is_never_replaced_by_a_report_nearby(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = tmp_path / "distill-report" / ".distill"
    report.mkdir(parents=True)
    (report / "log.db").touch()
    with pytest.raises(ConfigurationError, match="no decision log"):
        find_home(None)
    assert home_or_new(None) == home
    monkeypatch.delenv("DISTILL_HOME")
    assert find_home(None) == report
