"""Authorization with casbin. A request without a matching rule is refused, and so is one that casbin cannot decide."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from finpool.kernel.actor import Actor, Audience
from finpool.kernel.errors import Forbidden
from finpool.kernel.ids import ModelId, TenantId
from finpool.kernel.logs import logger
from finpool.policy.decisions import USE, Decisions, model_resource, shadow_load
from finpool.policy.errors import PolicyInvalid
from finpool.policy.roles import ROLES_FILE, read_roles
from finpool.tenancy.schemas import ALL_MODELS, HeldTenant
from finpool.tenancy.service import TenantDirectory

_log = logger("policy")


@dataclass(frozen=True, slots=True)
class _InForce:
    """A tenant's decisions and the tenant they were built from; a reload rebuilds them only if the tenant changed."""

    tenant: HeldTenant
    decisions: Decisions


class Policy:
    """The policies of all scopes: one casbin engine for each tenant, one for operators, one for regulators.

    It is a `Snapshot` that loads after the `TenantDirectory` it reads. Operators' and regulators' decisions hold from
    the start, a tenant's from the first load on.
    """

    def __init__(
        self, catalogue_ids: Iterable[ModelId], tenants: TenantDirectory, roles_file: Path = ROLES_FILE
    ) -> None:
        """Raise `PolicyInvalid` if the role table cannot be put in force."""
        self._catalogue_ids = tuple(catalogue_ids)
        self._known_ids = frozenset(self._catalogue_ids)
        self._tenants = tenants
        roles = read_roles(roles_file)
        self._tenant_roles = roles.of(Audience.TENANT)
        self._in_force: dict[TenantId, _InForce] = {}
        self._platform = {
            audience: shadow_load(audience, 1, audience, roles.of(audience), catalogue_ids=self._catalogue_ids)
            for audience in (Audience.OPERATOR, Audience.REGULATOR)
        }

    async def load(self, session: AsyncSession, tenant_id: TenantId | None) -> None:
        """Rebuild the policy of one tenant, or of all tenants for None, if the tenant changed."""
        changed = self._tenants.tenants() if tenant_id is None else (self._tenants.tenant(tenant_id),)
        for tenant in changed:
            if tenant is not None:
                self._refresh(tenant)

    def authorize(self, actor: Actor, permission: str) -> None:
        """Raise `Forbidden` unless the policy in force grants the permission; `permission` is `resource:action`."""
        resource, _, action = permission.partition(":")
        if not self._allows(actor, resource, action):
            raise Forbidden(f"The role {actor.role} does not include {permission}.")

    def may_use(self, actor: Actor, model_id: ModelId) -> bool:
        """Tell whether the actor may call this model: catalogue, contract and role must all allow it."""
        return model_id in self._known_ids and self._allows(actor, model_resource(model_id), USE)

    def models_for(self, actor: Actor) -> tuple[ModelId, ...]:
        """Return the models that the actor may call, in the order of the catalogue."""
        return tuple(model_id for model_id in self._catalogue_ids if self.may_use(actor, model_id))

    def version(self, tenant_id: TenantId) -> int:
        """Return the version of the tenant's policy in force; 0 if none is in force and every request is refused."""
        held = self._in_force.get(tenant_id)
        return 0 if held is None else held.decisions.version

    def _allows(self, actor: Actor, resource: str, action: str) -> bool:
        try:
            if actor.audience != Audience.TENANT:
                return self._platform[actor.audience].allows(actor.role, resource, action)
            held = self._in_force.get(actor.tenant)
            return held is not None and held.decisions.allows(actor.role, resource, action)
        except Exception:  # Fail closed: refuse if casbin cannot decide.
            _log.exception("policy could not decide; refused", resource=resource, action=action)
            return False

    def _refresh(self, tenant: HeldTenant) -> None:
        held = self._in_force.get(tenant.tenant_id)
        if held is not None and held.tenant == tenant:
            return
        try:
            decisions = shadow_load(
                f"tenant/{tenant.tenant_id}",
                tenant.version,
                Audience.TENANT,
                self._tenant_roles,
                granted=self._granted(tenant),
                catalogue_ids=self._catalogue_ids,
            )
        except Exception as error:  # On any error the last good policy stays in force.
            kept = self.version(tenant.tenant_id)
            _log.error("policy refused", tenant=tenant.tenant_id, version=tenant.version, kept=kept, reason=str(error))
            return
        self._in_force[tenant.tenant_id] = _InForce(tenant, decisions)

    def _granted(self, tenant: HeldTenant) -> tuple[ModelId, ...]:
        if not all(tenant.models):
            raise PolicyInvalid(f"the models of {tenant.tenant_id} hold an empty value")
        if ALL_MODELS in tenant.models:
            return self._catalogue_ids
        return tuple(model_id for model_id in self._catalogue_ids if model_id in tenant.models)
