"""A tenant's quote: list price less its discount, from memory, and never one that has ended."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finpool.billing.contract.models import Contract
from finpool.billing.contract.price_directory import PriceDirectory
from finpool.catalogue.errors import TierNotOffered
from finpool.catalogue.model.schemas import Price
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.price.schemas import OffPeakHours, PriceBook, ScheduledPrice, Tier, TokenPrice
from finpool.kernel.ids import TenantId

MODEL = Catalogue.load(default_directory()).get("smollm2-135m-instruct")
BANK, OTHER = TenantId("bank-a"), TenantId("bank-b")
START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def contract(version: int, begins: datetime, discount: int, tenant_id: TenantId = BANK) -> Contract:
    return Contract(
        tenant_id=tenant_id,
        version=version,
        valid_from=begins,
        discount_basis_points=discount,
        commitment_micros=0,
        pool_weight=0,
        created_at=begins,
        created_by="token",
    )


def row(number: int, tier: Tier, begins: datetime, amount: int | None, hours: OffPeakHours | None) -> ScheduledPrice:
    price = None
    if amount is not None:
        amounts = {f"{kind}_micros_per_million_tokens": amount for kind in ("input", "cached_input", "output")}
        price = TokenPrice.of(MODEL.id, Price(currency="CNY", **amounts))
    return ScheduledPrice(number, MODEL.id, tier, begins, price, hours)


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a directory of these rows and contracts: `await directory(rows, contracts)`."""
    return _directory_of(monkeypatch)


def _directory_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    async def of(rows: Sequence[ScheduledPrice], contracts: Sequence[Contract]) -> PriceDirectory:
        made = PriceDirectory()
        with monkeypatch.context() as patch:
            _feed(patch, rows, contracts)
            await made.load(None, None)  # type: ignore[arg-type]  # What it reads is given below.
        return made

    return of


def _feed(patch: pytest.MonkeyPatch, rows: Sequence[ScheduledPrice], contracts: Sequence[Contract]) -> None:
    async def book(_: object) -> PriceBook:
        return PriceBook(rows)

    async def all_contracts(_: object) -> list[Contract]:
        return sorted(contracts, key=lambda each: (each.valid_from, each.version))

    patch.setattr("finpool.catalogue.price.service.book", book)
    patch.setattr("finpool.billing.contract.repository.contracts_across_tenants", all_contracts)


async def test_a_discount_is_the_tenants_own_and_begins_with_its_contract(directory: Any) -> None:
    prices = await directory([], [contract(1, START, 2_000)])
    before = prices.quote(BANK, MODEL, Tier.STANDARD, START - timedelta(microseconds=1))
    after = prices.quote(BANK, MODEL, Tier.STANDARD, START)
    other = prices.quote(OTHER, MODEL, Tier.STANDARD, START)
    assert (before.input_picos, after.input_picos, other.input_picos) == (1_000_000, 800_000, 1_000_000)
    assert before.price_version == other.price_version == MODEL.price_version
    assert after.price_version.startswith(f"{MODEL.id}@")
    assert after.price_version != MODEL.price_version


async def test_the_contract_in_force_is_the_one_that_began_last(directory: Any) -> None:
    prices = await directory([], [contract(1, START + 2 * HOUR, 0), contract(2, START, 5_000)])
    amounts = [prices.quote(BANK, MODEL, Tier.STANDARD, START + hours * HOUR).input_picos for hours in (0, 1, 2, 3)]
    assert amounts == [500_000, 500_000, 1_000_000, 1_000_000]


async def test_a_tier_without_a_price_is_refused_until_it_has_one(directory: Any) -> None:
    prices = await directory([row(1, Tier.BATCH, START, 40, None)], [])
    with pytest.raises(TierNotOffered) as refused:
        prices.quote(BANK, MODEL, Tier.BATCH, START - HOUR)
    assert (refused.value.status, refused.value.param) == (400, "service_tier")
    quote = prices.quote(BANK, MODEL, Tier.BATCH, START)
    assert (quote.input_picos, quote.tier) == (40, Tier.BATCH)


async def test_a_clock_that_is_set_back_gets_the_price_of_its_time(directory: Any) -> None:
    prices = await directory([row(1, Tier.STANDARD, START, 40, None)], [])
    assert prices.quote(BANK, MODEL, Tier.STANDARD, START).input_picos == 40
    assert prices.quote(BANK, MODEL, Tier.STANDARD, START - HOUR).input_picos == 1_000_000
    assert prices.quote(BANK, MODEL, Tier.STANDARD, START).input_picos == 40


hours_ahead = st.integers(0, 100).map(lambda hours: START + hours * HOUR)
off_peaks = st.builds(OffPeakHours, st.just(22 * 60), st.sampled_from([6 * 60, 23 * 60]))
amounts = st.integers(0, 1_000)
schedules = st.lists(
    st.one_of(
        st.tuples(st.just(Tier.STANDARD), hours_ahead, amounts, st.none()),
        st.tuples(st.just(Tier.OFF_PEAK), hours_ahead, amounts, off_peaks),
        st.tuples(st.sampled_from([Tier.BATCH, Tier.OFF_PEAK]), hours_ahead, st.none(), st.none()),
        st.tuples(st.just(Tier.BATCH), hours_ahead, amounts, st.none()),
    ),
    max_size=6,
)
agreed = st.lists(st.tuples(hours_ahead, st.integers(0, 10_000)), max_size=4)
asked = st.lists(
    st.tuples(st.sampled_from([Tier.STANDARD, Tier.BATCH]), st.integers(0, 7200).map(lambda m: START + m * HOUR / 60)),
    min_size=1,
    max_size=20,
)


@given(schedules, agreed, asked)
async def test_what_is_remembered_is_what_would_be_worked_out_anew(
    schedule: list[Any], agreements: list[Any], questions: list[tuple[Tier, datetime]]
) -> None:
    rows = [row(number, *each) for number, each in enumerate(schedule)]
    contracts = [contract(number, begins, discount) for number, (begins, discount) in enumerate(agreements)]
    with pytest.MonkeyPatch.context() as patch:
        remembering = await _directory_of(patch)(rows, contracts)
        for tier, at in questions:
            anew = (await _directory_of(patch)(rows, contracts)).held(BANK, MODEL, tier, at).quote
            try:
                answer = remembering.quote(BANK, MODEL, tier, at)
            except TierNotOffered:
                answer = None
            assert answer == anew
