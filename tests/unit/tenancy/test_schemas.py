"""The accepted bodies for tenants and projects."""

from typing import Any

import pytest
from pydantic import ValidationError

from finpool.tenancy.models import ProjectStatus, TenantStatus
from finpool.tenancy.schemas import NewProject, NewTenant, ProjectChange, TenantChange


def test_a_new_tenant_gets_every_shared_model_unless_its_contract_says_otherwise() -> None:
    assert NewTenant(id="bank-a", name="Bank A").models == ("*",)
    assert NewTenant(id="bank-a", name="Bank A", models=["one"]).models == ("one",)
    assert NewTenant(id="bank-a", name="Bank A", models=[]).models == ()


@pytest.mark.parametrize("name", ["Bank A", "第一銀行", "みずほ", "  Bank A  "])
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert NewTenant(id="bank-a", name=name).name == name.strip()


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "Bank-A"},
        {"id": ""},
        {"id": "-a"},
        {"id": "a" * 64},
        {"id": "bank-a\n"},
        {"id": "../etc"},
        {"id": None},
        {"name": ""},
        {"name": "   "},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": "a\x85b"},
        {"name": "bank \u202eknab"},
        {"name": "a\u200bb"},
        {"name": "a\u2028b"},
        {"name": "a\u2029b"},
        {"name": "a\ue000b"},
        {"name": "a\ud800b"},
        {"name": "a" * 201},
        {"name": None},
        {"models": None},
        {"models": [""]},
        {"models": ["one", "one"]},
        {"models": ["*", "one"]},
        {"models": [None]},
        {"models": ["one"] * 501},
        {"status": "active"},
        {"version": 7},
    ],
)
def test_a_new_tenant_that_is_not_exactly_right_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NewTenant.model_validate({"id": "bank-a", "name": "Bank A", **fields})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        NewProject.model_validate({"id": "NOT A SLUG", "name": "", "extra": 1})
    assert {fault["loc"][0] for fault in caught.value.errors()} == {"id", "name", "extra"}


def test_a_change_carries_only_the_fields_that_were_sent() -> None:
    change = TenantChange.model_validate({"status": "suspended"})
    assert change.model_dump(exclude_unset=True) == {"status": TenantStatus.SUSPENDED}
    assert ProjectChange.model_validate({"status": "archived"}).status == ProjectStatus.ARCHIVED


@pytest.mark.parametrize("body", [{"name": None}, {"status": None}, {"models": None}])
def test_null_is_refused_instead_of_being_taken_for_a_missing_field(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="must not be null"):
        TenantChange.model_validate(body)


@pytest.mark.parametrize("body", [{"status": "gone"}, {"id": "other"}, {"version": 2}, {"models": ["*", "one"]}])
def test_a_change_of_what_cannot_change_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TenantChange.model_validate(body)


def test_the_schema_of_a_change_says_that_null_is_refused() -> None:
    for field in TenantChange.model_json_schema()["properties"].values():
        assert "null" not in str(field)
        assert "default" not in field
