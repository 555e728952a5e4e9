"""The payment terms of a tenant: in advance, or after the month."""

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId
from finpool.kernel.tenant_rows import rows_of, update_of
from finpool.quota.account import postings
from finpool.quota.models import Account
from finpool.quota.schemas import PaymentTerms


async def payment_of(session: AsyncSession, tenant_id: TenantId) -> PaymentTerms:
    """Return the tenant's current payment terms; postpaid without an account."""
    query = rows_of(tenant_id, Account).with_only_columns(col(Account.payment))
    return PaymentTerms((await session.execute(query)).scalar_one_or_none() or PaymentTerms.POSTPAID)


async def lock_payment(session: AsyncSession, tenant_id: TenantId) -> PaymentTerms:
    """Lock the tenant's account, open it first if it is missing, and return the payment terms."""
    await postings.open_account(session, tenant_id)
    query = rows_of(tenant_id, Account).with_only_columns(col(Account.payment)).with_for_update()
    return PaymentTerms((await session.execute(query)).scalar_one())


async def set_payment(session: AsyncSession, tenant_id: TenantId, payment: PaymentTerms) -> None:
    """Change the payment terms from the tenant's next request on; the caller holds the account's lock."""
    change = update_of(tenant_id, Account)
    await session.execute(change.values(payment=payment.value, updated_at=now()))


async def fund(session: AsyncSession, tenant_id: TenantId, amount_picos: int) -> None:
    """Raise or lower a prepaid tenant's paid-in amount; the caller holds the account's lock."""
    funded = update_of(tenant_id, Account).values(
        funded_picos=Account.funded_picos + amount_picos, updated_at=func.now()
    )
    await session.execute(funded.execution_options(synchronize_session=False))
