"""A tenant sees nothing of another, with either wall taken away: the application's filter, or row-level security."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from finpool.audit import service as audit
from finpool.billing.contract import service as contracts
from finpool.billing.cost import service as billing
from finpool.billing.cost.schemas import CostsQuery
from finpool.identity import service as identity
from finpool.identity.errors import KeyNotFound
from finpool.identity.schemas import KeyChange
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.clock import now
from finpool.kernel.database.database import Database
from finpool.kernel.ids import KeyId, ProjectId, TenantId
from finpool.kernel.paging import PageQuery
from finpool.metering.usage import service as metering
from finpool.metering.usage.schemas import ModelUsageQuery
from finpool.quota.account import service as accounts
from finpool.tenancy import service as tenancy
from finpool.tenancy.errors import ProjectNotFound
from finpool.tenancy.schemas import ProjectChange

BANK_A, BANK_B = TenantId("bank-a"), TenantId("bank-b")
ADMIN = Actor(Audience.OPERATOR, "token_admin", Role.OPERATOR_ADMIN)

ROWS = {
    "tenant": "(tenant_id, name, status, models, version, created_at) VALUES ($1, $1, 'active', '{*}', 1, now())",
    "project": "(tenant_id, project_id, name, status, created_at) VALUES ($1, 'p-' || $1, $1, 'active', now())",
    "api_key": """(tenant_id, key_id, project_id, name, role, digest, hint, status, created_at)
        VALUES ($1, 'key_' || $1, 'p-' || $1, $1, 'tenant.owner', sha256($1::bytea), 'hint', 'active', now())""",
    "account": "(tenant_id, updated_at) VALUES ($1, now())",
    "quota_limit": """(tenant_id, set_by, scope, scope_id, soft_thresholds_percent, updated_at)
        VALUES ($1, 'operator', 'tenant', $1, '{}', now())""",
    "budget": """(tenant_id, budget_id, set_by, scope, scope_id, period, posted_picos, pending_picos, threshold_percent)
        VALUES ($1, 'budget-' || $1, 'operator', 'tenant', $1, 'total', 0, 10, 0)""",
    "lease": """(tenant_id, lease_id, budget_id, replica_id, spool_id, granted_picos, opened_at)
        VALUES ($1, 'lease-' || $1, 'budget-' || $1, 'replica', 'spool', 10, now())""",
    "rate_share": """(tenant_id, limit_id, rate, run_id, replica_id, amount, expires_at)
        VALUES ($1, 'limit', 'requests', 'run', 'replica', 1, now())""",
    "gateway_share": """(tenant_id, run_id, engine, charged, waiting, batch_waiting, in_flight, changed_at)
        VALUES ($1, 'run', 'engine', 1, 0, 0, 1, now())""",
    "idempotent_request": """(tenant_id, key_digest, fingerprint, request_id, replica_id, run_id, claimed_at,
        held_until, expires_at)
        VALUES ($1, sha256($1::bytea), sha256($1::bytea), 'r', 'replica', 'run', now(), now(),
        now() + interval '1 h')""",
    "transfer": """(tenant_id, transfer_id, kind, reference, accounts, amounts_picos, occurred_at)
        VALUES ($1, 'transfer-' || $1, 'usage', 'r', '{unbilled}' || '{revenue}'::text[], '{1,-1}', now())""",
    "contract": """(tenant_id, version, valid_from, discount_basis_points, commitment_micros, pool_weight, created_at,
        created_by) VALUES ($1, 1, now(), 0, 0, ascii(right($1, 1)), now(), 'token')""",
    "tenant_price": "(tenant_id, price_version) VALUES ($1, 'v')",
    "usage_record": """(tenant_id, request_id, project_id, key_id, model_id, weights_sha256, price_version, currency,
        input_tokens, cached_input_tokens, output_tokens, cost_picos, outcome, estimated, streamed, policy_version,
        lease_ids, usage_seq, recorded_at, replica_id, spool_seq, started_at, settled_at)
        VALUES ($1, 'r-' || $1, 'p-' || $1, 'key_' || $1, 'm', 'w', 'v', 'USD', 1, 0, 1, 1, 'completed', false, false,
        1, ARRAY['lease-' || $1], 1, now(), 'replica', 1, now(), now())""",
    "usage_adjustment": """(tenant_id, adjustment_id, kind, currency, input_tokens, cached_input_tokens, output_tokens,
        cost_picos, reason, made_by, usage_seq, recorded_at)
        VALUES ($1, 'adjustment-' || $1, 'dispute', 'USD', 0, 0, 0, 0, 'reason', 'token', 2, now())""",
    "invoice": """(tenant_id, invoice_id, kind, status, prepaid, currency, seller_name, buyer_name, tax_label,
        period_start, period_end, previous_cut_seq, cut_seq, net_micros, tax_micros, total_micros, created_by,
        created_at)
        VALUES ($1, 'invoice-' || $1, 'invoice', 'draft', false, 'USD', 'Pool', $1, 'VAT', '2026-01-01', '2026-02-01',
        0, 0, 0, 0, 0, 'token', now())""",
    "invoice_line": """(tenant_id, invoice_id, line_no, kind, correction, charge_start, charge_end, amount_picos,
        amount_micros, tax_basis_points, tax_micros)
        VALUES ($1, 'invoice-' || $1, 1, 'membership', false, '2026-01-01', '2026-02-01', 0, 0, 0, 0)""",
    "payment": """(tenant_id, payment_id, reference, amount_micros, created_by, created_at)
        VALUES ($1, 'payment-' || $1, 'reference', 1, 'token', now())""",
    "dispute": """(tenant_id, dispute_id, request_id, reason, status, opened_by, opened_at)
        VALUES ($1, 'dispute-' || $1, 'r-' || $1, 'reason', 'open', 'key', now())""",
    "audit_outbox": "(tenant_id, occurred_at, kind, body) VALUES ($1, now(), 'test.event', '{}')",
    "audit_quarantine": """(outbox_id, tenant_id, content, sha256, reason, written_at)
        VALUES (ascii(right($1, 1)), $1, '{}', sha256('{}'), 'reason', now())""",
    "audit_entry": """(seq, tenant_id, entry, previous, hash)
        VALUES (ascii(right($1, 1)), $1, '{}', sha256('0'), sha256($1::bytea))""",
}
"""One row of each tenant table; `test_every_tenant_table_takes_part` finds a table that is missing here."""

ROLES = ("inference", "tenant", "operator", "regulator", "worker")
OpenDatabase = Callable[[str], Database]


@pytest.fixture
async def owner(database: OpenDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The schema's owner, after it gave both banks one row in each table."""
    connection = await database("owner").connect()
    try:
        for tenant_id in (BANK_A, BANK_B):
            await connection.execute("SELECT set_config('finpool.tenant_id', $1, false)", tenant_id)
            for table, row in ROWS.items():
                # Parameters are typed by their first use, which differs from table to table.
                await connection.execute(f"INSERT INTO {table} " + row.replace("$1", f"'{tenant_id}'"))
            # A tenant sees no draft of an invoice.
            await connection.execute("UPDATE invoice SET status = 'issued', number = invoice_id, issued_at = now()")
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def without_row_level_security(owner: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """Take the database's wall away for one test."""
    try:
        for table in ROWS:
            await owner.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        yield
    finally:
        for table in ROWS:
            await owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


async def test_every_tenant_table_takes_part(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    tables = await owner.fetch(
        "SELECT table_name FROM information_schema.columns JOIN information_schema.tables USING (table_name)"
        " WHERE tables.table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name = 'tenant_id'"
    )
    assert {row["table_name"] for row in tables} == set(ROWS)


@pytest.mark.parametrize("role", ROLES)
async def test_a_tenants_session_sees_only_its_own_rows_whatever_the_query_forgets(
    database: OpenDatabase, owner: "asyncpg.Connection[asyncpg.Record]", role: str
) -> None:
    readable = [
        table
        for table in ROWS
        if await owner.fetchval("SELECT has_table_privilege($1, $2, 'SELECT')", f"finpool_{role}", table)
    ]
    assert readable
    for tenant_id in (BANK_A, BANK_B):
        async with database(role).for_tenant(tenant_id) as session:
            for table in [*readable, "posting"] if role != "inference" else readable:
                rows = (await session.execute(text(f"SELECT tenant_id FROM {table}"))).scalars().all()
                assert set(rows) == {tenant_id}, table
                assert len(rows) == (2 if table == "posting" else 1), table


async def test_a_tenants_session_cannot_write_into_another_tenant(
    database: OpenDatabase, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with database("operator").for_tenant(BANK_A) as session:
        for table in ("tenant", "project", "api_key"):
            changed = await session.execute(text(f"UPDATE {table} SET name = 'taken' WHERE tenant_id = 'bank-b'"))
            assert changed.rowcount == 0  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="row-level security"):
        async with database("operator").for_tenant(BANK_A) as session:
            await session.execute(text("INSERT INTO project VALUES ('bank-b', 'mine', 'x', 'active', now())"))


async def test_the_tenants_database_role_cannot_opt_into_the_sector(
    database: OpenDatabase, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with database("tenant").across_tenants() as session:
        for table in ("tenant", "project", "account", "usage_record", "audit_entry", "contract", "invoice", "transfer"):
            assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0, table


@pytest.mark.usefixtures("without_row_level_security")
async def test_without_row_level_security_the_services_still_read_one_tenant_only(database: OpenDatabase) -> None:
    async with database("operator").for_tenant(BANK_A) as session:
        assert (await session.execute(text("SELECT count(*) FROM project"))).scalar_one() == 2
        assert (await tenancy.get_tenant(session, BANK_A)).tenant_id == BANK_A
        projects = await tenancy.list_projects(session, BANK_A, PageQuery())
        keys = await identity.list_keys(session, BANK_A, PageQuery())
        owned: list[Any] = [*projects.data, *keys.data]
    assert [row.tenant_id for row in owned] == [BANK_A, BANK_A]


@pytest.mark.usefixtures("without_row_level_security")
async def test_without_row_level_security_usage_costs_and_audit_are_still_one_tenants(database: OpenDatabase) -> None:
    moment = now()
    start, end = moment - timedelta(hours=1), moment + timedelta(hours=1)
    seconds = {"start_time": int(start.timestamp()), "end_time": int(end.timestamp())}
    async with database("tenant").for_tenant(BANK_A) as session:
        assert (await session.execute(text("SELECT count(*) FROM usage_record"))).scalar_one() == 2
        usage = await metering.usage(session, start=start, end=end, group_by=(), tenant_id=BANK_A)
        completions = await metering.completions(session, ModelUsageQuery.model_validate(seconds), BANK_A)
        costs = await billing.costs(session, CostsQuery.model_validate(seconds), BANK_A)
        foreign = ModelUsageQuery.model_validate({**seconds, "project_ids": [f"p-{BANK_B}"]})
        nothing = await metering.completions(session, foreign, BANK_A)
        entries = await audit.entries(session, after=None, limit=10, tenant_id=BANK_A)
        account = await accounts.account_view(session, BANK_A)
        contract = await contracts.own_contract(session, BANK_A)
    assert [group.requests for group in usage] == [1]
    assert sum(result.num_model_requests for bucket in completions.data for result in bucket.results) == 1
    assert sum(result.amount.value for bucket in costs.data for result in bucket.results) == Decimal("0.000000000001")
    assert [result for bucket in nothing.data for result in bucket.results] == []
    assert [entry.seq for entry in entries.entries] == [ord("a")]
    assert account.tenant_id == BANK_A
    assert contract.pool_weight == ord("a")


@pytest.mark.usefixtures("without_row_level_security")
async def test_without_row_level_security_the_services_still_change_one_tenant_only(database: OpenDatabase) -> None:
    async with database("operator").for_tenant(BANK_A) as session:
        project, key = ProjectId(f"p-{BANK_B}"), KeyId(f"key_{BANK_B}")
        taken = ProjectChange(name="taken")
        attempts: list[tuple[type[Exception], Callable[[], Awaitable[Any]]]] = [
            (ProjectNotFound, lambda: tenancy.change_project(session, ADMIN, BANK_A, project, taken)),
            (ProjectNotFound, lambda: tenancy.require_active_project(session, BANK_A, project)),
            (KeyNotFound, lambda: identity.change_key(session, ADMIN, BANK_A, key, KeyChange(name="taken"))),
            (KeyNotFound, lambda: identity.revoke_key(session, ADMIN, BANK_A, key)),
        ]
        for error, attempt in attempts:
            with pytest.raises(error):
                await attempt()
