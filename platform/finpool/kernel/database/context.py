"""The signed context of a transaction: for which tenant it acts, or that it acts across tenants.

Row-level security believes only a context that carries an HMAC-SHA256 (ADR 0040). The key comes from the password of
the login role; the database holds it in `context_key`, which no login role may read. The signed text names the role,
the backend's process id and the moment at which the transaction began, so that a signature holds nowhere else.
"""

import hashlib
import hmac
from functools import cache
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.database.database_url import DatabaseUrl
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.ids import TenantId

SECTOR = "sector"
_ITERATIONS = 100_000
"""A session can read its own signature and try passwords against it, so each try has to cost something."""

_BLOCK_BYTES = 64
_MOMENT = text("""
    SELECT CAST(session_user AS text), pg_catalog.pg_backend_pid(),
        CAST(extract(epoch FROM pg_catalog.transaction_timestamp()) * 1000000 AS bigint)
""")
_ENTER = text("""
    SELECT pg_catalog.set_config('finpool.tenant_id', :tenant_id, true),
        pg_catalog.set_config('finpool.scope', :scope, true),
        pg_catalog.set_config('finpool.signature', :signature, true),
        public.current_tenant() = :tenant_id OR public.in_sector()
""")
_KEEP = (
    """INSERT INTO context_key (role, key_id, inner_pad, outer_pad) VALUES ($1, $2, $3, $4)
        ON CONFLICT (role, key_id) DO UPDATE SET valid_until = NULL""",
    """UPDATE context_key SET valid_until = now() + interval '1 hour'
        WHERE role = $1 AND key_id <> $2 AND valid_until IS NULL""",
    "DELETE FROM context_key WHERE role = $1 AND key_id <> $2 AND valid_until < now()",
)


class ContextSigner:
    """Signs contexts with the key of one login role."""

    def __init__(self, url: DatabaseUrl) -> None:
        """Derive the key from the login and the password of a database URL."""
        self._role = url.user or ""
        self._key = _key(self._role, url.password or "")

    def signature(self, role: str, pid: int, began_micros: int, context: str) -> str:
        """Return the signature of a context (`tenant:bank-a`, `sector`) for one transaction, in hexadecimal digits."""
        return hmac.digest(self._key, f"{role}|{pid}|{began_micros}|{context}".encode(), "sha256").hex()

    async def enter(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Give the session's transaction the context of a tenant, or of the sector for None.

        Raises `ConfigurationError` if the database does not hold this role's key.
        """
        role, pid, began_micros = (await session.execute(_MOMENT)).one()
        context = SECTOR if tenant_id is None else f"tenant:{tenant_id}"
        values = {
            "tenant_id": tenant_id or "",
            "scope": SECTOR if tenant_id is None else "",
            "signature": self.signature(role, pid, began_micros, context),
        }
        if not (await session.execute(_ENTER, values)).one()[3]:
            raise ConfigurationError(
                f"the database does not know the password of {role} from its last migration:"
                " run `finpool migrate` with the URLs that the processes have"
            )

    async def keep(self, connection: Any) -> None:
        """Write the key into the database as its owner; another key of the role ends after an hour.

        Processes that still run with the password of before need that one meanwhile.
        """
        key_id = hashlib.sha256(b"finpool context key " + self._key).hexdigest()[:16]
        pads = [bytes(byte ^ mask for byte in self._key.ljust(_BLOCK_BYTES, b"\0")) for mask in (0x36, 0x5C)]
        await connection.execute(_KEEP[0], self._role, key_id, *pads)
        for statement in _KEEP[1:]:
            await connection.execute(statement, self._role, key_id)


@cache
def _key(role: str, password: str) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"finpool context " + role.encode(), _ITERATIONS)
