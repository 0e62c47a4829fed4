"""LiteLLM's proxy in a throw-away environment of its own, in front of the same teacher.

It is installed by pip when it is asked for (`--with-litellm`), and never into the project's
environment. What this file does not know: what is asked.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import KEY
from benchmarks.servers import Process, free_port

__all__ = ["litellm"]

CONFIG = """
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/*", api_base: "{url}", api_key: "sk-teacher"}}
litellm_settings: {{telemetry: false}}
general_settings: {{master_key: "{key}"}}
"""


@contextmanager
def litellm(upstream: str) -> Iterator[Process]:
    """A proxy with one worker, no database, and one key.

    Raises:
        CalledProcessError: It cannot be installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
        pip = [str(home / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "litellm[proxy]"], check=True)
        (home / "config.yaml").write_text(CONFIG.format(url=upstream, key=KEY))
        port = free_port()
        command = [str(home / "venv/bin/litellm"), "--config", str(home / "config.yaml"), "--port", str(port)]
        process = Process([*command, "--host", "127.0.0.1"], port, LITELLM_LOG="ERROR", LITELLM_MODE="PRODUCTION")
        try:
            yield process.ready(within=180.0)
        finally:
            process.stop()
