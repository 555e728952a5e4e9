"""Cache salts, which keep tenants apart in an engine's prefix cache.

The time to the first token reveals whether a prompt was cached (CVE-2025-46570). So no tenant may hit another tenant's
entry. An engine with such a cache looks up a prompt together with its salt, an HMAC that only the gateway can compute.
"""

import hashlib
import hmac

from finpool.catalogue.model.schemas import Model
from finpool.kernel.ids import ModelId, TenantId

_PURPOSE = b"finpool prefix cache salt"


class CacheSalts:
    """The salts of a process by tenant and weights; equal in every replica, and after a restart."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)
        self._salts: dict[tuple[TenantId, ModelId], str] = {}

    def of(self, tenant_id: TenantId, model: Model) -> str:
        """Return the salt of a tenant's requests to a model or adapter: 64 hexadecimal digits."""
        known = self._salts.get((tenant_id, model.id))
        if known is not None:
            return known
        named = f"{tenant_id}\n{model.engine_id}\n{model.weights_sha256}".encode()
        salt = hmac.new(self._key, named, hashlib.sha256).hexdigest()
        self._salts[tenant_id, model.id] = salt
        return salt
