"""The memory for large bodies that are being read: bounded for each tenant, and for all together."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from finpool.gateway.errors import LargeBodiesExceeded
from finpool.kernel.ids import TenantId

TENANT_BYTES_MAX = 33_554_432
BYTES_MAX = 268_435_456
COUNTED_BYTES_MIN = 32_768
"""Smaller bodies need no room: the number of connections bounds them."""

UNDECLARED_BYTES = 1_048_576
"""A body in chunks does not say its length."""

RETRY_SECONDS = 1.0


class BodyRoom:
    """The bytes of one process."""

    def __init__(self, tenant_bytes_max: int = TENANT_BYTES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._tenant_bytes_max = tenant_bytes_max
        self._bytes_max = bytes_max
        self._by_tenant: Counter[TenantId] = Counter()
        self._total = 0

    async def read(self, tenant: TenantId, headers: Mapping[str, str], read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the body that `read` reads; raise `LargeBodiesExceeded` before it is read if there is no room."""
        with self.held(tenant, headers):
            return await read()

    @contextmanager
    def held(self, tenant: TenantId, headers: Mapping[str, str]) -> Iterator[None]:
        """Hold the room for the body of a request while it is read; raise `LargeBodiesExceeded` if there is none."""
        declared = headers.get("content-length", "")
        size = int(declared) if declared.isdigit() else UNDECLARED_BYTES
        if size < COUNTED_BYTES_MIN:
            yield
            return
        if self._by_tenant[tenant] + size > self._tenant_bytes_max:
            raise LargeBodiesExceeded("Too many large requests of this tenant are on their way.", RETRY_SECONDS)
        if self._total + size > self._bytes_max:
            raise LargeBodiesExceeded("Too many large requests are on their way to this replica.", RETRY_SECONDS)
        self._by_tenant[tenant] += size
        self._total += size
        try:
            yield
        finally:
            self._total -= size
            self._by_tenant[tenant] -= size
            if not self._by_tenant[tenant]:
                del self._by_tenant[tenant]


BODY_ROOM = BodyRoom()
"""The room of this process."""
