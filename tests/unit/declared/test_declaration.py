"""Declared tenants load whole or not at all, and every fault of every file is named at once."""

import shutil
from pathlib import Path

import pytest

from finpool.apps.client.errors import DeclarationsInvalid
from finpool.apps.declared.declaration import Limits, Tenant, load_declarations

TENANTS = Path(__file__).parents[3] / "tenants"

GOOD = """
id: bank-c
name: Bank C 银行
models: [b-model, a-model]
projects:
  - {id: one, name: One}
limits: {budget_micros: 5, concurrency: 2}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory of tenants with the real schema and no tenant."""
    shutil.copytree(TENANTS / "_schema", tmp_path / "_schema")
    return tmp_path


def declare(directory: Path, tenant_id: str, text: str) -> None:
    (directory / tenant_id).mkdir()
    (directory / tenant_id / "tenant.yaml").write_text(text, encoding="utf-8")


def test_the_demo_banks_are_declared() -> None:
    assert [tenant.id for tenant in load_declarations(TENANTS)] == ["bank-a", "bank-b"]


def test_the_template_becomes_a_tenant_by_copying_it(directory: Path) -> None:
    declare(directory, "template", (TENANTS / "_template" / "tenant.yaml").read_text(encoding="utf-8"))
    assert [tenant.id for tenant in load_declarations(directory)] == ["template"]


def test_a_declaration_is_read_as_it_is_written(directory: Path) -> None:
    declare(directory, "bank-c", GOOD)
    assert load_declarations(directory) == [
        Tenant("bank-c", "Bank C 银行", ("a-model", "b-model"), {"one": "One"}, Limits(5, None, None, 2))
    ]


def test_all_faults_of_all_files_are_named_with_file_and_field(directory: Path) -> None:
    declare(directory, "bank-c", GOOD.replace("budget_micros: 5", "budget_micros: -5").replace("bank-c", "Bank_C"))
    declare(directory, "bank-d", GOOD)
    declare(directory, "bank-e", "id: [")
    with pytest.raises(DeclarationsInvalid) as caught:
        load_declarations(directory)
    faults = "\n".join(caught.value.faults)
    assert "bank-c/tenant.yaml: id: 'Bank_C' does not match" in faults
    assert "bank-c/tenant.yaml: limits.budget_micros: -5 is less than the minimum of 0" in faults
    assert "bank-d/tenant.yaml: id: 'bank-c' must equal the folder's name 'bank-d'" in faults
    assert "bank-e/tenant.yaml: not valid YAML" in faults


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("concurrency: 2", "concurrency: 2, colour: red"), "'colour' was unexpected"),
        (("{budget_micros: 5, concurrency: 2}", "{concurrency: 2}"), "'budget_micros' is a required property"),
        (("budget_micros: 5", "budget_micros: 5.5"), "5.5 is not of type 'integer'"),
        (("budget_micros: 5", "budget_micros: true"), "True is not of type 'integer'"),
        (("name: Bank C 银行", "name: ' Bank C'"), "does not match"),
        (("[b-model, a-model]", "['*', a-model]"), "must stand alone"),
        (("- {id: one, name: One}", "- {id: one, name: One}\n  - {id: one, name: Two}"), "'one' is declared twice"),
        (("name: Bank C 银行", "name: A\nname: B"), "'name' is given twice"),
    ],
)
def test_a_wrong_declaration_is_refused(directory: Path, change: tuple[str, str], expected: str) -> None:
    declare(directory, "bank-c", GOOD.replace(*change))
    with pytest.raises(DeclarationsInvalid, match=expected.replace("*", r"\*")):
        load_declarations(directory)


def test_a_directory_without_tenants_is_refused(directory: Path) -> None:
    with pytest.raises(DeclarationsInvalid, match="no tenant is declared here"):
        load_declarations(directory)


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationsInvalid, match=r"is .* a directory of tenants"):
        load_declarations(tmp_path)
