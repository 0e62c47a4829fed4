"""Where errors become exit codes: one clear line on stderr, never a traceback for what was foreseen.

What this file does not know: the commands.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ultracore.distillation.errors import DistillationError

__all__ = ["INTERRUPTED", "UNUSABLE", "Group", "examples"]

UNUSABLE = 2
INTERRUPTED = 130
MAX_MESSAGE = 2000


class Group(click.Group):
    """A group whose commands end with exit code 2 on a foreseen error and 130 on Ctrl-C."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """See `click.Group.main`."""
        kwargs["standalone_mode"] = False
        try:
            return sys.exit(super().main(*args, **kwargs) or 0)
        except click.exceptions.Exit as stop:
            sys.exit(stop.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except DistillationError as error:
            _fail(str(error), UNUSABLE)
        except OSError as error:
            if isinstance(error, BrokenPipeError):  # the reader of a pipe, such as `head`, has seen enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                sys.exit(0)
            _fail(
                f"{error.filename or 'a file'}: {error.strerror or error}; check path, permissions and space", UNUSABLE
            )
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted; the log is intact, run again", INTERRUPTED, prefix="")


def examples(*lines: str) -> str:
    """An epilog for `--help`; the backspace keeps click from filling the lines."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def _fail(message: str, code: int, prefix: str = "distill: ") -> None:
    from ultracore.distillation.events.privacy.redaction import redactor  # only where something went wrong

    text = redactor("secrets").text(message.encode("utf-8", "replace").decode()[:MAX_MESSAGE])
    click.echo(f"{prefix}{text}", err=True)
    sys.exit(code)
