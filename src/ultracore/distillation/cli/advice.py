"""What to do next, in lines that can be pasted into a shell.

What this file does not know: how a result came about.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["next_steps"]


def next_steps(result: Mapping[str, Any], out: Path, home: Path) -> list[str]:
    """What follows from a result.

    Args:
        result: The result of a run.
        out: Folder of its report.
        home: Folder of its log and models.
    """
    folder = shlex.quote(str(out))
    model = folder if home.parent == out.absolute() else shlex.quote(str(home))
    steps = [f"Look at the disagreements: open {folder}/report.html"]
    if result["certificate"]["certified"]:
        steps.append(f"Serve it: distill serve --model {model} --upstream https://api.openai.com/v1")
        steps.append("Point your client at it: base_url='http://127.0.0.1:8080/v1'")
    else:
        steps.append(_more(result))
        steps.append(f"Log more traffic meanwhile: distill serve --model {model} --upstream https://api.openai.com/v1")
    if "synthetic" in str(result["data"].get("kind")):
        steps.append("Run it on your own traces: distill run YOUR-FILE.jsonl (OpenAI chat JSONL)")
    if "yearly_usd" not in result["savings"]:
        steps.append("See what it saves: add --price-per-call USD and --requests-per-day N")
    return steps


def _more(result: Mapping[str, Any]) -> str:
    certificate = result["certificate"]
    target, more = f"{100 * certificate['target']:g}%", certificate["more_units"]
    if not more:
        return f"No number of further tasks is known to certify {target}: {certificate['reason']}"
    # Only the calibration part counts for the certificate; more of the whole is needed for more of it.
    tasks = result["data"]["tasks"]
    whole = more * max(1.0, tasks / max(1, certificate["units"]))
    return f"Bring about {whole:,.0f} more tasks ({more:,} of them for calibration) to certify {target}"
