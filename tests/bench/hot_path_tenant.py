"""Tenants whose limits no benchmark reaches, and a model that serves as many requests at once as there may be."""

from pathlib import Path

from sqlalchemy import text

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
SENDERS_MAX = 100
_COPIED = {
    ("", "tenant_id"): "'bench-' || number",
    ("api_key", "key_id"): "key_id || '-' || number",
    ("api_key", "digest"): "sha256(digest || number::text::bytea)",
    ("quota_limit", "scope_id"): "CASE scope WHEN 'tenant' THEN 'bench-' || number ELSE scope_id END",
}
_OPERATOR = Actor(Audience.OPERATOR, "token_bench", Role.OPERATOR_ADMIN)


async def create_tenants(settings: Settings, count: int) -> list[str]:
    """Create tenants, each with every kind of limit set; return the keys of at most `SENDERS_MAX` of them.

    The others are rows copied from the first one: the platform holds them in memory, and they send nothing.
    """
    senders = min(count, SENDERS_MAX)
    database = Database(settings.database_url("operator"), 2)
    try:
        keys = [await _create_tenant(database, TenantId(f"bench-{number}")) for number in range(senders)]
    finally:
        await database.close()
    if count > senders:
        owner = Database(settings.database_url("owner"), 1)
        try:
            await _copy_first_tenant(owner, range(senders, count))
        finally:
            await owner.close()
    return keys


async def _create_tenant(database: Database, tenant: TenantId) -> str:
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
    return secret


async def _copy_first_tenant(owner: Database, numbers: range) -> None:
    """Copy the rows that replicas hold in memory; `digest` stays unique."""
    async with owner.across_tenants() as session:
        for table in ("tenant", "project", "api_key", "account", "quota_limit"):
            names = await session.execute(
                text("SELECT column_name FROM information_schema.columns WHERE table_name = :table"), {"table": table}
            )
            columns = list(names.scalars())
            values = [_COPIED.get((table, each), _COPIED.get(("", each), f'"{each}"')) for each in columns]
            await session.execute(
                text(
                    f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
                    f"FROM {table}, generate_series(:first, :last) AS number WHERE tenant_id = 'bench-0'"
                ),
                {"first": numbers.start, "last": numbers.stop - 1},
            )


def catalogue_with_all_slots(home: Path) -> Path:
    """Write a catalogue whose one model takes 64 requests at once, so that none waits for another."""
    directory = home / "catalogue"
    directory.mkdir()
    declared = (default_directory() / f"{MODEL}.yaml").read_text(encoding="utf-8")
    (directory / f"{MODEL}.yaml").write_text(declared.replace("slots: 4", "slots: 64"), encoding="utf-8")
    return directory
