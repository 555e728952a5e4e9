"""No statement changes an issued invoice while its triggers are on; no bank sees another's, with either wall gone."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from signed_context import acting
from sqlalchemy import text

from finpool.billing.dispute import service as dispute_service
from finpool.billing.dispute.schemas import NewDispute
from finpool.billing.errors import InvoiceNotFound, RequestNotFound
from finpool.billing.invoice import service as invoice_service
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.ids import ProjectId, TenantId
from finpool.kernel.paging import PageQuery

TABLES = ("invoice", "invoice_line", "payment", "dispute")

CHANGES = (
    "UPDATE invoice SET total_micros = 0, net_micros = 0, tax_micros = 0 WHERE status = 'issued'",
    "UPDATE invoice SET status = 'draft', number = NULL, issued_at = NULL WHERE status = 'issued'",
    "UPDATE invoice SET status = 'paid', paid_at = now(), buyer_name = 'x' WHERE status = 'issued'",
    "DELETE FROM invoice WHERE status = 'issued'",
    "UPDATE invoice_line SET amount_micros = 0 FROM invoice i"
    " WHERE i.invoice_id = invoice_line.invoice_id AND status = 'issued'",
    "DELETE FROM invoice_line USING invoice i WHERE i.invoice_id = invoice_line.invoice_id AND status = 'issued'",
    "INSERT INTO invoice_line SELECT l.tenant_id, l.invoice_id, 99, l.kind, correction, charge_start, charge_end,"
    " project_id, model_id, price_version, tier, token_kind, quantity_tokens, unit_picos, l.reference,"
    " refers_to_line, amount_picos, amount_micros, tax_basis_points, l.tax_micros"
    " FROM invoice_line l JOIN invoice i USING (tenant_id, invoice_id) WHERE status = 'issued' AND line_no = 1",
    "UPDATE payment SET amount_micros = 1",
    "DELETE FROM payment",
    "DELETE FROM dispute",
    "UPDATE dispute SET reason = 'none'",
    "UPDATE dispute SET status = 'open', line_no = 2 WHERE line_no = 1",
)
"""Ways to make what was issued, paid or disputed another thing."""


def finance(tenant_id: str) -> Actor:
    return Actor(Audience.TENANT, "key_1", Role.TENANT_FINANCE, TenantId(tenant_id), ProjectId("credit"))


@pytest.fixture
async def invoices(open_bank: Any, bank: Any, use: Any, at: Any) -> dict[str, Any]:
    """Two banks, each with an issued invoice that is paid in part, a draft, and a dispute of each kind."""
    banks = {"bank-a": bank, "bank-b": await open_bank("bank-b")}
    for name, each in banks.items():
        (request,) = await each.record([use(at(1))])
        invoice = await each.issued("2025-01")
        await each.pay(invoice.id, 10_000)
        await each.record([use(at(2))])
        await each.draft("2025-02")
        async with each.open_as("tenant").for_tenant(TenantId(name)) as session:
            by_line = NewDispute(invoice_id=invoice.id, line_no=1, reason="too much")
            await dispute_service.open_dispute(session, finance(name), by_line)
            await dispute_service.open_dispute(session, finance(name), NewDispute(request_id=request, reason="aborted"))
        each.invoice, each.request = invoice, request
    return banks


@pytest.fixture
async def owner(bank: Any) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The schema's owner, in a transaction for bank A."""
    connection = await bank.open_as("owner").connect()
    await connection.execute("SELECT set_config('finpool.tenant_id', 'bank-a', false)")
    yield connection
    await connection.close()


@pytest.fixture
async def without_row_level_security(owner: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """Take the database's wall away for one test."""
    for table in TABLES:
        await owner.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    yield
    for table in TABLES:
        await owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


async def test_what_is_issued_or_on_record_is_immutable_even_for_the_owner(
    invoices: Any, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    for change in CHANGES:
        with pytest.raises(asyncpg.RaiseError, match=r"issued|immutable|on record"):
            await owner.execute(change)


@pytest.mark.parametrize("path", ["", "pg_temp, public", "pg_temp, pg_catalog, public"])
async def test_a_temporary_table_of_the_doors_own_does_not_stand_for_the_invoices(
    invoices: Any, owner: "asyncpg.Connection[asyncpg.Record]", clean_postgres: EmbeddedPostgres, path: str
) -> None:
    invoice = invoices["bank-a"].invoice.id
    await owner.execute("GRANT TEMPORARY ON DATABASE finpool TO finpool_operator")
    url = clean_postgres.urls["operator"]
    operator = await asyncpg.connect(url)
    try:
        if path:
            await operator.execute(f"SET search_path = {path}")
        async with acting(operator, url):
            await operator.execute("CREATE TEMP TABLE invoice AS TABLE public.invoice")
        await operator.execute("UPDATE pg_temp.invoice SET status = 'draft', number = NULL")
        with pytest.raises(asyncpg.RaiseError, match="immutable"):
            async with acting(operator, url):
                await operator.execute("DELETE FROM public.invoice_line WHERE invoice_id = $1", invoice)
        await operator.execute("CREATE TEMP TABLE invoice_line AS TABLE public.invoice_line WITH NO DATA")
        draft = "UPDATE public.invoice SET net_micros = 0, tax_micros = 0, total_micros = 0, status = 'issued',"
        with pytest.raises(asyncpg.RaiseError, match="do not add up"):
            async with acting(operator, url):
                await operator.execute(f"{draft} number = 'INV-1', issued_at = now() WHERE status = 'draft'")
    finally:
        await operator.close()
        await owner.execute("REVOKE TEMPORARY ON DATABASE finpool FROM finpool_operator")
    assert await owner.fetchval("SELECT count(*) FROM invoice_line WHERE invoice_id = $1", invoice) > 0


async def test_no_role_may_delete_invoices_payments_or_disputes(
    owner: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    for role in ("inference", "tenant", "operator", "regulator", "worker"):
        for table in ("invoice", "payment", "dispute"):
            assert not await owner.fetchval("SELECT has_table_privilege($1, $2, 'DELETE')", f"finpool_{role}", table)


async def test_an_answered_dispute_is_never_answered_again(
    invoices: Any, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    answered = "UPDATE dispute SET status = 'rejected', answer = 'no', answered_by = 't', answered_at = now()"
    await owner.execute(answered)
    with pytest.raises(asyncpg.RaiseError, match="on record"):
        await owner.execute(answered)


async def test_a_tenants_session_sees_only_its_own_issued_invoices(invoices: Any, bank: Any) -> None:
    for name, each in invoices.items():
        async with bank.open_as("tenant").for_tenant(TenantId(name)) as session:
            for table in TABLES:
                found = set((await session.execute(text(f"SELECT tenant_id FROM {table}"))).scalars())
                assert found == {name}, table
            seen = (await session.execute(text("SELECT invoice_id FROM invoice"))).scalars().all()
            assert seen == [each.invoice.id]
            of_lines = set((await session.execute(text("SELECT invoice_id FROM invoice_line"))).scalars())
            assert of_lines == {each.invoice.id}


async def test_the_tenants_role_cannot_opt_into_the_sector(invoices: Any, bank: Any) -> None:
    async with bank.open_as("tenant").across_tenants() as session:
        for table in TABLES:
            assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0, table


async def test_a_tenant_cannot_dispute_for_another_or_answer_itself(invoices: Any, bank: Any) -> None:
    begin = "INSERT INTO dispute (tenant_id, dispute_id, request_id, reason, status, opened_by, opened_at"
    foreign = f"{begin}) VALUES ('bank-b', 'd', :request, 'x', 'open', 'k', now())"
    answered = (
        f"{begin}, answer, answered_by, answered_at)"
        " VALUES ('bank-a', 'd', :request, 'x', 'rejected', 'k', now(), 'yes', 'k', now())"
    )
    for statement in (foreign, answered):
        with pytest.raises(Exception, match="row-level security"):
            async with bank.open_as("tenant").for_tenant(TenantId("bank-a")) as session:
                await session.execute(text(statement), {"request": invoices["bank-a"].request})


@pytest.mark.usefixtures("without_row_level_security")
async def test_without_row_level_security_the_services_still_show_one_tenants_issued_invoices(
    invoices: Any, bank: Any
) -> None:
    mine, foreign = invoices["bank-a"].invoice.id, invoices["bank-b"].invoice.id
    foreign_line = NewDispute(invoice_id=foreign, line_no=1, reason="mine")
    unknown_request = NewDispute(request_id="req_unknown", reason="mine")
    async with bank.open_as("tenant").for_tenant(TenantId("bank-a")) as session:
        assert (await session.execute(text("SELECT count(*) FROM invoice"))).scalar_one() == 4
        page = await invoice_service.list_invoices(session, TenantId("bank-a"), PageQuery(), drafts=False)
        disputes = await dispute_service.list_disputes(session, TenantId("bank-a"), PageQuery())
        with pytest.raises(InvoiceNotFound):
            await invoice_service.get_invoice(session, TenantId("bank-a"), foreign, drafts=False)
        with pytest.raises(InvoiceNotFound):
            await dispute_service.open_dispute(session, finance("bank-a"), foreign_line)
        with pytest.raises(RequestNotFound):
            await dispute_service.open_dispute(session, finance("bank-a"), unknown_request)
    assert [each.id for each in page.data] == [mine]
    assert {each.tenant_id for each in disputes.data} == {"bank-a"}
