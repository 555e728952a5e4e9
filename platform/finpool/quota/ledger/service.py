"""The ledger: double-entry transfers, written once, each summing to zero."""

from collections.abc import Mapping

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId, new_id
from finpool.quota.ledger.schemas import TransferKind
from finpool.quota.models import Transfer


async def transfer(
    session: AsyncSession, tenant_id: TenantId, kind: TransferKind, reference: str, amounts_picos: Mapping[str, int]
) -> None:
    """Move signed amounts (picos) between a tenant's accounts; zeros are left out, and without amounts no row is
    written.

    Raises `ValueError` unless the amounts sum to zero; the database also refuses such a transfer.
    """
    moved = {account: amount for account, amount in amounts_picos.items() if amount}
    if not moved:
        return
    if sum(moved.values()) != 0:
        raise ValueError(f"a transfer of tenant {tenant_id} for {reference} does not sum to zero: {moved}")
    await session.execute(
        insert(Transfer).values(
            tenant_id=tenant_id,
            transfer_id=new_id("transfer"),
            kind=kind.value,
            reference=reference,
            accounts=list(moved),
            amounts_picos=list(moved.values()),
            occurred_at=now(),
        )
    )
