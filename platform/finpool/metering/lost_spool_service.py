"""The end of a spool that is lost with its volume: nothing was recorded, so an operator decides, on record."""

from datetime import timedelta

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from finpool.audit import service as audit
from finpool.kernel.actor import Actor
from finpool.kernel.clock import now
from finpool.kernel.ids import TenantId, new_id
from finpool.kernel.money import to_micros_ceiling
from finpool.metering.errors import SpoolAlive
from finpool.metering.lost_spool_schemas import ChargedTenant, LostSpool, LostSpoolAnswer
from finpool.metering.models import SpoolPosition, UsageAdjustment
from finpool.quota import account_service as accounts
from finpool.quota import lease_service as leases
from finpool.quota.lease_schemas import LeaseOutcome

KIND = "lease_charge"
ALIVE_FOR = timedelta(minutes=1)
"""A spool that was recorded from so lately is not lost; its own replica returns its leases."""


async def settle_lost_spool(session: AsyncSession, actor: Actor, lost: LostSpool, currency: str) -> LostSpoolAnswer:
    """Close the leases of a lost spool; raises `SpoolAlive` for one that was recorded from a moment ago.

    Charged leases become a usage adjustment of each tenant, which its owner may dispute. Doing it again does nothing.
    """
    await _require_silent(session, lost)
    outcome = LeaseOutcome(lost.decision)
    closed = await leases.close_spool(session, lost.replica_id, lost.spool_id, outcome, lost.spool_id)
    charged = {tenant_id: amount for tenant_id, amount in closed.charged_picos.items() if amount}
    if charged:
        numbers = await accounts.number_usage(session, dict.fromkeys(charged, 1))
        rows = [
            _row(tenant_id, amount, numbers[tenant_id], actor, lost, currency) for tenant_id, amount in charged.items()
        ]
        await session.execute(insert(UsageAdjustment), rows)
    if closed.leases:
        body = {
            "replica_id": lost.replica_id,
            "spool_id": lost.spool_id,
            "decision": lost.decision,
            "reason": lost.reason,
            "leases": closed.leases,
        }
        await audit.append(session, kind="spool.lost", tenant_id=None, actor=actor, body=body)
        for tenant_id, amount in charged.items():
            told = {"spool_id": lost.spool_id, "cost_picos": str(amount), "currency": currency, "reason": lost.reason}
            await audit.append(session, kind="lease.charged", tenant_id=tenant_id, actor=actor, body=told)
    return LostSpoolAnswer(
        leases_closed=closed.leases,
        charged=[
            ChargedTenant(tenant_id=tenant_id, charged_micros=to_micros_ceiling(amount))
            for tenant_id, amount in charged.items()
        ],
    )


async def _require_silent(session: AsyncSession, lost: LostSpool) -> None:
    query = select(func.clock_timestamp() - col(SpoolPosition.updated_at)).where(
        col(SpoolPosition.replica_id) == lost.replica_id, col(SpoolPosition.spool_id) == lost.spool_id
    )
    silent_for = (await session.execute(query)).scalar_one_or_none()
    if silent_for is not None and silent_for < ALIVE_FOR:
        raise SpoolAlive(lost.spool_id)


def _row(
    tenant_id: TenantId, amount_picos: int, usage_seq: int, actor: Actor, lost: LostSpool, currency: str
) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "adjustment_id": new_id("adjustment"),
        "kind": KIND,
        "currency": currency,
        "input_tokens": 0,
        "cached_input_tokens": 0,
        "output_tokens": 0,
        "cost_picos": amount_picos,
        "reason": lost.reason,
        "made_by": actor.credential_id,
        "usage_seq": usage_seq,
        "recorded_at": now(),
    }
