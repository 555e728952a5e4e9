"""The end of a spool that is lost with its volume: an operator decides on its leases, and the audit log keeps it."""

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.audit import service as audit
from finpool.kernel.actor import Actor
from finpool.kernel.money import to_micros_ceiling
from finpool.metering.adjustment.service import Adjustment, adjust_tenants
from finpool.metering.errors import SpoolAlive
from finpool.metering.lost_spool.schemas import ChargedTenant, LostSpoolBody, LostSpoolView
from finpool.quota.lease import service as leases
from finpool.quota.schemas import LeaseOutcome

KIND = "lease_charge"


async def settle_lost_spool(session: AsyncSession, actor: Actor, lost: LostSpoolBody, currency: str) -> LostSpoolView:
    """Close the leases of a lost spool; raise `SpoolAlive` if a replica still uses it.

    Charged leases become a usage adjustment of each tenant, which its owner may dispute. A second call changes nothing.
    """
    if await leases.is_served_with(session, lost.spool_id):
        raise SpoolAlive(lost.spool_id)
    outcome = LeaseOutcome(lost.decision)
    closed = await leases.close_spool(session, lost.replica_id, lost.spool_id, outcome, lost.spool_id)
    charged = {tenant_id: amount for tenant_id, amount in closed.charged_picos.items() if amount}
    if charged:
        charges = {each: Adjustment(KIND, lost.reason, amount) for each, amount in charged.items()}
        await adjust_tenants(session, actor, currency, charges)
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
            details = {
                "spool_id": lost.spool_id,
                "cost_picos": str(amount),
                "currency": currency,
                "reason": lost.reason,
            }
            await audit.append(session, kind="lease.charged", tenant_id=tenant_id, actor=actor, body=details)
    return LostSpoolView(
        leases_closed=closed.leases,
        charged=[
            ChargedTenant(tenant_id=tenant_id, charged_micros=to_micros_ceiling(amount))
            for tenant_id, amount in charged.items()
        ],
    )
