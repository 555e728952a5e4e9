"""Golden decisions: every policy must reach them before it is in force. They are written apart from `roles.csv`."""

from dataclasses import dataclass

from finpool.kernel.actor import Role


@dataclass(frozen=True, slots=True)
class GoldenDecision:
    """The required decision when a role asks for an action on a resource."""

    role: Role
    resource: str
    action: str
    allowed: bool


def _golden(role: Role, *, allowed: str, refused: str) -> tuple[GoldenDecision, ...]:
    decisions = []
    for verdict, permissions in ((True, allowed), (False, refused)):
        for permission in permissions.split():
            resource, _, action = permission.partition(":")
            decisions.append(GoldenDecision(role, resource, action, verdict))
    return tuple(decisions)


GOLDEN_DECISIONS = (
    *_golden(Role.TENANT_OWNER, allowed="inference:call cost:read audit:read", refused="tenant:write entry:read"),
    *_golden(Role.TENANT_DEVELOPER, allowed="inference:call usage:read", refused="cost:read audit:read key:write"),
    *_golden(Role.TENANT_FINANCE, allowed="usage:read cost:read", refused="inference:call audit:read limits:write"),
    *_golden(Role.TENANT_AUDITOR, allowed="audit:read cost:read", refused="inference:call model:read"),
    *_golden(Role.OPERATOR_ADMIN, allowed="key:write limits:write", refused="inference:call entry:read audit:read"),
    *_golden(Role.OPERATOR_BILLING, allowed="limits:write usage:read", refused="key:write tenant:write"),
    *_golden(Role.OPERATOR_SRE, allowed="tenant:read account:read", refused="limits:write key:write project:write"),
    *_golden(Role.REGULATOR_EXAMINER, allowed="institution:read entry:read", refused="tenant:write inference:call"),
    *_golden(Role.REGULATOR_SUPERVISOR, allowed="usage:read entry:read", refused="limits:write key:write"),
)
