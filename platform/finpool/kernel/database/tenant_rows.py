"""The first wall between tenants: queries on one tenant's rows begin here, with the tenant filter.

The second wall is row-level security in the database, which also holds without this filter.
"""

from typing import Any, TypeVar

from sqlalchemy import Delete, Select, Update, delete, select, update
from sqlmodel import SQLModel

from finpool.kernel.ids import TenantId

Row = TypeVar("Row", bound=SQLModel)
Statement = TypeVar("Statement", Select[Any], Update, Delete)


def rows_of(tenant_id: TenantId, table: type[Row]) -> Select[Row]:
    """Return the query of a tenant's rows of a table; `with_only_columns` narrows it to columns or sums."""
    return _of_tenant(select(table), tenant_id)


def update_of(tenant_id: TenantId, table: type[SQLModel]) -> Update:
    """Return the statement that updates a tenant's rows of a table."""
    return _of_tenant(update(table), tenant_id)


def delete_of(tenant_id: TenantId, table: type[SQLModel]) -> Delete:
    """Return the statement that deletes a tenant's rows of a table."""
    return _of_tenant(delete(table), tenant_id)


def _of_tenant(statement: Statement, tenant_id: TenantId) -> Statement:
    return statement.filter_by(tenant_id=tenant_id)
