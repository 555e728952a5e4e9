"""Policies over tenants that are held in memory only."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from finpool.kernel.ids import ModelId, TenantId
from finpool.policy.roles import ROLES_FILE
from finpool.policy.service import Policy
from finpool.tenancy.models import TenantStatus
from finpool.tenancy.schemas import HeldTenant
from finpool.tenancy.service import TenantDirectory


class KnownTenants(TenantDirectory):
    """A directory whose tenants the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.views: dict[str, HeldTenant] = {}

    def set(self, tenant_id: str, models: Iterable[Any], version: int = 1) -> None:
        """Hold this tenant in this version."""
        self.views[tenant_id] = HeldTenant(TenantId(tenant_id), tenant_id, TenantStatus.ACTIVE, tuple(models), version)

    def tenant(self, tenant_id: TenantId) -> HeldTenant | None:
        """Return the tenant that the test set."""
        return self.views.get(tenant_id)

    def tenants(self) -> tuple[HeldTenant, ...]:
        """Return the tenants that the test set."""
        return tuple(self.views.values())


class KnownPolicy:
    """A policy and the tenants that it reads."""

    def __init__(self, catalogue: Iterable[str], roles_file: Path) -> None:
        self.tenants = KnownTenants()
        self.policy = Policy([ModelId(each) for each in catalogue], self.tenants, roles_file)

    def set(self, tenant_id: str, models: Iterable[Any], version: int = 1) -> None:
        """Change a tenant and let the policy follow."""
        self.tenants.set(tenant_id, models, version)
        asyncio.run(self.policy.load(None, TenantId(tenant_id)))  # type: ignore[arg-type]  # Policies read no table.


@pytest.fixture(scope="session")
def make_policy() -> Callable[..., KnownPolicy]:
    """Build a policy over a catalogue: `make_policy("model-a", "model-b")`."""

    def make(*catalogue: str, roles_file: Path = ROLES_FILE) -> KnownPolicy:
        return KnownPolicy(catalogue, roles_file)

    return make


@pytest.fixture
def known(make_policy: Callable[..., KnownPolicy]) -> KnownPolicy:
    """A policy with two models and two tenants: bank-a may use both, bank-b only the second."""
    known = make_policy("model-a", "model-b")
    known.set("bank-a", ["*"])
    known.set("bank-b", ["model-b"])
    return known
