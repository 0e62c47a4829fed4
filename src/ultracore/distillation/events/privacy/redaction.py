"""Takes secrets and, where wished, personal data out of an event before anything of it is stored.

Nearly all events hold none, and pay for a few searches in their encoded form only. What this file does
not know: which rules there are, and where events go.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events.privacy.prefilter import Prefilter
from ultracore.distillation.events.privacy.pseudonyms import Pseudonyms
from ultracore.distillation.events.privacy.rules import PERSONAL, SECRET_NAMES, SECRETS, Rule, user_rules

__all__ = ["MARK", "Redacted", "Redactor", "redactor"]

MARK = "[redacted:"
"""How every placeholder begins; a call with such an argument must never be sent."""

CHOICES = ("secrets", "all", "off")
PASSWORD = "password"  # noqa: S105 - the name of a rule

SHORTEST = 6
"""Characters of the shortest find: `a@b.de`, `pwd=1234`."""

_CARD = re.compile(r"\d{13,19}")
_WORD = re.compile(r"[A-Za-z0-9_]")
_NO_DIGITS = bytes(byte for byte in range(256) if chr(byte) not in string.digits)


class Redacted(NamedTuple):
    """What is left of some data.

    Attributes:
        data: The data, the same object where nothing was found.
        counts: Rule -> number of replacements.
    """

    data: Any
    counts: dict[str, int]


class Redactor:
    """Replaces what its rules find, in text, numbers and keys of objects.

    Args:
        rules: What to look for; of two rules that find the same text the earlier one counts.
        substitute: (rule, text found) -> what takes its place; a placeholder by default.
        names: Whether text under a key such as `password` is replaced whatever it looks like.

    Example:
        >>> Redactor(SECRETS).text("log in with AKIAIOSFODNN7EXAMPLE, please")
        'log in with [redacted:aws_key], please'
    """

    def __init__(
        self, rules: Sequence[Rule], substitute: Callable[[str, str], str] | None = None, *, names: bool = True
    ) -> None:
        self._rules = tuple(rules)
        self._substitute = substitute or _placeholder
        self._names = names
        self._prefilter = Prefilter(rules)

    @property
    def has_rules(self) -> bool:
        """Whether it looks for anything at all."""
        return bool(self._rules)

    def suspects(self, encoded: bytes) -> list[Rule]:
        """The rules that may find something in data with this JSON; nearly always none, which costs little to see."""
        return self._prefilter.suspects(encoded)

    def redact(self, data: Any, suspects: Sequence[Rule]) -> Redacted:
        """Clean JSON-ready data.

        Args:
            data: Dicts, lists, text, numbers; not changed.
            suspects: The rules that may find something in it.
        """
        if not suspects:
            return Redacted(data, {})
        counts: Counter[str] = Counter()
        cleaned = _Walk(suspects, self._substitute, counts, self._names).value(data)
        return Redacted(cleaned, dict(counts)) if counts else Redacted(data, {})

    def text(self, text: str) -> str:
        """Clean one text, such as a message that is about to be printed."""
        return str(_Walk(self._rules, self._substitute, Counter(), names=False).text(text))


def redactor(choice: str, patterns: dict[str, str] | None = None, pseudonyms: Pseudonyms | None = None) -> Redactor:
    """The redactor that the settings ask for.

    Args:
        choice: `secrets`; `all`: personal data too, as pseudonyms; `off`: only the operator's own rules.
        patterns: The operator's rules, name -> regular expression.
        pseudonyms: Needed for `all`.

    Raises:
        ConfigurationError: `choice` is none of these, or a rule is no regular expression.
    """
    if choice not in CHOICES:
        raise ConfigurationError(f"settings: redact must be one of {', '.join(CHOICES)}, not {choice!r}")
    own = user_rules(patterns or {})
    if choice == "off":
        return Redactor(own, names=False)
    if choice == "secrets":
        return Redactor((*own, *SECRETS))
    if pseudonyms is None:
        raise ConfigurationError("settings: redact = 'all' needs the keyring, whose secret makes the pseudonyms")
    personal = {rule.name for rule in PERSONAL}
    names = pseudonyms

    def substitute(name: str, found: str) -> str:
        return names.of_value(name, found) if name in personal else _placeholder(name, found)

    return Redactor((*own, *SECRETS, *PERSONAL), substitute)


def _placeholder(name: str, _: str) -> str:
    return f"{MARK}{name}]"


class _Find(NamedTuple):
    """Where a rule found something in a text."""

    start: int
    end: int
    name: str


def _finds(rule: Rule, text: str, taken: Sequence[_Find]) -> Iterator[_Find]:
    """What a rule finds that no earlier rule has found."""
    group = "value" if "value" in rule.pattern.groupindex else 0
    for match in rule.pattern.finditer(text):
        start, end = match.span(group)
        if rule.start and _WORD.match(text[start - 1 : start]):
            continue
        if text.startswith(MARK, start) or (rule.check is not None and not rule.check(match[group])):
            continue
        if all(end <= find.start or find.end <= start for find in taken):
            yield _Find(start, end, rule.name)


def _is_built_in(rule: Rule) -> bool:
    return bool(rule.start or rule.needles or rule.digits)


def _digits(text: str) -> int:
    return len(text.encode("utf-8", "replace").translate(None, _NO_DIGITS))


class _Walk:
    """One pass over some data with the rules that may find something in it."""

    def __init__(
        self, rules: Sequence[Rule], substitute: Callable[[str, str], str], counts: Counter[str], names: bool
    ) -> None:
        self._rules = rules
        self._substitute = substitute
        self._counts = counts
        self._start = re.compile("|".join(f"(?:{rule.start})" for rule in rules if rule.start) or "(?!)")
        self._shortest = min(SHORTEST if _is_built_in(rule) else 1 for rule in rules)
        self._names = names and any(rule.name == PASSWORD for rule in rules)

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        if isinstance(value, int) and not isinstance(value, bool) and _CARD.fullmatch(str(value)):
            cleaned = self.text(str(value))
            return value if cleaned == str(value) else cleaned
        return value

    def text(self, text: str) -> str:
        if len(text) < self._shortest:
            return text
        folded, digits, keyed = text.lower(), _digits(text), self._start.search(text) is not None
        finds: list[_Find] = []
        for rule in self._rules:
            if (
                digits >= rule.digits
                and (keyed or not rule.start)
                and (not rule.needles or any(needle in folded for needle in rule.needles))
            ):
                finds += list(_finds(rule, text, finds))
        return self._replaced(text, sorted(finds)) if finds else text

    def _replaced(self, text: str, finds: Sequence[_Find]) -> str:
        parts, done = [], 0
        for start, end, name in finds:
            self._counts[name] += 1
            parts += [text[done:start], self._substitute(name, text[start:end])]
            done = end
        return "".join([*parts, text[done:]])

    def _object(self, value: dict[Any, Any]) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for key, item in value.items():
            name = self.text(key) if isinstance(key, str) else key
            while name in out:
                name = f"{name}'"  # two keys were made alike
            out[name] = self._secret(item) if self._is_secret(key, item) else self.value(item)
        return out

    def _is_secret(self, key: Any, item: Any) -> bool:
        return self._names and isinstance(key, str) and isinstance(item, str) and bool(SECRET_NAMES.search(key))

    def _secret(self, text: str) -> str:
        if not text or text.startswith(MARK):
            return text
        self._counts[PASSWORD] += 1
        return self._substitute(PASSWORD, text)
