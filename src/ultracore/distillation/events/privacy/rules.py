"""What is looked for before an event is stored: secrets always, personal data where the operator wants it.

A rule first says how to know cheaply that it cannot match: almost no text holds a secret. What this
file does not know: events, and what a find is replaced with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events.privacy import checksums

__all__ = ["PERSONAL", "SECRETS", "SECRET_NAMES", "Rule", "user_rules"]


class Rule(NamedTuple):
    """One kind of thing that does not belong into a log.

    Attributes:
        name: What it is called in counts and placeholders.
        pattern: Finds it; the group `value`, where there is one, is what is replaced.
        check: Confirms a find.
        start: How such a token begins, as a regular expression.
        shortest: Characters of the shortest such token.
        needles: Text of which some must occur, in lower case.
        after: Must match from a needle on in the encoded event in lower case; costs less than `around`.
        around: Must match near a needle there.
        digits: So many digits must follow one another, spaces and dashes aside.
    """

    name: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] | None = None
    start: str = ""
    shortest: int = 20
    needles: tuple[str, ...] = ()
    after: re.Pattern[bytes] | None = None
    around: re.Pattern[bytes] | None = None
    digits: int = 0


def _key(name: str, start: str, rest: str) -> Rule:
    """A key of a known shape; that nothing stands before it is checked later, for a look-behind is ten times slower."""
    return Rule(name, re.compile(rf"(?:{start})(?:{rest})(?![A-Za-z0-9_])"), start=start)


_NAMES = (
    r"pass(?:word|wd|phrase|code)?|pwd|secret|api[_ -]?key|apikey|access[_ -]?key|secret[_ -]?key|private[_ -]?key"
    r"|(?:access|refresh|auth|session|bearer)[_ -]?token|client[_ -]?secret"
)
SECRET_NAMES = re.compile(
    rf"(?i)(?:^|[_.\s-])(?:{_NAMES}|credentials?|cvv|cvc|authorization|x-api-key|cookie|set-cookie)$"
)
"""Keys of an object whose text is a secret, whatever it looks like."""

_NO_SECRET = re.compile(
    r"(?i)^(?:string|required|optional|none|null|true|false|missing|invalid|wrong|incorrect|expired|reset|changed|"
    r"forgotten|unknown|empty|hidden|secret|password|redacted|number|text|value|field|must|please|when|with|your|"
    r"the|not|and|for|is|was|has|\*+|x+|\.+|<[^>]*>?|\$?\{+[^}]*\}*|\[redacted\S*)[.,;:!?)]*$"
)


def _is_named_secret(value: str) -> bool:
    return not _NO_SECRET.match(value)


def _is_told_secret(value: str) -> bool:
    """After `is`, prose follows as often as a password does: only what looks like one counts."""
    return bool(re.search(r"[\d!@#$%^&*+=_~]", value)) and _is_named_secret(value)


def _is_token(value: str) -> bool:
    return any(char.isdigit() for char in value)


_NAMED = rf"(?i)(?<![A-Za-z])(?:{_NAMES})"
_VALUE = r"[\"'\\]{0,4}(?P<value>[^\s\"',;&<>{}\\]{3,200})"
_NAMED_END = r"(?:[\"'\\\s]|\\[nrt]){0,12}(?:[:=]|(?:is|was|lautet|ist|es|est)\b)"
_NAMED_NEAR = re.compile(rf"(?:{_NAMES}){_NAMED_END}".encode())
_NAMED_NEEDLES = ("pass", "pwd", "secret", "key", "token")
_NAMED_AFTER = re.compile(rf"(?:pass(?:word|wd|phrase|code)?|pwd|secret(?:[_ -]?key)?|key|token){_NAMED_END}".encode())
"""What each of the names has from its last needle on; `completion_tokens` of a usage, say, has not."""

SECRETS: tuple[Rule, ...] = (
    _key("anthropic_key", "sk-ant-", r"[A-Za-z0-9_-]{20,200}"),
    _key("openai_key", "sk-", r"[A-Za-z0-9_-]{20,200}"),
    _key("aws_key", "(?:AKIA|ASIA|ABIA|ACCA)", r"[A-Z2-7]{16}"),
    _key("google_key", "AIza", r"[A-Za-z0-9_-]{35}"),
    _key("github_token", "gh[pousr]_", r"[A-Za-z0-9]{36,255}"),
    _key("github_token", "github_pat_", r"[A-Za-z0-9_]{50,255}"),
    _key("gitlab_token", "gl(?:pat|ptt|dt|rt)-", r"[A-Za-z0-9_-]{20,64}"),
    _key("slack_token", "xox[abeoprs]-|xapp-", r"[A-Za-z0-9-]{15,250}"),
    _key("stripe_key", "(?:sk|rk)_(?:live|test)_|whsec_", r"[A-Za-z0-9]{16,250}"),
    _key("huggingface_token", "hf_", r"[A-Za-z0-9]{30,64}"),
    _key("npm_token", "npm_", r"[A-Za-z0-9]{36}"),
    _key("pypi_token", "pypi-AgE", r"[A-Za-z0-9_-]{50,250}"),
    Rule(
        "sendgrid_key",
        re.compile(r"(?<![A-Za-z0-9_])SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}(?![A-Za-z0-9_])"),
        needles=("sg.",),
        around=re.compile(rb"sg\.[a-z0-9_-]{16}"),
    ),
    _key("groq_key", "gsk_|xai-", r"[A-Za-z0-9]{40,100}"),
    _key("digitalocean_token", "do[opr]_v1_", r"[a-f0-9]{64}"),
    _key("jwt", "eyJ", r"[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{10,2000}"),
    Rule(
        "private_key",
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----.{0,20000}?(?:-----END [A-Z ]{0,40}-----|\Z)", re.DOTALL
        ),
        needles=("private key",),
        around=re.compile(rb"-----begin [a-z ]{0,30}private key"),
    ),
    Rule(
        "bearer_token",
        re.compile(r"(?i)\b(?:bearer|basic)\s+(?P<value>[A-Za-z0-9._~+/-]{16,4000}={0,2})"),
        _is_token,
        needles=("bearer", "authorization"),
    ),
    Rule(
        "url_password",
        re.compile(r"://[^\s/:@\"'\\]{1,100}:(?P<value>[^\s/@\"'\\]{1,200})@(?=[\w\[])"),
        _is_named_secret,
        needles=("@",),
        around=re.compile(rb":[^\s/@\"'\\]{1,60}@"),
    ),
    Rule(
        "password",
        re.compile(rf"{_NAMED}[\"'\\]{{0,4}}\s{{0,3}}[:=]\s{{0,3}}{_VALUE}"),
        _is_named_secret,
        needles=_NAMED_NEEDLES,
        after=_NAMED_AFTER,
        around=_NAMED_NEAR,
    ),
    Rule(
        "password",
        re.compile(rf"{_NAMED}\s{{1,3}}(?:is|was|lautet|ist|es|est)\s{{1,3}}{_VALUE}"),
        _is_told_secret,
        needles=_NAMED_NEEDLES,
        after=_NAMED_AFTER,
        around=_NAMED_NEAR,
    ),
    Rule(
        "card",
        re.compile(
            r"(?<![\w.,+-])"  # and no group of a bank account before it
            r"(?:\d{13,19}|(?<!\d{4}[ \u00a0])(?<![A-Z]\d{2}[ \u00a0])\d{4}([ \u00a0-])\d{4}\1\d{4}\1\d{1,7}"
            r"|\d{4}([ \u00a0-])\d{6}\2\d{4,5})"
            r"(?![\w-])(?!\.\d)"
        ),
        checksums.is_card,
        digits=13,
    ),
)

PERSONAL: tuple[Rule, ...] = (
    Rule("mail", re.compile(r"[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,6}[^\W\d_]{2,24}"), needles=("@",)),
    Rule(
        "iban",
        re.compile(
            r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ \u00a0-]?[A-Z0-9]{4}){2,7}(?:[ \u00a0-]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"
        ),
        digits=7,
        check=checksums.is_iban,
    ),
    Rule("ssn", re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"), digits=9, check=checksums.is_ssn),
    Rule(
        "nino",
        re.compile(r"(?<![A-Za-z0-9])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D](?![A-Za-z0-9])"),
        digits=6,
    ),
    Rule("dni", re.compile(r"(?<![A-Za-z0-9])[\dXYZ]\d{7}-?[A-Z](?![A-Za-z0-9])"), digits=7, check=checksums.is_dni),
    Rule(
        "codice_fiscale",
        re.compile(r"(?<![A-Za-z0-9])[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z](?![A-Za-z0-9])"),
        start="[A-Z]{6}[0-9]{2}[A-Z]",
        shortest=16,
        check=checksums.is_codice_fiscale,
    ),
    Rule(
        "nir",
        re.compile(r"(?<!\d)[12] ?\d\d ?[01]\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d(?!\d)"),
        digits=8,
        check=checksums.is_nir,
    ),
    Rule("pesel", re.compile(r"(?<![\d.-])\d{11}(?![\d-]|\.\d)"), digits=11, check=checksums.is_pesel),
    Rule(
        "steuer_id",
        re.compile(r"(?<![\d.-])[1-9]\d(?: ?\d{3}){3}(?![\d-]|\.\d)"),
        digits=11,
        check=checksums.is_steuer_id,
    ),
    Rule("cpf", re.compile(r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d\d(?!\d)"), checksums.is_cpf, digits=11),
    Rule(
        "phone",
        re.compile(
            r"(?<![\w.+/-])(?:"
            r"(?:\+|00)[1-9]\d{0,2}(?:[ \u00a0./-]?\(0?\d{0,4}\))?(?:[ \u00a0./-]?\d){6,12}"  # international
            r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|(?:1[ .-])?[2-9]\d{2}([.-])[2-9]\d{2}\1\d{4}"  # North America
            r"|\(?0[1-9]\d{1,4}\)?[ /-](?:[ -]?\d){5,9}|0[1-9](?:[ .]\d\d){4}|0[1-9]\d{8,10}"  # with a trunk zero
            r")(?![\w-])"
        ),
        digits=7,
        check=lambda text: 7 <= sum(char.isdigit() for char in text) <= 16,
    ),
)  # fmt: skip


def user_rules(patterns: Mapping[str, str]) -> tuple[Rule, ...]:
    """Rules of the operator: name -> regular expression.

    Raises:
        ConfigurationError: An expression is not valid, or matches nothing at all.
    """
    return tuple(_user_rule(name, pattern) for name, pattern in patterns.items())


def _user_rule(name: str, pattern: str) -> Rule:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigurationError(f"settings: redact_rules.{name} is no regular expression: {error}") from None
    if compiled.search("") is not None:
        raise ConfigurationError(f"settings: redact_rules.{name} matches the empty text; make it say what to find")
    return Rule(name, compiled)
