"""Where things are: the log and the models of a report folder, or of the settings.

What this file does not know: what is in them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.settings import Settings, load_settings

__all__ = [
    "DEFAULT_OUT",
    "LOG",
    "find_home",
    "home_of_run",
    "home_option",
    "home_or_new",
    "refuse_postgres",
    "settings_at",
]

DEFAULT_OUT = "distill-report"
LOG = "log.db"

home_option = click.option("--home", type=click.Path(path_type=Path), help="Folder of the log, or of a report.")
"""Which log: for every command that reads one."""


def home_of_run(out: Path) -> Path:
    """Where a run keeps its log: `$DISTILL_HOME`, else `.distill` in the report's folder."""
    return load_settings().home_path if "DISTILL_HOME" in os.environ else (out / ".distill").absolute()


def find_home(folder: Path | None) -> Path:
    """The home that a command means: the folder, the `.distill` in it, or by default the usual places.

    Where the log is in PostgreSQL, a home need not hold one.

    Raises:
        ConfigurationError: There is no log in any of them.
    """
    if folder is None:
        candidates = list(dict.fromkeys([load_settings().home_path, home_of_run(Path(DEFAULT_OUT))]))
    else:
        candidates = [folder.absolute(), (folder / ".distill").absolute()]
    if load_settings().log_url is not None:
        return next((home for home in candidates if home.exists()), candidates[0])
    found = next((home for home in candidates if (home / LOG).exists()), None)
    if found is None:
        places = " or ".join(str(home) for home in candidates)
        raise ConfigurationError(f"there is no decision log in {places}; run `distill run FILE` or name its folder")
    return found


def refuse_postgres(instead: str) -> None:
    """For what works on a log's file only.

    Raises:
        ConfigurationError: The log that is set is in PostgreSQL.
    """
    if load_settings().log_url is not None:
        raise ConfigurationError(
            f"this works on a log in a file, and DISTILL_LOG_URL names one in PostgreSQL: {instead}"
        )


def home_or_new(folder: Path | None) -> Path:
    """As `find_home`; where nothing was named and nothing was ever logged, the place where it will be."""
    try:
        return find_home(folder)
    except ConfigurationError:
        if folder is not None:
            raise
        return load_settings().home_path


def settings_at(home: Path, file: Path | None = None, **overrides: Any) -> Settings:
    """The settings with this home, of a configuration file if one is named."""
    return load_settings(file, home=str(home), **overrides)
