"""The table of roles in the banks' guide says of every role exactly what the policy allows."""

import re
from typing import Any

import pytest
from source_files import ROOT

from finpool.kernel.actor import Actor, Audience, Role
from finpool.kernel.errors import Forbidden
from finpool.kernel.ids import ProjectId, TenantId

GUIDE = (ROOT / "docs" / "bank.md").read_text(encoding="utf-8")
PERMISSIONS = {
    "sees and calls models": {"yes": {"model:read", "inference:call"}},
    "usage, projects": {"yes": {"usage:read", "project:read"}},
    "costs": {"yes": {"cost:read"}},
    "contract, prices": {"yes": {"contract:read", "price:read"}},
    "account, limits": {"reads": {"account:read"}, "reads and sets limits": {"account:read", "limits:write"}},
    "invoices, draft, FOCUS": {"reads": {"invoice:read"}},
    "disputes": {"reads": {"dispute:read"}, "opens": {"dispute:read", "dispute:write"}},
    "audit trail": {"yes": {"audit:read"}},
}
EVERY = {each for words in PERMISSIONS.values() for permissions in words.values() for each in permissions}


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def table() -> dict[str, dict[str, str]]:
    """Return each role's row by the headings of the table."""
    rows = re.search(r"^## Roles of keys\n((?:\|.*\n)+)", GUIDE, flags=re.MULTILINE)
    assert rows is not None
    heading, _, *roles = (cells(row) for row in rows[1].splitlines())
    return {role[0].strip("`"): dict(zip(heading[1:], role[1:], strict=True)) for role in roles}


@pytest.mark.parametrize("role", [role for role in Role if role.audience is Audience.TENANT])
def test_the_guide_says_exactly_what_a_role_may_do(known: Any, role: Role) -> None:
    actor = Actor(Audience.TENANT, "key_1", role, TenantId("bank-a"), ProjectId("credit"))

    def may(permission: str) -> bool:
        try:
            known.policy.authorize(actor, permission)
        except Forbidden:
            return False
        return True

    row = table()[role.removeprefix("tenant.")]
    assert list(row) == list(PERMISSIONS)
    said = {each for column, words in PERMISSIONS.items() for each in words.get(row[column], ())}
    assert said == {each for each in EVERY if may(each)}


def test_the_table_has_a_column_for_every_permission_of_a_banks_door() -> None:
    rows = (ROOT / "tests" / "architecture" / "route_roles.csv").read_text(encoding="utf-8").splitlines()[1:]
    doors = [row.split(",") for row in rows]
    assert {each[3] for each in doors if each[0] in ("inference", "tenant") and each[3]} == EVERY
