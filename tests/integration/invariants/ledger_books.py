"""One bank's books as the database holds them: usage, budgets, leases and postings, read as an operator."""

from typing import Any, Self

from signed_context import SignedConnection

from finpool.kernel.ids import TenantId


class Books:
    """A connection that sees all of one bank, and sets its limits as an operator does."""

    def __init__(self, connection: SignedConnection, bank: TenantId) -> None:
        self._connection = connection
        self._bank = bank

    @classmethod
    async def opened(cls, url: str, bank: TenantId) -> Self:
        """Create a bank with an account, and open its books."""
        connection = await SignedConnection.opened(url)
        await connection.execute("INSERT INTO tenant VALUES ($1, $1, 'active', '{}', 1, now())", bank)
        account = "INSERT INTO account (tenant_id, posted_picos, updated_at) VALUES ($1, 0, now())"
        await connection.execute(account, bank)
        return cls(connection, bank)

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()

    async def set_limit(self, scope: str, scope_id: str, micros: int) -> None:
        """Set the total budget of one scope."""
        await self._connection.execute(
            "INSERT INTO quota_limit (tenant_id, set_by, scope, scope_id, budget_total_micros,"
            " soft_thresholds_percent, updated_at) VALUES ($1, 'operator', $2, $3, $4, '{}', now())"
            " ON CONFLICT (tenant_id, set_by, scope, scope_id) DO UPDATE SET budget_total_micros = $4",
            self._bank,
            scope,
            scope_id,
            micros,
        )

    async def budgets(self) -> dict[str, tuple[int, int]]:
        """Return what is posted and pending of each budget, in picos."""
        rows = await self._rows("SELECT * FROM budget WHERE tenant_id = $1")
        return {row["budget_id"]: (int(row["posted_picos"]), int(row["pending_picos"])) for row in rows}

    async def balances(self) -> dict[str, int]:
        """Return what each account of the ledger comes to, in picos."""
        query = "SELECT account, sum(amount_picos) AS amount FROM posting WHERE tenant_id = $1 GROUP BY account"
        return {row["account"]: int(row["amount"]) for row in await self._rows(query)}

    async def usage(self) -> list[dict[str, Any]]:
        """Return the usage records."""
        return await self._rows("SELECT * FROM usage_record WHERE tenant_id = $1")

    async def open_leases(self) -> dict[str, int]:
        """Return what each open lease still holds, in picos."""
        query = "SELECT lease_id, granted_picos - spent_picos AS held FROM lease WHERE tenant_id = $1"
        return {row["lease_id"]: int(row["held"]) for row in await self._rows(f"{query} AND closed_at IS NULL")}

    async def unbalanced_transfers(self) -> list[dict[str, Any]]:
        """Return the transfers whose postings do not sum to zero."""
        query = "SELECT transfer_id FROM posting WHERE tenant_id = $1"
        return await self._rows(f"{query} GROUP BY transfer_id HAVING sum(amount_picos) <> 0")

    async def _rows(self, query: str) -> list[dict[str, Any]]:
        return [dict(row) for row in await self._connection.fetch(query, self._bank)]
