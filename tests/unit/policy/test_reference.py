"""The engine decides as a reference does that is short enough to be checked by eye."""

import csv
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.errors import Forbidden
from finpool.kernel.ids import ModelId, ProjectId, TenantId
from finpool.policy.roles import ROLES_FILE

CATALOGUE = ("model-a", "model-b", "model-c")
ROWS = [
    row
    for row in csv.reader(ROLES_FILE.read_text().splitlines(), skipinitialspace=True)
    if row and not row[0].startswith("#")
]
RESOURCES = sorted({row[2] for row in ROWS if row[0] == "p"} | {"", "*", "nothing"})
ACTIONS = sorted({row[3] for row in ROWS if row[0] == "p"} | {"", "*", "use"})


def reference_allows(actor: Actor, resource: str, action: str) -> bool:
    """Walk the rows: the role itself and every role it includes, directly or not."""
    if actor.role.audience != actor.audience:
        return False
    roles, waiting = set[str](), [str(actor.role)]
    while waiting:
        role = waiting.pop()
        roles.add(role)
        waiting += [row[2] for row in ROWS if row[0] == "g" and row[1] == role and row[2] not in roles]
    return any(row[0] == "p" and row[1] in roles and row[2:] == [resource, action] for row in ROWS)


def reference_may_use(actor: Actor, grants: dict[str, tuple[str, ...]], model_id: str) -> bool:
    """A model of the catalogue, in the contract of the actor's tenant, for a role that may call inference."""
    contract = grants.get(actor.tenant_id or "", ())
    return (
        actor.audience == Audience.TENANT
        and model_id in CATALOGUE
        and (model_id in contract or "*" in contract)
        and reference_allows(actor, "inference", "call")
    )


def actors() -> st.SearchStrategy[Actor]:
    platform = st.builds(Actor, st.sampled_from([Audience.OPERATOR, Audience.REGULATOR]), st.just("t"), roles)
    tenants = st.builds(
        Actor,
        st.just(Audience.TENANT),
        st.just("k"),
        roles,
        st.sampled_from(["bank-a", "bank-b"]).map(TenantId),
        st.just(ProjectId("p")),
    )
    return platform | tenants


roles = st.sampled_from(list(Role))
contracts = st.just(("*",)) | st.lists(st.sampled_from([*CATALOGUE, "gone"]), unique=True).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    contract_a=contracts,
    contract_b=contracts,
    questions=st.lists(
        st.tuples(
            actors(), st.sampled_from(RESOURCES), st.sampled_from(ACTIONS), st.sampled_from([*CATALOGUE, "gone"])
        ),
        min_size=1,
        max_size=30,
    ),
)
def test_the_policy_decides_as_the_reference_does(
    make_policy: Any,
    contract_a: tuple[str, ...],
    contract_b: tuple[str, ...],
    questions: list[tuple[Actor, str, str, str]],
) -> None:
    grants = {"bank-a": contract_a, "bank-b": contract_b}
    known = make_policy(*CATALOGUE)
    for tenant_id, models in grants.items():
        known.set(tenant_id, models)
    for actor, resource, action, model_id in questions:
        try:
            known.policy.authorize(actor, f"{resource}:{action}")
            decided = True
        except Forbidden:
            decided = False
        assert decided == reference_allows(actor, resource, action), (actor, resource, action)
        assert known.policy.may_use(actor, ModelId(model_id)) == reference_may_use(actor, grants, model_id)


def test_every_role_is_in_the_table() -> None:
    assert {row[1] for row in ROWS} == {str(role) for role in Role}
