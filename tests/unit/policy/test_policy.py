"""The permissions of the policy, and how it takes and refuses changes."""

import re
from pathlib import Path
from typing import Any

import casbin
import pytest

from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.errors import Forbidden
from finpool.kernel.ids import ModelId, ProjectId, TenantId
from finpool.policy.errors import PolicyInvalid
from finpool.policy.roles import ROLES_FILE
from finpool.policy.service import Policy
from finpool.tenancy.service import TenantDirectory


def tenant_actor(tenant_id: str, role: Role = Role.TENANT_DEVELOPER) -> Actor:
    return Actor(Audience.TENANT, "key_1", role, TenantId(tenant_id), ProjectId("p"))


def allowed(policy: Policy, actor: Actor, permission: str) -> bool:
    try:
        policy.authorize(actor, permission)
    except Forbidden:
        return False
    return True


def test_a_tenant_uses_the_models_of_its_contract_only(known: Any) -> None:
    policy = known.policy
    assert policy.models_for(tenant_actor("bank-a")) == ("model-a", "model-b")
    assert policy.models_for(tenant_actor("bank-b")) == ("model-b",)
    assert not policy.may_use(tenant_actor("bank-b"), ModelId("model-a"))
    assert not policy.may_use(tenant_actor("bank-a"), ModelId("unheard-of"))


@pytest.mark.parametrize("role", [Role.TENANT_FINANCE, Role.TENANT_AUDITOR])
def test_roles_without_inference_use_no_model(known: Any, role: Role) -> None:
    assert known.policy.models_for(tenant_actor("bank-a", role)) == ()


def test_an_owner_does_what_every_role_of_its_tenant_does(known: Any) -> None:
    owner = tenant_actor("bank-a", Role.TENANT_OWNER)
    for permission in ("inference:call", "model:read", "usage:read", "cost:read", "audit:read"):
        assert allowed(known.policy, owner, permission)
    assert known.policy.models_for(owner) == ("model-a", "model-b")


def test_a_tenant_without_a_loaded_policy_may_do_nothing(known: Any) -> None:
    stranger = tenant_actor("bank-z", Role.TENANT_OWNER)
    assert not allowed(known.policy, stranger, "inference:call")
    assert known.policy.models_for(stranger) == ()
    assert known.policy.version(TenantId("bank-z")) == 0


@pytest.mark.parametrize("permission", ["", "inference", ":", "inference:", ":call", "inference:call:call", "*:*"])
def test_what_is_not_a_permission_is_refused(known: Any, permission: str) -> None:
    assert not allowed(known.policy, tenant_actor("bank-a", Role.TENANT_OWNER), permission)


def test_a_tenants_actor_without_a_tenant_is_refused(known: Any) -> None:
    assert not allowed(known.policy, Actor(Audience.TENANT, "k", Role.TENANT_OWNER), "inference:call")


def test_a_role_of_another_door_is_refused(known: Any) -> None:
    posing_tenant = tenant_actor("bank-a", Role.OPERATOR_ADMIN)
    posing_operator = Actor(Audience.OPERATOR, "token_1", Role.TENANT_OWNER)
    assert not allowed(known.policy, posing_tenant, "tenant:read")
    assert not allowed(known.policy, posing_operator, "inference:call")


def test_operators_and_regulators_are_judged_before_any_tenant_is_loaded() -> None:
    policy = Policy((), TenantDirectory())
    assert allowed(policy, Actor(Audience.OPERATOR, "t", Role.OPERATOR_ADMIN), "tenant:write")
    assert not allowed(policy, Actor(Audience.OPERATOR, "t", Role.OPERATOR_SRE), "tenant:write")
    assert allowed(policy, Actor(Audience.REGULATOR, "t", Role.REGULATOR_EXAMINER), "entry:read")
    assert not allowed(policy, Actor(Audience.REGULATOR, "t", Role.REGULATOR_SUPERVISOR), "tenant:read")
    assert policy.models_for(Actor(Audience.OPERATOR, "t", Role.OPERATOR_ADMIN)) == ()


def test_a_changed_contract_takes_effect_and_moves_the_version(known: Any) -> None:
    actor = tenant_actor("bank-b")
    assert known.policy.version(TenantId("bank-b")) == 1
    known.set("bank-b", ["model-a"], version=2)
    assert known.policy.models_for(actor) == ("model-a",)
    assert known.policy.version(TenantId("bank-b")) == 2


@pytest.mark.parametrize("broken", [[None], [""], ["*", None]])
def test_a_malformed_contract_keeps_the_last_good_policy_and_says_so(
    known: Any, broken: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    known.set("bank-b", broken, version=2)
    assert known.policy.models_for(tenant_actor("bank-b")) == ("model-b",)
    assert known.policy.version(TenantId("bank-b")) == 1
    assert "policy refused" in capsys.readouterr().out


def test_a_malformed_contract_of_a_new_tenant_lets_nothing_through(known: Any) -> None:
    known.set("bank-c", [None])
    assert not allowed(known.policy, tenant_actor("bank-c", Role.TENANT_OWNER), "inference:call")


def test_a_row_that_the_engine_takes_silently_and_chokes_on_later_keeps_the_last_good_policy(
    known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = casbin.Enforcer.add_policies
    monkeypatch.setattr(casbin.Enforcer, "add_policies", lambda self, rows: take(self, [*rows, ["too", "short"]]))
    known.set("bank-b", ["*"], version=2)
    assert known.policy.models_for(tenant_actor("bank-b")) == ("model-b",)
    assert known.policy.version(TenantId("bank-b")) == 1
    monkeypatch.undo()
    known.set("bank-b", ["*"], version=3)
    assert known.policy.models_for(tenant_actor("bank-b")) == ("model-a", "model-b")


def test_an_engine_that_is_switched_to_allow_everything_is_never_put_in_force(
    known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(casbin.Enforcer, "enforce", lambda *_: True)
    known.set("bank-b", ["*"], version=2)
    assert known.policy.version(TenantId("bank-b")) == 1
    with pytest.raises(PolicyInvalid, match="allows"):
        Policy((), TenantDirectory())


def test_a_decision_that_fails_is_a_refusal(known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finpool.policy.decisions.Decisions.decide", _fail)
    assert not allowed(known.policy, tenant_actor("bank-a", Role.TENANT_OWNER), "inference:call")
    assert known.policy.models_for(tenant_actor("bank-a")) == ()


def _fail(*_: object) -> bool:
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    "line",
    [
        "p, tenant.owner, inference",
        "p, tenant.owner, inference, call, deny",
        "p, tenant.king, inference, call",
        "p, tenant.owner, *, call",
        "p, tenant.owner, inference, *",
        "p, tenant.owner, model/one, use",
        "q, tenant.owner, inference, call",
        "g, tenant.owner",
        "g, tenant.owner, operator.admin",
    ],
)
def test_a_row_that_is_not_understood_is_named_and_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(PolicyInvalid, match=re.escape(line)):
        Policy((), TenantDirectory(), _roles_with(tmp_path, line))


@pytest.mark.parametrize("line", ["p, operator.sre, key, write", "p, regulator.examiner, tenant, write"])
def test_a_role_table_that_allows_too_much_is_not_put_in_force(tmp_path: Path, line: str) -> None:
    with pytest.raises(PolicyInvalid, match="allows"):
        Policy((), TenantDirectory(), _roles_with(tmp_path, line))


def test_a_role_table_that_gives_tenants_too_much_lets_no_tenant_in(make_policy: Any, tmp_path: Path) -> None:
    known = make_policy("model-a", roles_file=_roles_with(tmp_path, "p, tenant.finance, inference, call"))
    known.set("bank-a", ["*"])
    assert not allowed(known.policy, tenant_actor("bank-a", Role.TENANT_OWNER), "inference:call")


def _roles_with(directory: Path, line: str) -> Path:
    file = directory / "roles.csv"
    file.write_text(f"{ROLES_FILE.read_text()}{line}\n")
    return file
