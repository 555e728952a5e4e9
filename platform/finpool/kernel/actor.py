"""Who is asking. Identity makes actors, policy judges them, everything else only reads them."""

from dataclasses import dataclass
from enum import StrEnum

from finpool.kernel.ids import KeyId, ProjectId, TenantId


class Audience(StrEnum):
    """The door a credential opens; a credential for one door is unknown at the others."""

    TENANT = "tenant"
    OPERATOR = "operator"
    REGULATOR = "regulator"


class Role(StrEnum):
    """Every role there is; what each may do is in `policy/roles.csv`."""

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
        """The tenant, for code that only tenant actors reach; anything else is a defect and raises."""
        if self.tenant_id is None:
            raise RuntimeError("an actor without a tenant reached code for tenants")
        return self.tenant_id

    @property
    def project(self) -> ProjectId:
        """The project of the key, for code that only tenant actors reach."""
        if self.project_id is None:
            raise RuntimeError("an actor without a project reached code for tenants")
        return self.project_id
