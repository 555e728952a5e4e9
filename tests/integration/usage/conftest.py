"""Two banks with recorded usage, and the three doors through which it is seen."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from usage_doors import Doors, client

from finpool.apps import operator, regulator, tenant
from finpool.apps.gatekeeper import TenantGatekeeper
from finpool.identity import service as identity
from finpool.identity.platform_tokens import issue_platform_token
from finpool.identity.schemas import NewKey
from finpool.identity.service import KeyDirectory
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.clock import now
from finpool.kernel.database.changes import ChangeFeed
from finpool.kernel.database.database import Database
from finpool.kernel.ids import TenantId
from finpool.kernel.settings import Settings
from finpool.metering.models import UsageRecord
from finpool.policy.service import Policy
from finpool.quota.models import Account, Budget, Lease
from finpool.tenancy.models import Project, Tenant
from finpool.tenancy.service import TenantDirectory

BANKS = (TenantId("bank-a"), TenantId("bank-b"))
GRANTED_PICOS = 10**15
OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)


@pytest.fixture
async def banks(database: Callable[[str], Database]) -> None:
    """Two banks with two projects each, an account and a lease."""
    async with database("operator").across_tenants() as session:
        for bank in BANKS:
            session.add(Tenant(tenant_id=bank, name=bank, status="active", models=["*"], version=1, created_at=now()))
            await session.flush()
            for project in ("credit", "treasury"):
                session.add(
                    Project(tenant_id=bank, project_id=project, name=project, status="active", created_at=now())
                )
            session.add(Account(tenant_id=bank, updated_at=now()))
            await session.flush()
            budget: dict[str, Any] = {"set_by": "operator", "scope": "tenant", "scope_id": bank, "period": "total"}
            session.add(Budget(tenant_id=bank, budget_id="total", pending_picos=GRANTED_PICOS, **budget))
    async with database("inference").across_tenants() as session:
        for bank in BANKS:
            session.add(
                Lease(
                    tenant_id=bank,
                    lease_id="lease_1",
                    budget_id="total",
                    replica_id="local",
                    spool_id="spool_1",
                    granted_picos=GRANTED_PICOS,
                    opened_at=now(),
                )
            )


@pytest.fixture
def used(banks: None, database: Callable[[str], Database]) -> Callable[..., UsageRecord]:
    """Make a usage record; a field that is not given has a plain default. Hand them to `record`."""
    made = 0

    def make(tenant_id: str, settled_at: datetime, **fields: object) -> UsageRecord:
        nonlocal made
        made += 1
        plain: dict[str, Any] = {
            "request_id": f"req_{made}",
            "project_id": "credit",
            "key_id": f"key_of_{tenant_id}",
            "model_id": "model-x",
            "weights_sha256": "0" * 64,
            "price_version": "model-x@1",
            "currency": "EUR",
            "input_tokens": 10,
            "cached_input_tokens": 4,
            "output_tokens": 3,
            "cost_picos": 1,
            "outcome": "completed",
            "estimated": False,
            "streamed": False,
            "policy_version": 1,
            "lease_ids": ["lease_1"],
            "replica_id": "local",
            "spool_seq": made,
            "usage_seq": made,
            "recorded_at": settled_at,
            "started_at": settled_at,
        }
        return UsageRecord(tenant_id=tenant_id, settled_at=settled_at, **(plain | fields))

    return make


@pytest.fixture
def record(database: Callable[[str], Database]) -> Callable[[Iterable[UsageRecord]], object]:
    """Write usage records as the recorder's role does."""

    async def write(records: Iterable[UsageRecord]) -> None:
        async with database("worker").across_tenants() as session:
            session.add_all(records)

    return write


@pytest.fixture
async def doors(
    banks: None, settings: Settings, clean_postgres: EmbeddedPostgres, database: Callable[[str], Database]
) -> AsyncIterator[Doors]:
    """The three apps as they run in production, called in process."""
    pepper = settings.secret("key_pepper")
    owner = Database(clean_postgres.urls["owner"], connections_max=1)
    keys: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        async with owner.across_tenants() as session:
            for role in (Role.OPERATOR_ADMIN, Role.REGULATOR_EXAMINER):
                _, keys[role] = await issue_platform_token(session, role, "test", pepper=pepper)
        await owner.close()
        async with database("operator").across_tenants() as session:
            for bank in BANKS:
                for name in ("owner", "developer", "finance"):
                    body = NewKey(project_id="credit", name=name, role=name)
                    _, keys[f"{bank}/{name}"] = await identity.create_key(session, OPERATOR, bank, body, pepper=pepper)

        tenants = TenantDirectory()
        directory = KeyDirectory(pepper, tenants)
        policy = Policy((), tenants)
        feed = ChangeFeed(database("inference"), [tenants, directory, policy], age_max_seconds=60)
        await feed.start()
        stack.push_async_callback(feed.close)

        async def opened(app: FastAPI) -> httpx2.ASGITransport:
            await stack.enter_async_context(app.router.lifespan_context(app))
            return httpx2.ASGITransport(app=app)

        tenant_app = tenant.create_app(settings, TenantGatekeeper(feed, directory, policy))
        yield Doors(
            operator=client(await opened(operator.create_app(settings)), keys[Role.OPERATOR_ADMIN]),
            regulator=client(await opened(regulator.create_app(settings)), keys[Role.REGULATOR_EXAMINER]),
            tenant_transport=await opened(tenant_app),
            keys=keys,
        )


@pytest.fixture
def day() -> datetime:
    """Noon of a day long enough ago."""
    return datetime(2025, 3, 10, 12, 0, tzinfo=UTC)
