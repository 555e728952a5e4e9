"""Contracts of tenants and fees of the pool: operators set them, tenants read them, invoices charge them."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.billing.contract import repository
from finpool.billing.contract.errors import PaymentChangesAtOnce, PoolCostNotSet, SharesOvercommitted
from finpool.billing.contract.models import Contract, PoolCost
from finpool.billing.contract.price_directory import PriceDirectory, QuoteHeld, terms_at
from finpool.billing.contract.schemas import (
    ContractList,
    ContractView,
    Fee,
    NewContract,
    NewPoolCost,
    OwnContractView,
    OwnPriceList,
    OwnPriceView,
    PoolMonthView,
    Terms,
    UpcomingContractView,
    membership_fees,
)
from finpool.billing.errors import NotAWholeAmount
from finpool.billing.rounding import minor_unit_micros
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.price.schemas import BASIS_POINTS, FOR_EVER, Tier
from finpool.catalogue.price.service import beginning
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId
from finpool.quota.account import service as accounts
from finpool.tenancy import service as tenancy
from finpool.tenancy.schemas import ALL_MODELS

_INSTANT = timedelta(microseconds=1)


async def set_contract(session: AsyncSession, actor: Actor, tenant_id: TenantId, body: NewContract) -> ContractView:
    """Set a tenant's contract from a moment on; equal terms change nothing, and the contract in force is returned.

    Raises `TenantNotFound`, `BeginsInThePast`, `BeginsTooLate`, `PaymentChangesAtOnce` or `SharesOvercommitted`.
    """
    await tenancy.get_tenant(session, tenant_id)
    current_terms = await accounts.lock_payment_terms(session, tenant_id)
    at = now()
    begins = beginning(body.valid_from, at)
    new_terms = body.payment if body.payment != current_terms else None
    if new_terms is not None and begins > at:
        raise PaymentChangesAtOnce
    held = await repository.contract_at(session, tenant_id, begins)
    if held is not None and new_terms is None and _terms(held) == body.terms:
        return ContractView.of(held)
    await _require_service_share_left(session, tenant_id, body.service_share_min_basis_points)
    contract = Contract(
        tenant_id=tenant_id,
        version=await repository.last_version(session, tenant_id) + 1,
        valid_from=begins,
        payment=new_terms,
        discount_basis_points=body.discount_basis_points,
        commitment_micros=body.commitment_micros,
        pool_weight=body.pool_weight,
        service_weight=body.service_weight,
        service_share_min_basis_points=body.service_share_min_basis_points,
        created_at=at,
        created_by=actor.credential_id,
    )
    session.add(contract)
    if new_terms is not None:
        await accounts.set_payment_terms(session, tenant_id, new_terms)
    await session.flush()
    record = contract.model_dump(exclude={"tenant_id", "created_at", "created_by", "valid_from"}, exclude_none=True)
    record |= {"valid_from": begins.isoformat()}
    await audit.append(session, kind="contract.set", tenant_id=tenant_id, actor=actor, body=record)
    return ContractView.of(contract)


async def contracts_of(session: AsyncSession, tenant_id: TenantId) -> ContractList:
    """Return all contracts of a tenant, the latest first; raises `TenantNotFound`."""
    await tenancy.get_tenant(session, tenant_id)
    rows = await repository.contracts(session, tenant_id)
    return ContractList(data=[ContractView.of(row) for row in reversed(rows)])


async def own_contract(session: AsyncSession, tenant_id: TenantId) -> OwnContractView:
    """Return the tenant's current terms and the terms that begin later."""
    at = now()
    rows = await repository.contracts(session, tenant_id)
    upcoming = {row.valid_from: row for row in rows if row.valid_from > at}
    terms = terms_at(rows, at)
    return OwnContractView(
        payment=await accounts.payment_terms_of(session, tenant_id),
        discount_basis_points=terms.discount_basis_points,
        commitment_micros=terms.commitment_micros,
        pool_weight=terms.pool_weight,
        service_weight=terms.service_weight,
        service_share_min_basis_points=terms.service_share_min_basis_points,
        valid_from=max((row.valid_from for row in rows if row.valid_from <= at), default=None),
        upcoming=[UpcomingContractView.model_validate(row.model_dump()) for row in upcoming.values()],
    )


async def usable_models(session: AsyncSession, tenant_id: TenantId, models: Iterable[Model]) -> list[Model]:
    """Return the models that a tenant may use: open to it, and granted by its contract."""
    granted = (await tenancy.get_tenant(session, tenant_id)).models
    return [each for each in models if each.open_to(tenant_id) and (ALL_MODELS in granted or each.id in granted)]


async def own_prices(session: AsyncSession, tenant_id: TenantId, models: Iterable[Model]) -> OwnPriceList:
    """Return the tenant's current price for each model that it may use, as the inference path quotes it."""
    at = now()
    directory = PriceDirectory()
    await directory.load(session, None)
    data = [
        price
        for model in await usable_models(session, tenant_id, models)
        for tier in (Tier.STANDARD, Tier.BATCH)
        if (price := _own_price(directory.held(tenant_id, model, tier, at))) is not None
    ]
    return OwnPriceList(at=at, data=data)


async def commitment_micros(session: AsyncSession, tenant_id: TenantId, month: date) -> int:
    """Return the commitment of a month in micros, by the contract in force at its start, so that no part of a month
    counts.
    """
    contract = await repository.contract_at(session, tenant_id, month_start(month))
    return contract.commitment_micros if contract is not None else 0


async def is_member(session: AsyncSession, tenant_id: TenantId, month: date) -> bool:
    """Tell whether the tenant pays a part of the pool's cost of a month, by its contract at the month's end."""
    contract = await repository.contract_at(session, tenant_id, month_end(month) - _INSTANT)
    return contract is not None and contract.pool_weight > 0


async def membership_fee_micros(session: AsyncSession, tenant_id: TenantId, month: date) -> int:
    """Return a tenant's fee of a month in micros; 0 for a tenant that is no member, or without a pool cost.

    The session must see the whole sector, because the fee depends on the other members' weights.
    """
    try:
        fees = (await pool_month(session, month)).fees
    except PoolCostNotSet:
        return 0
    return next((fee.fee_micros for fee in fees if fee.tenant_id == tenant_id), 0)


async def set_pool_cost(
    session: AsyncSession, actor: Actor, month: date, currency: str, body: NewPoolCost
) -> PoolMonthView:
    """Set the pool's cost of a month; an equal cost changes nothing. Raises `NotAWholeAmount`."""
    unit = minor_unit_micros(currency)
    if body.amount_micros % unit:
        raise NotAWholeAmount(unit)
    held = await repository.pool_cost(session, month)
    if held is None or _cost(held) != body:
        version = held.version + 1 if held is not None else 1
        row = PoolCost(
            month=month_start(month).date(),
            version=version,
            currency=currency,
            created_at=now(),
            created_by=actor.credential_id,
            **body.model_dump(),
        )
        session.add(row)
        await session.flush()
        record = {"month": row.month.isoformat(), "version": version, "currency": currency, **body.model_dump()}
        await audit.append(session, kind="pool_cost.set", tenant_id=None, actor=actor, body=record)
    return await pool_month(session, month)


async def pool_month(session: AsyncSession, month: date) -> PoolMonthView:
    """Return a month's cost and its members' fees; raise `PoolCostNotSet`.

    Members are the tenants with a weight in the contract in force at the month's end. Contracts never begin in the
    past, so the fees of a past month change only with its cost. Fees are whole minor units of the currency. So invoices
    need not round them, and together they bill the exact cost.
    """
    month = month_start(month).date()
    cost = await repository.pool_cost(session, month)
    if cost is None:
        raise PoolCostNotSet(month)
    last = month_end(month) - _INSTANT
    weights: dict[TenantId, int] = {}
    for contract in await repository.contracts_across_tenants(session):
        if contract.valid_from <= last:
            weights[TenantId(contract.tenant_id)] = contract.pool_weight
    weights = {tenant_id: weight for tenant_id, weight in weights.items() if weight > 0}
    unit = minor_unit_micros(cost.currency)
    units = membership_fees(cost.amount_micros // unit, cost.equal_share_basis_points, weights)
    listed = [Fee(tenant_id=each, pool_weight=weights[each], fee_micros=units[each] * unit) for each in sorted(units)]
    return PoolMonthView(**{**cost.model_dump(), "fees": listed})


def month_start(month: date) -> datetime:
    """Return the first moment of a date's month, in UTC."""
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def month_end(month: date) -> datetime:
    """Return the first moment of the following month, in UTC."""
    return month_start(month_start(month).date() + timedelta(days=31))


async def _require_service_share_left(session: AsyncSession, tenant_id: TenantId, share_basis_points: int) -> None:
    """Raise `SharesOvercommitted` if this guarantee and all others, future contracts included, exceed the whole."""
    if share_basis_points == 0:
        return
    await repository.lock_guarantees(session)
    others = await repository.guarantees_of_others(session, tenant_id, now())
    if share_basis_points + others > BASIS_POINTS:
        raise SharesOvercommitted(BASIS_POINTS - others)


def _terms(contract: Contract) -> Terms:
    return terms_at([contract], FOR_EVER)


def _cost(row: PoolCost) -> NewPoolCost:
    return NewPoolCost(amount_micros=row.amount_micros, equal_share_basis_points=row.equal_share_basis_points)


def _own_price(held: QuoteHeld) -> OwnPriceView | None:
    quote = held.quote
    if quote is None:
        return None
    return OwnPriceView(
        model=quote.model_id,
        service_tier="flex" if quote.tier is Tier.BATCH else "default",
        tier=quote.tier,
        price_version=quote.price_version,
        currency=quote.currency,
        input_micros_per_million_tokens=quote.input_picos,
        cached_input_micros_per_million_tokens=quote.cached_input_picos,
        output_micros_per_million_tokens=quote.output_picos,
        until=held.until if held.until < FOR_EVER else None,
    )
