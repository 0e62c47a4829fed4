"""Secrets never reach a log; personal data only where the operator lets them."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.privacy.synthetic import samples

from ultracore.distillation.errors import ConfigurationError
from ultracore.distillation.events.privacy.pseudonyms import Pseudonyms
from ultracore.distillation.events.privacy.redaction import MARK, Redacted, redactor

NAMES = Pseudonyms(b"k" * 32)
SECRETS = redactor("secrets")
ALL = redactor("all", pseudonyms=NAMES)


def clean(data: Any, by: Any = SECRETS) -> Redacted:
    """As a store does it: by the encoded form first."""
    return by.redact(data, by.suspects(msgspec.json.encode(data)))


def _measured(n: int) -> tuple[Counter[str], Counter[str], list[str]]:
    score: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    wrong = []
    for sample in samples(n, seed=7):
        found = clean({"context": {"messages": [{"content": sample.text}]}}, ALL)
        left = found.data["context"]["messages"][0]["content"]
        hits = sum(found.counts.values())
        if sample.rule is None:
            score["false"] += hits
            wrong += [sample.text] * bool(hits)
        elif sample.value in left:
            missed[sample.rule] += 1
            score["false"] += hits
        else:
            score["true"] += 1
            score["false"] += hits - 1
            wrong += [sample.text] * (hits > 1)
    return score, missed, wrong


@pytest.mark.parametrize("n", [1_000, pytest.param(5_000, marks=pytest.mark.slow)])
def test_recall_and_precision_on_synthetic_texts(n: int) -> None:
    score, missed, wrong = _measured(n)
    recall = score["true"] / (score["true"] + missed.total())
    precision = score["true"] / (score["true"] + score["false"])
    assert recall >= 0.99, missed
    assert precision >= 0.95, wrong[:20]
    assert score["true"] > n / 2


KEY = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWx0123456789"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"use {KEY}.", "use [redacted:openai_key]."),
        ("curl -H 'Authorization: Bearer abcdef0123456789abcdef'", "curl -H 'Authorization: Bearer [redacted:bearer_token]'"),
        ("postgres://admin:hunter2@db.example/x", "postgres://admin:[redacted:url_password]@db.example/x"),
        ("password=hunter2&next=/", "password=[redacted:password]&next=/"),
        ('{"api_key": "0a1b2c3d4e"}', '{"api_key": "[redacted:password]"}'),
        ("My password is Tr0ub4dor&3", "My password is [redacted:password]&3"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nok", "[redacted:private_key]\nok"),
        ("card 4111 1111 1111 1111, cvv later", "card [redacted:card], cvv later"),
        ("your password is required; the token expired", None),
        ("4111 1111 1111 1112 is no card", None),
        ("2 at 10115 4111111111111111", "2 at 10115 [redacted:card]"),
        ("2 4111 1111 1111 1111 12/27", "2 [redacted:card] 12/27"),
        ("DE44 4111 1111 1111 1111 00", None),
        ("XX00 0000 4111 1111 1111 1111", None),
        ("line\n4111111111111111\nline", "line\n[redacted:card]\nline"),
        ("line\nghp_0123456789abcdefghijABCDEFGHIJ012345", "line\n[redacted:github_token]"),
        ("--key-ghp_0123456789abcdefghijABCDEFGHIJ012345", "--key-[redacted:github_token]"),
        ("1234567890123456", None),
        ("task-abcdefghijklmnopqrstuvwxyz", None),
        ("a4111111111111111b", None),
        (f"task-abcdefghijklmnopqrstuvwxyz {KEY}", "task-abcdefghijklmnopqrstuvwxyz [redacted:openai_key]"),
    ],
)  # fmt: skip
def test_what_is_a_secret_and_what_only_looks_like_one(text: str, left: str | None) -> None:
    assert clean({"a": text}).data == {"a": left or text}


@pytest.mark.parametrize(
    ("data", "left", "counts"),
    [
        ({"password": "abc def", "n": 1}, {"password": "[redacted:password]", "n": 1}, {"password": 1}),
        ({"arguments": {"pin": 4111111111111111}}, {"arguments": {"pin": "[redacted:card]"}}, {"card": 1}),
        ({"properties": {"password": {"type": "string"}}}, None, {}),
        ([[KEY, {KEY: KEY}]], [["[redacted:openai_key]", {"[redacted:openai_key]": "[redacted:openai_key]"}]], {"openai_key": 3}),
        ({"tool": json.dumps({"client_secret": "zzzz9"})}, {"tool": '{"client_secret": "[redacted:password]"}'}, {"password": 1}),
    ],
)  # fmt: skip
def test_objects_numbers_keys_and_json_within_text(data: Any, left: Any, counts: dict[str, int]) -> None:
    found = clean(data)
    assert found.data == (data if left is None else left)
    assert found.counts == counts


def test_what_was_given_is_not_changed() -> None:
    data = {"a": [KEY], "password": "x1y2z3"}
    before = json.dumps(data)
    clean(data)
    assert json.dumps(data) == before


def test_two_keys_of_an_object_that_become_alike_stay_two() -> None:
    other = KEY[:-1] + "8"
    assert sorted(clean({KEY: 1, other: 2}).data.values()) == [1, 2]


def test_personal_data_are_left_by_default() -> None:
    data = {"a": "mail anna@example.com or +49 151 23456789, DE89 3704 0044 0532 0130 00"}
    assert clean(data).data == data


def test_a_value_has_one_pseudonym_wherever_it_stands_and_however_it_is_written() -> None:
    data = {
        "message": "I am +49 151 23456789, Anna@Example.com",
        "arguments": {"phone": "+4915123456789", "mail": "anna@example.com"},
    }
    left = clean(data, ALL).data
    digits = "".join(filter(str.isdigit, left["message"]))
    assert digits == left["arguments"]["phone"][1:] != "4915123456789"
    assert left["arguments"]["mail"] in left["message"]
    assert left["arguments"]["phone"].startswith("+")


def test_another_secret_gives_other_pseudonyms() -> None:
    assert NAMES.of_value("phone", "030 1234567") != Pseudonyms(b"o" * 32).of_value("phone", "030 1234567")
    assert NAMES.of_subject("a", "bc") != NAMES.of_subject("ab", "c")


def test_the_pseudonym_of_a_bank_account_is_one() -> None:
    from ultracore.distillation.events.privacy.checksums import is_iban

    pseudonym = NAMES.of_value("iban", "DE89 3704 0044 0532 0130 00")
    assert is_iban(pseudonym)
    assert (pseudonym[:2], [len(part) for part in pseudonym.split()]) == ("DE", [4, 4, 4, 4, 4, 2])
    assert pseudonym.replace(" ", "") == NAMES.of_value("iban", "DE89370400440532013000")


def test_rules_of_the_operator_count_even_where_the_others_are_off() -> None:
    own = redactor("off", {"case_number": r"\bAZ-\d{4}\b"})
    assert clean({"a": f"AZ-1234 and {KEY}"}, own) == ({"a": f"[redacted:case_number] and {KEY}"}, {"case_number": 1})
    assert clean({"a": "AZ-1234"}, redactor("secrets", {"x": "A"})).counts == {"x": 1}


@pytest.mark.parametrize(
    ("choice", "rules", "message"),
    [("some", {}, "redact must be one of"), ("off", {"x": "("}, "redact_rules.x is no regular"), ("off", {"x": "a*"}, "empty text")],
)  # fmt: skip
def test_rules_that_cannot_be_used_say_so(choice: str, rules: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        redactor(choice, rules)


@given(
    st.text(), st.sampled_from(["sk-", "password: ", "eyJ", "+49", "@", "4111 1111 ", "://a:", "bearer "]), st.text()
)
def test_no_text_breaks_it_and_what_is_clean_stays_clean(before: str, middle: str, after: str) -> None:
    data = {"text": before + middle + after}
    once = clean(data, SECRETS)
    assert clean(once.data, SECRETS).data == once.data


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000 + "@", "1 " * 50_000, "-----BEGIN " * 5_000, "password" * 10_000, "eyJ" * 30_000, "a:" * 50_000 + "@",
     "sk-" * 30_000, "bearer " * 10_000, "+1(" * 30_000, "AB12 " * 20_000],
    ids=lambda text: text[:8],
)  # fmt: skip
def test_no_text_makes_it_slow(text: str) -> None:
    start = time.process_time()
    clean({"text": text}, ALL)
    assert time.process_time() - start < 3.0


def test_a_message_about_to_be_printed_is_cleaned() -> None:
    assert SECRETS.text(f"cannot use {KEY}: denied") == f"cannot use {MARK}openai_key]: denied"
