"""Banks with usage and invoices, and the doors at which operators and banks reach them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from billing_bank import CREATED, MODELS, VERSIONS, Bank, Use
from billing_doors import BANKS, Doors
from billing_world import World

from finpool.apps import operator, tenant
from finpool.apps.gatekeeper import TenantGatekeeper
from finpool.catalogue.model.service import default_directory
from finpool.catalogue.price.models import PriceVersion
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
from finpool.policy.service import Policy
from finpool.quota.models import Account, Budget
from finpool.tenancy.models import Project, Tenant
from finpool.tenancy.service import TenantDirectory

OPERATOR = Actor(Audience.OPERATOR, "token_test", Role.OPERATOR_ADMIN)


@pytest.fixture
async def invoice(bank: Any, use: Any, at: Any) -> Any:
    """An issued invoice of two lines: 12.00 and 24.00 before 6 % of tax, 38.16 in all."""
    await bank.record([use(at(1), tokens=(80_000_000, 0, 40_000_000))])
    return await bank.issued("2025-01")


@pytest.fixture
async def open_bank(database: Callable[[str], Database]) -> Callable[..., Awaitable[Bank]]:
    """Create a tenant with an account: `await open_bank("bank-a")`."""
    async with database("operator").across_tenants() as session:
        for model, (fresh, cached, output) in MODELS.items():
            session.add(
                PriceVersion(
                    price_version=VERSIONS[model],
                    model_id=model,
                    currency="EUR",
                    input_picos=fresh,
                    cached_input_picos=cached,
                    output_picos=output,
                    created_at=CREATED,
                )
            )

    async def create(tenant_id: str = "bank-a", created_at: datetime = CREATED, payment: str = "postpaid") -> Bank:
        async with database("operator").across_tenants() as session:
            session.add(
                Tenant(
                    tenant_id=tenant_id,
                    name=f"銀行 {tenant_id}",
                    status="active",
                    models=["*"],
                    version=1,
                    created_at=created_at,
                )
            )
            await session.flush()
            session.add(Account(tenant_id=tenant_id, payment=payment, updated_at=now()))
            await session.flush()
            if payment == "prepaid":
                whole: Any = {"set_by": "operator", "scope": "tenant", "scope_id": tenant_id, "period": payment}
                session.add(Budget(tenant_id=tenant_id, budget_id="prepaid", **whole))
        return Bank(TenantId(tenant_id), database)

    return create


@pytest.fixture
async def bank(open_bank: Callable[..., Awaitable[Bank]]) -> Bank:
    """One postpaid bank, a tenant since December 2024."""
    return await open_bank()


@pytest.fixture
def at() -> Callable[..., datetime]:
    """Return noon of a day in 2025: `at(1, 20)`."""

    def moment(month: int, day: int = 10) -> datetime:
        return datetime(2025, month, day, 12, tzinfo=UTC)

    return moment


@pytest.fixture
def use() -> type[Use]:
    """Make one request's usage: `use(settled_at, tokens=(input, cached, output))`."""
    return Use


@pytest.fixture
async def world(database: Callable[[str], Database], clean_postgres: EmbeddedPostgres, tmp_path: Path) -> World:
    """One bank that has used nothing yet."""
    created = World(database, clean_postgres.urls["owner"], tmp_path / "spool")
    await created.add_bank()
    return created


@pytest.fixture
async def doors(
    bank: Any, open_bank: Any, settings: Settings, database: Callable[[str], Database], tmp_path: Path
) -> AsyncIterator[Doors]:
    """Both doors, for a catalogue priced in EUR with 6 % of tax, and two banks with a key of each role."""
    await open_bank("bank-b")
    catalogue = tmp_path / "models"
    catalogue.mkdir()
    for file in default_directory().glob("*.yaml"):
        (catalogue / file.name).write_text(file.read_text().replace("currency: CNY", "currency: EUR"))
    changed = {"catalogue_dir": catalogue, "invoice_tax_basis_points": 600, "invoice_seller_name": "聯合平台"}
    settings = settings.model_copy(update=changed)
    pepper = settings.secret("key_pepper")
    credentials: dict[str, str] = {}
    async with database("owner").across_tenants() as session:
        for role in (Role.OPERATOR_BILLING, Role.OPERATOR_SRE):
            _, credentials[role] = await issue_platform_token(session, role, "test", pepper=pepper)
    async with database("operator").across_tenants() as session:
        for name in ("bank-a", "bank-b"):
            row = Project(tenant_id=name, project_id="credit", name="c", status="active", created_at=now())
            session.add(row)
        await session.flush()
        for name in ("owner", "developer", "finance", "auditor"):
            body = NewKey(project_id="credit", name=name, role=name)
            _, credentials[name] = await identity.create_key(session, OPERATOR, TenantId("bank-a"), body, pepper=pepper)
        other = NewKey(project_id="credit", name="owner", role="owner")
        _, credentials["foreign"] = await identity.create_key(
            session, OPERATOR, TenantId("bank-b"), other, pepper=pepper
        )
    tenants = TenantDirectory()
    directory, policy = KeyDirectory(pepper, tenants), Policy((), tenants)
    feed = ChangeFeed(database("inference"), [tenants, directory, policy], age_max_seconds=60)
    async with AsyncExitStack() as stack:
        await feed.start()
        stack.push_async_callback(feed.close)
        apps = operator.create_app(settings), tenant.create_app(settings, TenantGatekeeper(feed, directory, policy))
        for app in apps:
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield Doors(*apps, credentials)


@pytest.fixture
async def invoice_json(doors: Doors, bank: Any, use: Any, at: Any) -> dict[str, Any]:
    """The same as the operators' door answers it; `bank.requests` has the id of its only request."""
    bank.requests = await bank.record([use(at(1), tokens=(80_000_000, 0, 40_000_000))])
    draft = await doors.operator.post(f"{BANKS}/invoices", json={"month": "2025-01"})
    assert draft.status_code == 201
    issued: dict[str, Any] = (await doors.operator.post(f"{BANKS}/invoices/{draft.json()['id']}/issue")).json()
    return issued
