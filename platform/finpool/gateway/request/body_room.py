"""The memory for large bodies that are being read: bounded for each tenant, and for all together."""

from collections import Counter
from collections.abc import Iterator
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

    @contextmanager
    def held(self, tenant: TenantId, length: str) -> Iterator[None]:
        """Hold the room for a body of a declared `length` while it is read; raise `LargeBodiesExceeded` without room.

        A body in chunks declares none, so its length is empty.
        """
        size = int(length) if length.isdigit() else UNDECLARED_BYTES
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
