"""The authenticated caller of a request. Identity builds an actor, policy authorizes it, other domains only read it."""

from dataclasses import dataclass
from enum import StrEnum

from finpool.kernel.ids import KeyId, ProjectId, TenantId


class Audience(StrEnum):
    """The door a credential opens; a credential for one door is unknown at the others."""

    TENANT = "tenant"
    OPERATOR = "operator"
    REGULATOR = "regulator"


class Role(StrEnum):
    """A role of a caller; `policy/roles.csv` lists its permissions."""

    TENANT_OWNER = "tenant.owner"
    TENANT_DEVELOPER = "tenant.developer"
    TENANT_FINANCE = "tenant.finance"
    TENANT_AUDITOR = "tenant.auditor"
    OPERATOR_ADMIN = "operator.admin"
    OPERATOR_BILLING = "operator.billing"
    OPERATOR_SRE = "operator.sre"
    REGULATOR_EXAMINER = "regulator.examiner"
    REGULATOR_SUPERVISOR = "regulator.supervisor"

    @property
    def audience(self) -> Audience:
        """The door this role belongs to."""
        return Audience(self.value.split(".", 1)[0])


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated caller. Tenant actors carry tenant and project; operators and regulators carry neither."""

    audience: Audience
    credential_id: str
    role: Role
    tenant_id: TenantId | None = None
    project_id: ProjectId | None = None

    @property
    def key_id(self) -> KeyId:
        """The tenant's key that was presented."""
        return KeyId(self.credential_id)

    @property
    def tenant(self) -> TenantId:
        """The actor's tenant. Raises RuntimeError for an operator or a regulator: the calling code is wrong."""
        if self.tenant_id is None:
            raise RuntimeError("an actor without a tenant reached code for tenants")
        return self.tenant_id

    @property
    def project(self) -> ProjectId:
        """The project of the actor's key. Raises RuntimeError for an operator or a regulator: the calling code is
        wrong.
        """
        if self.project_id is None:
            raise RuntimeError("an actor without a project reached code for tenants")
        return self.project_id
