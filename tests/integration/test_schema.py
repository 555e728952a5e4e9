"""The schema in Postgres: isolation by policy, and the same tables as the code's."""

from importlib import import_module
from pathlib import Path

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlmodel import SQLModel

import finpool
from finpool.apps.migrate import LOGIN_ROLES
from finpool.installation.postgres import EmbeddedPostgres
from finpool.kernel.database.database import Database

PLATFORM = Path(finpool.__file__).parents[1]

for tables in Path(finpool.__file__).parent.rglob("models.py"):
    import_module(".".join(tables.relative_to(PLATFORM).with_suffix("").parts))


async def test_every_table_with_a_tenant_has_forced_row_level_security(clean_postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(clean_postgres.urls["owner"])
    try:
        rows = await connection.fetch("""
            SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                   (SELECT count(*) FROM pg_policies p WHERE p.tablename = c.relname AND p.policyname = 'own_tenant'
                      AND p.roles = '{public}' AND p.cmd = 'ALL' AND p.with_check = p.qual
                      AND p.qual = '(tenant_id = ( SELECT current_tenant() AS current_tenant))') AS own,
                   (SELECT count(*) FROM pg_policies p WHERE p.tablename = c.relname AND p.policyname <> 'own_tenant'
                      AND p.permissive = 'PERMISSIVE'
                      AND p.roles <> '{finpool_share_reader}'
                      AND (p.roles && '{public,finpool_tenant}'
                        OR p.qual <> '( SELECT in_sector() AS in_sector)')) AS too_wide
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
            WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace""")
    finally:
        await connection.close()
    assert len(rows) >= 8
    assert [dict(row) for row in rows if not (row["forced"] and row["own"] == 1 and row["too_wide"] == 0)] == []


async def test_login_roles_own_nothing_and_cannot_bypass_row_level_security(clean_postgres: EmbeddedPostgres) -> None:
    names = [f"finpool_{role}" for role in LOGIN_ROLES]
    connection = await asyncpg.connect(clean_postgres.urls["owner"])
    try:
        roles = await connection.fetch(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY($1) AND NOT (rolsuper OR rolbypassrls OR rolcreaterole)",
            names,
        )
        owned = await connection.fetchval(
            "SELECT count(*) FROM pg_class JOIN pg_roles r ON r.oid = relowner WHERE r.rolname = ANY($1)", names
        )
    finally:
        await connection.close()
    assert {row["rolname"] for row in roles} == set(names)
    assert owned == 0


async def test_the_pool_may_read_no_table_of_a_tenant(clean_postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(clean_postgres.urls["pool"])
    try:
        readable = await connection.fetch(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
            " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
            " AND has_table_privilege(c.oid, 'SELECT')"
        )
    finally:
        await connection.close()
    assert readable == []


async def test_the_code_and_the_migrations_describe_the_same_tables(clean_postgres: EmbeddedPostgres) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), SQLModel.metadata))

    owner = Database(clean_postgres.urls["owner"], connections_max=1)
    try:
        async with owner.engine.connect() as connection:
            found = await connection.run_sync(differences)
    finally:
        await owner.close()
    assert [item for item in found if item[0] not in ("remove_index",)] == []  # type: ignore[index]
