"""What keeps tenants apart in an engine's prefix cache: a salt that only the gateway can make.

How soon an answer begins tells whether its prompt was in the cache (CVE-2025-46570), so no tenant may ever hit what
another one put there. Engines that have such a cache look a prompt up together with its salt.
"""

import hashlib
import hmac

from finpool.catalogue.model.schemas import Model
from finpool.kernel.ids import ModelId, TenantId

_PURPOSE = b"finpool prefix cache salt"


class CacheSalts:
    """Salts of tenants and weights, for a process: the same in every replica, and after a restart."""

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
