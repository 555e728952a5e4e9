"""The operators' route of the reconciliation."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from finpool.billing.reconciliation.schemas import ReconciliationQuery, ReconciliationView
from finpool.billing.reconciliation.service import reconcile
from finpool.kernel.database.database import Database
from finpool.kernel.door.web import DoorRoute, requires

router = APIRouter(tags=["invoices"], route_class=DoorRoute)


@router.get("/v1/reconciliation", dependencies=[Depends(requires("ledger:read"))])
async def reconciliation(request: Request, query: Annotated[ReconciliationQuery, Query()]) -> ReconciliationView:
    """Compare log, usage, accounts, ledger, invoices and exports in one snapshot, and return every difference."""
    database: Database = request.app.state.database
    return await reconcile(database, query.start, query.end, query.tenant_id)
