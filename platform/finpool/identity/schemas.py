"""Request bodies and answers of keys."""

from typing import Literal, Self

from pydantic import Field

from finpool.identity.models import ApiKey, CredentialStatus
from finpool.kernel.actor import Role
from finpool.kernel.ids import KeyId, ProjectId, TenantId
from finpool.kernel.paging import Listed
from finpool.tenancy.schemas import ChangeBody, Name, RequestBody, Slug, unix_seconds

KEY_ID_PATTERN = r"^key_[0-9a-z]{24}$"
_ROLE_PREFIX = "tenant."

KeyRole = Literal["owner", "developer", "finance", "auditor"]


class NewKey(RequestBody):
    """Body that creates a key."""

    project_id: Slug
    name: Name
    role: KeyRole = "developer"

    @property
    def full_role(self) -> Role:
        """The role with its `tenant.` prefix, as `policy/roles.csv` names it."""
        return Role(_ROLE_PREFIX + self.role)


class KeyChange(ChangeBody):
    """Body that changes a key; its role and project never change."""

    name: Name | None = None


class KeyView(Listed):
    """A key in a response. `hint` is the secret's last four characters; times are Unix seconds."""

    object: Literal["key"] = "key"
    id: KeyId
    tenant_id: TenantId
    project_id: ProjectId
    name: str
    role: str
    hint: str
    status: CredentialStatus
    created_at: int
    revoked_at: int | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Return the response for a row."""
        return cls(**_fields(key))


class CreatedKeyView(KeyView):
    """The answer to creating a key; only this answer carries the secret."""

    secret: str = Field(description="The key itself; it is not kept and cannot be shown again.")

    @classmethod
    def with_secret(cls, key: ApiKey, secret: str) -> Self:
        """Return the response for a new row."""
        return cls(**_fields(key), secret=secret)


def _fields(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.key_id,
        "tenant_id": key.tenant_id,
        "project_id": key.project_id,
        "name": key.name,
        "role": key.role.removeprefix(_ROLE_PREFIX),
        "hint": key.hint,
        "status": key.status,
        "created_at": unix_seconds(key.created_at),
        "revoked_at": None if key.revoked_at is None else unix_seconds(key.revoked_at),
    }
