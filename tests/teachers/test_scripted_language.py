"""The words: what customers can say is what the teacher can read."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultracore.distillation.teachers.scripted import dates
from ultracore.distillation.teachers.scripted.amounts import read_amount, read_value, say_amount
from ultracore.distillation.teachers.scripted.grammar import correct, expand, misspell, stream
from ultracore.distillation.teachers.scripted.people import make_customer
from ultracore.distillation.teachers.scripted.references import accounts_in, cards_in, orders_in, transactions_in
from ultracore.distillation.teachers.scripted.replies import say, topic_in
from ultracore.distillation.teachers.scripted.understanding import understand
from ultracore.distillation.teachers.scripted.world import World

TODAY = date(2025, 3, 14)
days = st.dates(date(2025, 1, 1), date(2025, 12, 31))
seeds = st.integers(0, 10**6)


@given(days, seeds)
def test_a_named_day_is_read_back(day: date, seed: int) -> None:
    words = dates.say_day(day, stream(seed)).lower()
    assert dates.read_day(words, day, ahead=True) == day
    assert dates.read_day(words, day, ahead=False) == day


@given(days, st.integers(1, 40), seeds, st.booleans())
def test_a_past_day_is_read_back(today: date, age: int, seed: int, hard: bool) -> None:
    day = today - timedelta(age)
    words = dates.past(day, today, stream(seed), hard).lower()
    assert dates.read_day(words, today, ahead=False) == day


@given(st.dates(date(1945, 1, 1), date(2004, 12, 31)), seeds)
def test_a_birth_date_is_read_back_and_is_no_other_date(day: date, seed: int) -> None:
    words = dates.say_birth_date(day, stream(seed))
    assert dates.read_birth_date(words) == day
    assert dates.read_day(words.lower(), TODAY, ahead=True) is None


@given(days, seeds, st.booleans())
def test_every_phrase_for_a_coming_day_or_a_period_is_understood(today: date, seed: int, hard: bool) -> None:
    ahead = dates.read_day(dates.future(today, stream(seed), hard).lower(), today, ahead=True)
    assert ahead is not None
    assert ahead >= today
    period = dates.read_period(dates.period(today, stream(seed), hard).lower(), today)
    assert period is not None
    assert period.first <= (period.last or today) <= today


@pytest.mark.parametrize(
    ("words", "day"),
    [
        ("tomorrow", date(2025, 3, 15)),
        ("next friday", date(2025, 3, 21)),
        ("on the first of next month", date(2025, 4, 1)),
        ("at the end of the month", date(2025, 3, 31)),
        ("in two weeks", date(2025, 3, 28)),
    ],
)
def test_days_to_compute(words: str, day: date) -> None:
    assert dates.read_day(words, TODAY, ahead=True) == day


@given(st.integers(1, 500_000), seeds)
def test_a_named_sum_is_read_back(cents: int, seed: int) -> None:
    assert read_value(say_amount(cents / 100, stream(seed)).lower()) == cents / 100


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("half of the balance", 50.0),
        ("everything except 30 euros", 70.0),
        ("20 euros plus 5 euros for the fee", 25.0),
        ("a hundred euros", 100.0),
    ],
)
def test_sums_to_compute(words: str, value: float) -> None:
    amount = read_amount(words)
    assert amount is not None
    assert amount.of(100.0) == value


def test_no_sum_is_no_sum() -> None:
    assert read_amount("the card ending in 4417") is None


@given(st.text("abcdefghijklmnopqrstuvwxyz ", max_size=60), seeds)
def test_misspelling_is_undone(text: str, seed: int) -> None:
    assert correct(misspell(correct(text), stream(seed), 0.7)) == correct(text)


def test_choices_nest_and_slot_values_are_left_alone() -> None:
    seen = {expand("[a|[b|c] {x}|]!", stream(i), x="[1|2]") for i in range(60)}
    assert seen == {"a!", "b [1|2]!", "c [1|2]!", "!"}


@pytest.mark.parametrize(
    "topic", ["identity", "birth_date", "card", "account", "amount", "payee", "orders", "transactions", "reason", "period",
              "contact", "hold", "confirm", "summary", "goodbye", "request", "limits"],
)  # fmt: skip
def test_a_reply_tells_its_topic(topic: str) -> None:
    for seed in range(30):
        assert topic_in(say(topic, stream(seed), work="transfer", details="x", options="y", outcome="Done.")) == topic


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I can't find my debit card anywhere!", "block_card"),
        ("Could you raise my ATM limit to 500 euros?", "limits"),
        ("plese tranfer 20 euros to Anna", "transfer"),
        ("I don't recognise a payment", "dispute"),
        ("When does my card expire?", "card_info"),
        ("Send me a statement for March", "statement"),
        ("What do you think of crypto?", "forbidden"),
    ],
)
def test_what_is_wanted(text: str, kind: str) -> None:
    assert understand(text).clauses[0][0] == kind


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes, please", "yes"),
        ("no, make it 300 euros instead", "change"),
        ("hold on, forget it", "no"),
        ("Is it safe?", ""),
    ],
)
def test_yes_no_and_otherwise(text: str, answer: str) -> None:
    assert understand(text).answer == answer


def test_references_find_what_people_mean() -> None:
    cards = [
        {"card_id": "a", "kind": "debit", "network": "Visa", "last_four": "1111", "expires": "2028-01"},
        {"card_id": "b", "kind": "credit", "network": "Visa", "last_four": "2222", "expires": "2027-01"},
    ]
    assert [c["card_id"] for c in cards_in("the card ending in 2222", cards)] == ["b"]
    assert [c["card_id"] for c in cards_in("the card that expires last", cards)] == ["a"]
    assert len(cards_in("my visa", cards)) == 2
    accounts = [
        {"kind": "savings", "iban": "DE4417", "opened": "2014-01-01"},
        {"kind": "savings", "iban": "DE9999", "opened": "2019-01-01", "nickname": "house"},
    ]
    assert accounts_in("my house savings", accounts) == [accounts[1]]
    assert accounts_in("the savings account that i opened first", accounts) == [accounts[0]]
    assert len(accounts_in("my savings", accounts)) == 2


def test_payments_and_orders_are_compared() -> None:
    paid = [
        {"counterparty": "Blue Bean Cafe", "amount": {"value": -v}, "date": d}
        for v, d in ((9.5, "2025-03-10"), (12.0, "2025-03-02"))
    ]
    assert transactions_in("the bigger blue bean payment", paid) == [paid[1]]
    assert transactions_in("the last blue bean payment", paid) == [paid[0]]
    assert transactions_in("all blue bean payments", paid) == paid
    orders = [{"to": {"name": n}, "amount": {"value": v}} for n, v in (("City Gym", 30.0), ("Stream Box", 9.9))]
    assert orders_in("all standing orders except city gym", orders) == [orders[1]]
    assert orders_in("the cheapest standing order", orders) == [orders[1]]


def test_customers_cannot_be_mistaken_for_real_ones() -> None:
    for index in range(20):
        customer = make_customer(0, index, TODAY)
        assert all(account["iban"].startswith("DE00") for account in customer["accounts"])
        assert customer["email"].split("@")[1] in ("example.com", "example.org", "example.net")
        assert customer["phone"].startswith("+49 30 23125 ")


def test_the_world_answers_errors_and_keeps_its_customer_untouched() -> None:
    customer = make_customer(0, 1, TODAY)
    world = World(customer)
    card = customer["cards"][0]
    assert "error" in world.run("get_customer", {"customer_id": "C000000"})
    assert "error" in world.run("no_such_tool", {})
    world.run("block_card", {"card_id": card["card_id"], "reason": "lost"})
    assert world.run("get_card", {"card_id": card["card_id"]})["status"] == "blocked"
    assert World(customer).run("get_card", {"card_id": card["card_id"]})["status"] == card["status"]
