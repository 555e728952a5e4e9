"""One bank's account behind the functions of `grants`, without a database, and replicas that spend of it."""

from collections.abc import Callable
from typing import Any

import pytest
from fake_account import FakeAccount, Replica

from finpool.quota.grant import grants


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> FakeAccount:
    fake = FakeAccount()
    monkeypatch.setattr(grants, "ask", fake.ask)
    monkeypatch.setattr("finpool.quota.reservation.rate_allotments.write_claims", fake.write_claims)
    return fake


@pytest.fixture
def replica_of(account: FakeAccount) -> Callable[..., Replica]:
    """Open another replica on the account: `replica_of(share_of_rest=1.0, concurrency=2)`."""

    def opened(**options: Any) -> Replica:
        return Replica(account, **options)

    return opened


@pytest.fixture
def replica(replica_of: Callable[..., Replica]) -> Replica:
    """The one replica of most tests; it is given a tenth of the rest at a time."""
    return replica_of()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, account: FakeAccount) -> None:
    """Let nothing wait for a lease on its way back, and remember no refusal."""
    account.tells_of_returns = False
    monkeypatch.setattr("finpool.quota.reservation.refusals.REFUSAL_SECONDS", 0.0)
    monkeypatch.setattr("finpool.quota.reservation.allotments.AHEAD_SECONDS", 0.0)
