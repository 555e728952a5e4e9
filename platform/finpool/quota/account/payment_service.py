"""How a tenant pays: in advance, or after the month."""

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId
from finpool.quota.account import postings
from finpool.quota.models import Account
from finpool.quota.schemas import PaymentTerms


async def payment_of(session: AsyncSession, tenant_id: TenantId) -> PaymentTerms:
    """Return how a tenant pays now; postpaid while it has no account."""
    query = select(col(Account.payment)).where(col(Account.tenant_id) == tenant_id)
    return PaymentTerms((await session.execute(query)).scalar_one_or_none() or PaymentTerms.POSTPAID)


async def lock_payment(session: AsyncSession, tenant_id: TenantId) -> PaymentTerms:
    """Lock the tenant's account, opening it if there is none, and return how the tenant pays."""
    await postings.open_account(session, tenant_id)
    query = select(col(Account.payment)).where(col(Account.tenant_id) == tenant_id).with_for_update()
    return PaymentTerms((await session.execute(query)).scalar_one())


async def set_payment(session: AsyncSession, tenant_id: TenantId, payment: PaymentTerms) -> None:
    """Change how a tenant pays, from its next request on; the account must be locked."""
    change = update(Account).where(col(Account.tenant_id) == tenant_id)
    await session.execute(change.values(payment=payment.value, updated_at=now()))


async def fund(session: AsyncSession, tenant_id: TenantId, amount_picos: int) -> None:
    """Raise (or lower) what a prepaid tenant may spend; its account must be locked."""
    change = update(Account).where(col(Account.tenant_id) == tenant_id)
    funded = change.values(funded_picos=Account.funded_picos + amount_picos, updated_at=func.now())
    await session.execute(funded.execution_options(synchronize_session=False))
