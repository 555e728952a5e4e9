"""The decisions of one policy in one scope: build it apart, check it on golden decisions, then put it in force."""

from collections.abc import Collection

import casbin

from finpool.kernel.actor import Audience, Role
from finpool.kernel.ids import ModelId
from finpool.policy.errors import PolicyInvalid
from finpool.policy.golden import GOLDEN_DECISIONS
from finpool.policy.roles import RoleTable

# Equality stands first and the role graph last: a refusal tests every row, and most rows already fail at equality.
_CASBIN_MODEL = """
[request_definition]
r = scope, role, resource, action
[policy_definition]
p = scope, role, resource, action
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.action == p.action && r.resource == p.resource && r.scope == p.scope && g(r.role, p.role)
"""

USE = "use"
_CALL_INFERENCE = ("inference", "call")
_UNKNOWN_ROLE = "nobody"


def model_resource(model_id: ModelId) -> str:
    """Return the policy's name of a model; the slash keeps it apart from every resource of the role table."""
    return f"model/{model_id}"


class Decisions:
    """One policy in force. It never changes, so each decision is computed once and then cached."""

    def __init__(self, enforcer: casbin.Enforcer, scope: str, version: int) -> None:
        self.version = version
        self._enforcer = enforcer
        self._scope = scope
        self._decided: dict[tuple[str, str, str], bool] = {}

    def allows(self, role: str, resource: str, action: str) -> bool:
        """Tell whether the role may do this; exceptions of casbin pass through and are not cached.

        Callers pass only resources and actions of the code and the catalogue, which bounds the cache.
        """
        question = (role, resource, action)
        decided = self._decided.get(question)
        if decided is None:
            decided = self._decided[question] = self.decide(self._scope, *question)
        return decided

    def decide(self, scope: str, role: str, resource: str, action: str) -> bool:
        """Compute one decision with casbin, without the cache."""
        return self._enforcer.enforce(scope, role, resource, action) is True


def shadow_load(
    scope: str,
    version: int,
    audience: Audience,
    roles: RoleTable,
    *,
    granted: Collection[ModelId] = (),
    catalogue_ids: Collection[ModelId] = (),
) -> Decisions:
    """Build a policy and check it on the golden decisions; raise `PolicyInvalid` if one of them comes out wrong.

    `roles` are the rows of the audience. `granted` are the models that its inference roles may use.
    """
    callers = [each.role for each in roles.permissions if (each.resource, each.action) == _CALL_INFERENCE]
    rows = [[scope, each.role.value, each.resource, each.action] for each in roles.permissions]
    rows += [[scope, role.value, model_resource(model_id), USE] for role in callers for model_id in granted]
    model = casbin.Model()
    model.load_model_from_text(_CASBIN_MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_policies(rows)
    enforcer.add_grouping_policies([[role.value, included.value] for role, included in roles.includes])
    decisions = Decisions(enforcer, scope, version)
    try:
        _prove(decisions, scope, audience, granted, catalogue_ids)
    except PolicyInvalid:
        raise
    except Exception as error:
        raise PolicyInvalid(f"the policy of {scope} fails to decide: {error}") from error
    return decisions


def _prove(
    decisions: Decisions,
    scope: str,
    audience: Audience,
    granted: Collection[ModelId],
    catalogue_ids: Collection[ModelId],
) -> None:
    expected: list[tuple[str, str, str, str, bool]] = []
    for golden in GOLDEN_DECISIONS:
        if golden.role.audience == audience:
            expected.append((scope, golden.role, golden.resource, golden.action, golden.allowed))
            expected.append((f"not {scope}", golden.role, golden.resource, golden.action, False))
        else:
            expected.append((scope, golden.role, golden.resource, golden.action, False))
    for resource, action in {(golden.resource, golden.action) for golden in GOLDEN_DECISIONS}:
        expected.append((scope, _UNKNOWN_ROLE, resource, action, False))
    for model_id in catalogue_ids:
        may = audience == Audience.TENANT and model_id in granted
        expected.append((scope, Role.TENANT_DEVELOPER, model_resource(model_id), USE, may))
        expected.append((scope, Role.TENANT_FINANCE, model_resource(model_id), USE, False))
    for asked_scope, role, resource, action, allowed in expected:
        if decisions.decide(asked_scope, role, resource, action) is not allowed:
            verdict = "refuses" if allowed else "allows"
            raise PolicyInvalid(f"the policy of {scope} {verdict} {resource}:{action} to {role} in {asked_scope}")
