"""The reader of `roles.csv`, the committed table of each role's permissions."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from finpool.kernel.actor import Audience, Role
from finpool.policy.errors import PolicyInvalid

ROLES_FILE = Path(__file__).parent / "roles.csv"

_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Permission:
    """One `p` row: the role may do the action on the resource."""

    role: Role
    resource: str
    action: str


@dataclass(frozen=True, slots=True)
class RoleTable:
    """All rows of the file. In each pair of `includes` the first role has all permissions of the second."""

    permissions: tuple[Permission, ...]
    includes: tuple[tuple[Role, Role], ...]

    def of(self, audience: Audience) -> "RoleTable":
        """Return the rows of one door's roles."""
        return RoleTable(
            permissions=tuple(each for each in self.permissions if each.role.audience == audience),
            includes=tuple(pair for pair in self.includes if pair[0].audience == audience),
        )


def read_roles(file: Path = ROLES_FILE) -> RoleTable:
    """Return the table; raise `PolicyInvalid` with the line number for a malformed row.

    casbin accepts malformed rows in silence and fails at a later decision, so every row is checked here.
    """
    permissions: list[Permission] = []
    includes: list[tuple[Role, Role]] = []
    with file.open(encoding="utf-8", newline="") as lines:
        for number, cells in enumerate(csv.reader(lines, skipinitialspace=True), start=1):
            if not cells or cells[0].startswith("#"):
                continue
            try:
                match cells:
                    case ["p", role, resource, action] if _WORD.fullmatch(resource) and _WORD.fullmatch(action):
                        permissions.append(Permission(Role(role), resource, action))
                    case ["g", role, included]:
                        includes.append(_include(role, included))
                    case _:
                        raise ValueError("is neither 'p, role, resource, action' nor 'g, role, role'")
            except ValueError as error:
                raise PolicyInvalid(f"{file}, line {number}: {', '.join(cells)}: {error}") from error
    return RoleTable(tuple(permissions), tuple(includes))


def _include(role: str, included: str) -> tuple[Role, Role]:
    pair = Role(role), Role(included)
    if pair[0].audience != pair[1].audience:
        raise ValueError("a role includes only roles of its own door")
    return pair
