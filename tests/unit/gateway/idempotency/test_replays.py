"""Kept answers on their way to their clients are bounded for each tenant."""

from contextlib import ExitStack
from typing import cast

import pytest

from finpool.gateway.idempotency.errors import TooManyReplays
from finpool.gateway.idempotency.room import IdempotencyBounds
from finpool.gateway.idempotency.service import REPLAYED_BYTES_MAX, Idempotency
from finpool.kernel.database.database import Database
from finpool.kernel.ids import ReplicaId, TenantId
from finpool.quota.reservation.service import Quota

BANK_A, BANK_B = TenantId("bank-a"), TenantId("bank-b")
HALF = REPLAYED_BYTES_MAX // 2


def test_no_tenant_has_more_bytes_on_their_way_than_the_bound() -> None:
    bounds = IdempotencyBounds(1, 1, 1)
    idempotency = Idempotency(
        Database("postgresql://localhost/none", 1), ReplicaId("one"), b"p", cast(Quota, None), bounds
    )
    with ExitStack() as sending:
        for _ in range(2):
            sending.enter_context(idempotency.replaying(BANK_A, HALF))
        with pytest.raises(TooManyReplays), idempotency.replaying(BANK_A, 1):
            pass
        with idempotency.replaying(BANK_B, 2 * REPLAYED_BYTES_MAX):  # One answer of any size gets through.
            pass
    with idempotency.replaying(BANK_A, HALF):
        pass
