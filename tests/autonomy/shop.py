"""What a child may do wrong, for `test_child`: a backend by name."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from ultracore.distillation.errors import DataError, LogError


class Misbehaving:
    """Does what its settings' agent says; `tenant` is the misdeed."""

    def __init__(self, home: Path, settings: Any, rules: Any) -> None:
        self.what = settings.tenant

    def compare(self) -> Any:
        return self.train()

    def train(self) -> dict[str, Any]:
        if self.what == "raises":
            raise ValueError("jane.doe@example.com")
        if self.what == "foreseen":
            raise DataError("no labelled decision")
        if self.what == "no log":
            raise LogError("the decision log cannot be read")
        if self.what == "hangs":
            time.sleep(600)
        if self.what == "eats":
            eaten = []
            while True:
                eaten.append(bytearray(64 * 1024 * 1024))
        if self.what == "dies":
            os.kill(os.getpid(), 9)
        if self.what == "talks":
            print("a library says hello")
            print("and warns", file=sys.stderr)
        return {"status": "trained"}
