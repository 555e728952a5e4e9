"""A tenant whose limits no benchmark reaches, and a model that serves as many requests at once as there may be."""

from pathlib import Path

from finpool.catalogue.model.service import default_directory
from finpool.identity.schemas import NewKey
from finpool.identity.service import create_key
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ModelId, TenantId
from finpool.kernel.settings import Settings
from finpool.quota.limit.service import set_limits
from finpool.quota.schemas import Limits, operator_limit
from finpool.tenancy.schemas import NewProject, NewTenant
from finpool.tenancy.service import create_project, create_tenant

MODEL = "smollm2-135m-instruct"
PEPPER = "p" * 64
BUDGET_MICROS = 10**12
_OPERATOR = Actor(Audience.OPERATOR, "token_bench", Role.OPERATOR_ADMIN)


async def create_tenant_with_key(settings: Settings) -> str:
    """Create the tenant with every kind of limit set; returns its key's secret."""
    database, tenant = Database(settings.database_url("operator"), 2), TenantId("bench")
    try:
        async with database.across_tenants() as session:
            await create_tenant(session, _OPERATOR, NewTenant(id=tenant, name="Bench"), [ModelId(MODEL)])
            await create_project(session, _OPERATOR, tenant, NewProject(id="main", name="Main"))
            new = NewKey(project_id="main", name="bench", role="owner")
            _, secret = await create_key(session, _OPERATOR, tenant, new, pepper=PEPPER.encode())
            limits = Limits(
                budget_month_micros=BUDGET_MICROS,
                requests_per_minute=10**9,
                tokens_per_minute=10**12,
                concurrency=10**6,
            )
            await set_limits(session, _OPERATOR, tenant, operator_limit(tenant), limits)
    finally:
        await database.close()
    return secret


def catalogue_with_all_slots(home: Path) -> Path:
    """Write a catalogue whose one model takes 64 requests at once, so that none waits for another."""
    directory = home / "catalogue"
    directory.mkdir()
    declared = (default_directory() / f"{MODEL}.yaml").read_text(encoding="utf-8")
    (directory / f"{MODEL}.yaml").write_text(declared.replace("slots: 4", "slots: 64"), encoding="utf-8")
    return directory
