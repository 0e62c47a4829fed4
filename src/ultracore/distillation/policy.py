"""What a user says about their tools: which need a stricter level, which never go out, how arguments compare.

A TOML file, read by `distill run --policy` and `distill serve --policy`:

    destructive_level = 0.98        # for tools that are marked or look destructive; this is the default
    infer = true                    # whether a name may say so, where no annotation does; this is the default

    [tools.cancel_order]
    level = 0.99                    # of this tool's calls so many must agree
    [tools.wipe_account]
    never = true                    # always the teacher
    [tools.close_ticket]
    allow = true                    # looks destructive, but needs no more than the others
    [tools.search.arguments]
    query = "free_text"             # or "exact", "set", "case_insensitive"
    price = 0.01                    # numbers this close agree

What this file does not know: certificates, and who calls a tool.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ultracore.distillation.agreement import Comparator, Comparators
from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.tools import Tool, fingerprint

__all__ = ["NO_POLICY", "Policy", "ToolRule", "load_policy", "looks_destructive"]

DESTRUCTIVE_LEVEL = 0.98
DESTRUCTIVE = frozenset(
    ("cancel", "close", "delete", "destroy", "disable", "drop", "erase", "kill", "pay", "purge", "refund", "remove",
     "reset", "revoke", "terminate", "transfer", "wipe")
)  # fmt: skip
"""Verbs of what cannot simply be done again: a tool that begins with one counts as destructive unless marked or
allowed. A safe guess costs coverage, never a wrong call; `allow` takes it back."""

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class ToolRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of one tool.

    Attributes:
        never: Whether its calls always go to the teacher.
        level: Agreement demanded of its calls (0..1), instead of the level of its class.
        allow: Whether it counts as ordinary although it is marked or looks destructive.
        arguments: How its arguments compare, also for certificates.
    """

    never: bool = False
    level: float | None = None
    allow: bool = False
    arguments: dict[str, Comparator] = {}


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of all tools.

    Attributes:
        destructive_level: Least agreement demanded of the calls of destructive tools (0..1).
        infer: Whether a name may say that a tool is destructive, where no annotation says anything.
        tools: By name.
    """

    destructive_level: float = DESTRUCTIVE_LEVEL
    infer: bool = True
    tools: dict[str, ToolRule] = {}

    @property
    def never(self) -> list[str]:
        """Tools whose calls always go to the teacher."""
        return sorted(name for name, rule in self.tools.items() if rule.never)

    @property
    def fingerprint(self) -> str:
        """Changes with whatever a certificate rests on; `never` may be added to at any time."""
        rules = {n: [r.level, r.allow, r.arguments] for n, r in self.tools.items() if r.level or r.allow or r.arguments}
        return fingerprint([self.destructive_level, self.infer, rules])

    def never_under(self, certified: str) -> list[str]:
        """What a gateway must keep from a student that was certified under the policy with that fingerprint.

        Raises:
            ConfigurationError: This policy demands other levels or comparisons than were certified.
        """
        if self.fingerprint not in (certified, NO_POLICY.fingerprint):
            raise ConfigurationError(
                "the model was certified under another policy: run distill run --policy with this file, or serve "
                "with the file that it was certified with (tools may be added to `never` at any time)"
            )
        return self.never

    def levels(self, tools: Iterable[Tool], target: float) -> dict[str, float]:
        """The level of each of these tools about which something was said or marked; the others' is `target`."""
        found = {tool.name: self._level(tool, target) for tool in tools}
        return {name: level for name, level in sorted(found.items()) if level is not None}

    def comparators(self, inferred: Comparators) -> Comparators:
        """What was inferred, and what was declared."""
        declared = {name: rule.arguments for name, rule in self.tools.items() if rule.arguments}
        return msgspec.structs.replace(inferred, declared=declared)

    def _level(self, tool: Tool, target: float) -> float | None:
        rule = self.tools.get(tool.name, ToolRule())
        if rule.level is not None:
            return rule.level
        if rule.allow:
            return target
        looks = self.infer and looks_destructive(tool.name)
        is_destructive = looks if tool.destructive is None else tool.destructive
        return max(target, self.destructive_level) if is_destructive else None


NO_POLICY = Policy()


def looks_destructive(name: str) -> bool:
    """Whether a tool's name begins with the verb of something that cannot be taken back.

    Example:
        >>> [looks_destructive(name) for name in ("deleteUser", "orders.cancel_order", "list_cancelled")]
        [True, True, False]
    """
    words = _WORDS.findall(re.split(r"[./:]", name)[-1])
    return bool(words) and words[0].lower() in DESTRUCTIVE


def load_policy(file: Path | None) -> Policy:
    """Read a policy file; without one, nothing was said.

    Raises:
        ConfigurationError: It cannot be read, or says something that is not known.
    """
    if file is None:
        return NO_POLICY
    try:
        policy = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Policy)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"policy {file}: {error}") from None
    levels = [policy.destructive_level, *(r.level for r in policy.tools.values() if r.level is not None)]
    if not all(0.0 < level < 1.0 for level in levels):
        raise ConfigurationError(f"policy {file}: a level lies strictly between 0 and 1")
    tolerances = [how for r in policy.tools.values() for how in r.arguments.values() if isinstance(how, float)]
    if not all(0.0 <= how < float("inf") for how in tolerances):
        raise ConfigurationError(f"policy {file}: a tolerance is a number from 0 up")
    return policy
