"""Each tenant's token prices, in memory: list prices by tier and time, less the discount of its contract."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.billing.contract import repository
from finpool.billing.contract.models import Contract
from finpool.billing.contract.schemas import NO_CONTRACT, Quote, Terms
from finpool.catalogue.errors import TierNotOffered
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.price import service as prices
from finpool.catalogue.price.schemas import FOR_EVER, PriceBook, Tier
from finpool.kernel.ids import TenantId


@dataclass(frozen=True, slots=True)
class QuoteHeld:
    """A quote and the time for which it certainly holds; the quote is None if the model has no such tier."""

    quote: Quote | None
    since: datetime
    until: datetime


class PriceDirectory:
    """Every tenant's prices; a snapshot that follows the database, so that a quote needs no round trip."""

    def __init__(self) -> None:
        self._book = PriceBook(())
        self._contracts: dict[TenantId, list[Contract]] = {}
        self._quotes: dict[tuple[TenantId, str, Tier], QuoteHeld] = {}

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Read one tenant's contracts again, or all prices and contracts for None."""
        if tenant_id is not None:
            self._contracts[tenant_id] = list(await repository.contracts(session, tenant_id))
        else:
            book, contracts = await prices.book(session), await repository.contracts_across_tenants(session)
            self._book, self._contracts = book, _by_tenant(contracts)
        self._quotes.clear()

    def quote(self, tenant_id: TenantId, model: Model, tier: Tier, at: datetime) -> Quote:
        """Return the price of a request admitted at `at` for standard or batch service.

        Standard requests get the off-peak price in its hours. Raises `TierNotOffered` without a batch price.
        """
        held = self._quotes.get((tenant_id, model.id, tier))
        if held is None or not held.since <= at < held.until:
            held = self._quotes[(tenant_id, model.id, tier)] = self.held(tenant_id, model, tier, at)
        if held.quote is None:
            raise TierNotOffered(model.id)
        return held.quote

    def terms(self, tenant_id: TenantId, at: datetime) -> Terms:
        """Return the terms of a tenant at a moment."""
        return terms_at(self._contracts.get(tenant_id, ()), at)

    def held(self, tenant_id: TenantId, model: Model, tier: Tier, at: datetime) -> QuoteHeld:
        """Return the quote with the next time at which a known price or contract changes it."""
        contracts = self._contracts.get(tenant_id, [])
        until = min((each.valid_from for each in contracts if each.valid_from > at), default=FOR_EVER)
        listed = self._book.held(model, tier, at)
        if listed is None:
            return QuoteHeld(None, at, min(until, self._book.next_start(model.id, (tier,), at)))
        price = listed.price.discounted(terms_at(contracts, at).discount_basis_points)
        quote = Quote(
            price_version=price.price_version,
            model_id=price.model_id,
            currency=price.currency,
            input_picos=price.input_picos,
            cached_input_picos=price.cached_input_picos,
            output_picos=price.output_picos,
            tier=listed.tier,
        )
        return QuoteHeld(quote, at, min(until, listed.until))


def terms_at(contracts: Iterable[Contract], at: datetime) -> Terms:
    """Return the terms at a moment; `contracts` are one tenant's, ordered by `valid_from`."""
    terms = NO_CONTRACT
    for each in contracts:
        if each.valid_from <= at:
            terms = Terms(
                each.discount_basis_points,
                each.commitment_micros,
                each.pool_weight,
                each.service_weight,
                each.service_share_min_basis_points,
            )
    return terms


def _by_tenant(contracts: Iterable[Contract]) -> dict[TenantId, list[Contract]]:
    found: dict[TenantId, list[Contract]] = defaultdict(list)
    for each in contracts:
        found[TenantId(each.tenant_id)].append(each)
    return dict(found)
