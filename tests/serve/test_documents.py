"""docs/gateway.md and deploy/ say what is so: every setting, every reason, every scope."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from ultracore.distillation.cli import main
from ultracore.distillation.serve.gate import Reason
from ultracore.distillation.serve.keys import Scope
from ultracore.distillation.serve.upstream.prices import Price
from ultracore.distillation.serve.upstream.targets import Deadlines, Target
from ultracore.distillation.settings import AgentPolicy, Settings

STRUCTS = (Settings, AgentPolicy, Target, Deadlines, Price)
ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "gateway.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def described(struct: Any) -> dict[str, str]:
    """The `Attributes` of a docstring."""
    _, _, block = (struct.__doc__ or "").partition("Attributes:\n")
    found = re.findall(r"^ {8}(\w+): (.*(?:\n {10,}\S.*)*)", block, re.M)
    return {name: " ".join(text.split()) for name, text in found}


def table(struct: Any) -> str:
    """The fields of a settings struct, as docs/gateway.md has to list them."""
    texts = described(struct)
    rows = [f"| `{f.name}` | {shown(f)} | {texts[f.name]} |\n" for f in msgspec.structs.fields(struct)]
    return "| field | default | what |\n| --- | --- | --- |\n" + "".join(rows)


def shown(field: Any) -> str:
    if field.required:
        return "needed"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{default}`" if default or default in (0, False) else "none"


def filled(text: str) -> str:
    """The document with its tables as they should be; each stands below a comment with the struct's name."""
    for struct in STRUCTS:
        mark = f"<!-- {struct.__name__} -->\n"
        before, _, after = text.partition(mark)
        text = before + mark + table(struct) + re.sub(r"\A(\|.*\n)*", "", after)
    return text


def test_every_setting_is_listed_with_its_default() -> None:
    assert filled(TEXT) == TEXT, "run: python tests/serve/test_documents.py"


def test_every_reason_and_every_scope_is_named() -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith("| `x-distill-reason`"))
    assert set(re.findall(r"`(\w+)`", row)) == {str(reason) for reason in Reason}
    assert all(f"| `{scope}` |" in TEXT for scope in Scope)


def test_what_is_deployed_starts_with_options_that_exist() -> None:
    unit = (ROOT / "deploy" / "distill.service").read_text()
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    started = next(line for line in unit.splitlines() if line.startswith("ExecStart=")).removeprefix("ExecStart=")
    entry = re.search(r"^ENTRYPOINT \[(.*)\]$", image, re.M)
    assert entry is not None
    options = [*shlex.split(started), *re.findall(r'"([^"]*)"', entry[1])]
    known = CliRunner().invoke(main, ["serve", "--help"]).output
    named = [word for word in options if word.startswith("--")]
    assert named
    assert all(word in known for word in named)
    assert "User=" in unit
    assert re.search(r"^USER (?!root)", image, re.M)


if __name__ == "__main__":
    GUIDE.write_text(filled(TEXT), encoding="utf-8")
