"""Usage adjustments: signed changes of recorded usage, of one request or of a tenant; the records stay."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import LeaseId, TenantId, new_id
from finpool.metering.models import UsageAdjustment, UsageRecord
from finpool.quota.account import service as accounts


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A signed change of tokens and cost (picos), with its kind and its reason."""

    kind: str
    reason: str
    cost_picos: int
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    adjustment_id: str = field(default_factory=lambda: new_id("adjustment"))


async def adjust_request(session: AsyncSession, actor: Actor, record: UsageRecord, adjustment: Adjustment) -> None:
    """Write the adjustment of a recorded request, also in the budgets that paid for it.

    The caller holds the lock of the tenant's account. The next invoice draft contains the adjustment.
    """
    tenant_id = TenantId(record.tenant_id)
    numbers = await accounts.number_usage(session, {tenant_id: 1})
    row = _row(tenant_id, numbers[tenant_id], record.currency, actor, adjustment) | {
        "request_id": record.request_id,
        "project_id": record.project_id,
        "model_id": record.model_id,
        "price_version": record.price_version,
    }
    await session.execute(insert(UsageAdjustment).values(**row))
    leases = [LeaseId(each) for each in record.lease_ids]
    await accounts.adjust(session, tenant_id, leases, adjustment.cost_picos, adjustment.adjustment_id)


async def adjust_tenants(
    session: AsyncSession, actor: Actor, currency: str, adjustments: Mapping[TenantId, Adjustment]
) -> None:
    """Write one adjustment of each tenant that belongs to no request; the accounts have changed already."""
    numbers = await accounts.number_usage(session, dict.fromkeys(adjustments, 1))
    rows = [_row(tenant_id, numbers[tenant_id], currency, actor, each) for tenant_id, each in adjustments.items()]
    await session.execute(insert(UsageAdjustment), rows)


def _row(tenant_id: TenantId, usage_seq: int, currency: str, actor: Actor, adjustment: Adjustment) -> dict[str, object]:
    return asdict(adjustment) | {
        "tenant_id": tenant_id,
        "currency": currency,
        "made_by": actor.credential_id,
        "usage_seq": usage_seq,
        "recorded_at": now(),
    }
