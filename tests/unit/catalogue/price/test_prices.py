"""A bank's price of a token at a moment: tiers, hours, moments at which prices change, and discounts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from finpool.catalogue.model.schemas import Model, Price
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price.schemas import (
    FOR_EVER,
    NewScheduledPrice,
    OffPeakHours,
    PriceBook,
    ScheduledPrice,
    Tier,
    TokenPrice,
)

MODEL = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
NIGHT = OffPeakHours(22 * 60, 6 * 60)
AMOUNTS = {
    "input_micros_per_million_tokens": 30,
    "cached_input_micros_per_million_tokens": 10,
    "output_micros_per_million_tokens": 90,
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}+00:00")


def price(input_picos: int, model: Model = MODEL) -> TokenPrice:
    amounts = {
        "input_micros_per_million_tokens": input_picos,
        "cached_input_micros_per_million_tokens": 0,
        "output_micros_per_million_tokens": 2 * input_picos,
    }
    return TokenPrice.of(model.id, Price(currency="CNY", **amounts))


def row(number: int, tier: Tier, begins: str, amount: int | None, hours: OffPeakHours | None = None) -> ScheduledPrice:
    return ScheduledPrice(number, MODEL.id, tier, at(begins), None if amount is None else price(amount), hours)


def held(book: PriceBook, moment: str, asked: Tier = Tier.STANDARD) -> tuple[int, Tier, datetime] | None:
    found = book.held(MODEL, asked, at(moment))
    return None if found is None else (found.price.input_picos, found.tier, found.until)


def test_the_declared_price_holds_until_the_first_scheduled_one_begins() -> None:
    book = PriceBook([row(1, Tier.STANDARD, "03-01T00:00:00", 7)])
    declared = MODEL.price.input_micros_per_million_tokens
    assert held(book, "02-28T23:59:59.999999") == (declared, Tier.STANDARD, at("03-01T00:00:00"))
    assert held(book, "03-01T00:00:00") == (7, Tier.STANDARD, FOR_EVER)


def test_of_two_prices_that_begin_at_one_moment_the_one_written_last_holds() -> None:
    book = PriceBook([row(2, Tier.STANDARD, "03-01T00:00:00", 8), row(1, Tier.STANDARD, "03-01T00:00:00", 7)])
    assert held(book, "03-02T00:00:00") == (8, Tier.STANDARD, FOR_EVER)


def test_a_price_written_last_does_not_undo_one_that_begins_later() -> None:
    book = PriceBook([row(1, Tier.STANDARD, "04-01T00:00:00", 8), row(2, Tier.STANDARD, "03-01T00:00:00", 7)])
    assert held(book, "03-15T00:00:00") == (7, Tier.STANDARD, at("04-01T00:00:00"))
    assert held(book, "04-01T00:00:00") == (8, Tier.STANDARD, FOR_EVER)


@pytest.mark.parametrize(
    ("moment", "amount", "tier", "until"),
    [
        ("03-02T21:59:59.999999", 7, Tier.STANDARD, "03-02T22:00:00"),
        ("03-02T22:00:00", 3, Tier.OFF_PEAK, "03-03T06:00:00"),
        ("03-02T23:59:59", 3, Tier.OFF_PEAK, "03-03T06:00:00"),
        ("03-03T00:00:00", 3, Tier.OFF_PEAK, "03-03T06:00:00"),
        ("03-03T05:59:59.999999", 3, Tier.OFF_PEAK, "03-03T06:00:00"),
        ("03-03T06:00:00", 7, Tier.STANDARD, "03-03T22:00:00"),
    ],
)
def test_off_peak_hours_pass_midnight(moment: str, amount: int, tier: Tier, until: str) -> None:
    book = PriceBook([row(1, Tier.STANDARD, "03-01T00:00:00", 7), row(2, Tier.OFF_PEAK, "03-01T12:00:00", 3, NIGHT)])
    assert held(book, moment) == (amount, tier, at(until))


def test_off_peak_hours_are_those_of_utc_whatever_zone_a_moment_is_written_in() -> None:
    moment = datetime.fromisoformat("2026-03-03T06:30:00+08:00")
    assert NIGHT.hold_at(moment)
    assert NIGHT.next_edge(moment) == at("03-03T06:00:00")


def test_off_peak_prices_end_when_they_are_ended() -> None:
    book = PriceBook([row(1, Tier.OFF_PEAK, "03-01T00:00:00", 3, NIGHT), row(2, Tier.OFF_PEAK, "03-02T23:00:00", None)])
    assert held(book, "03-02T22:30:00") == (3, Tier.OFF_PEAK, at("03-02T23:00:00"))
    assert held(book, "03-02T23:30:00") == (MODEL.price.input_micros_per_million_tokens, Tier.STANDARD, FOR_EVER)


def test_batch_is_offered_only_while_it_has_a_price() -> None:
    book = PriceBook([row(1, Tier.BATCH, "03-01T00:00:00", 4), row(2, Tier.BATCH, "04-01T00:00:00", None)])
    assert held(book, "02-01T00:00:00", Tier.BATCH) is None
    assert held(book, "03-01T00:00:00", Tier.BATCH) == (4, Tier.BATCH, at("04-01T00:00:00"))
    assert held(book, "04-01T00:00:00", Tier.BATCH) is None


minutes = st.integers(0, 1439)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Bounds are naive.


@given(minutes, minutes, moments)
def test_between_two_edges_the_hours_neither_begin_nor_end(start: int, end: int, moment: datetime) -> None:
    if start == end:
        return
    hours = OffPeakHours(start, end)
    edge = hours.next_edge(moment)
    assert moment < edge <= moment + timedelta(days=1)
    assert hours.hold_at(edge - timedelta(microseconds=1)) == hours.hold_at(moment)
    assert hours.hold_at(edge) != hours.hold_at(moment)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10_000))
def test_a_discount_is_rounded_once_per_token_price_and_for_the_bank(a: int, b: int, output: int, points: int) -> None:
    listed = TokenPrice("list", "m", "CNY", max(a, b), min(a, b), output)
    paid = listed.discounted(points)
    pairs = (
        (listed.input_picos, paid.input_picos),
        (listed.cached_input_picos, paid.cached_input_picos),
        (listed.output_picos, paid.output_picos),
    )
    for full, less in pairs:
        assert less * 10_000 <= full * (10_000 - points) < (less + 1) * 10_000
    assert paid.cached_input_picos <= paid.input_picos


def test_a_discounted_price_is_a_version_of_its_own_and_no_discount_is_the_list_price() -> None:
    listed = TokenPrice.of(MODEL.id, MODEL.price)
    assert listed.price_version == MODEL.price_version
    assert listed.discounted(0) == listed
    assert listed.discounted(1).price_version != listed.price_version
    assert listed.discounted(1) == listed.discounted(1)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"tier": "standard", "price": None}, "always has a standard price"),
        ({"tier": "off_peak", "price": AMOUNTS}, "go with an off_peak price"),
        ({"tier": "batch", "price": AMOUNTS, "off_peak_from": "22:00", "off_peak_until": "06:00"}, "and only with one"),
        ({"tier": "off_peak", "price": None, "off_peak_from": "22:00", "off_peak_until": "06:00"}, "and only with one"),
        ({"tier": "off_peak", "price": AMOUNTS, "off_peak_from": "22:00", "off_peak_until": "22:00"}, "are the same"),
        ({"tier": "off_peak", "price": AMOUNTS, "off_peak_from": "24:00", "off_peak_until": "06:00"}, "off_peak_from"),
        ({"tier": "standard", "price": {**AMOUNTS, "cached_input_micros_per_million_tokens": 31}}, "is above"),
        ({"tier": "standard", "price": AMOUNTS, "valid_from": "2026-12-01T00:00:00"}, "a time with its zone"),
        ({"tier": "priority", "price": AMOUNTS}, "tier"),
    ],
)
def test_a_price_that_makes_no_sense_is_refused(body: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        NewScheduledPrice.model_validate(body)
