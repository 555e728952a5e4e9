"""docs/patterns.md shows how things are added by files that exist, and names what is really there."""

import re
from pathlib import Path

import pytest

from finpool.kernel.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "patterns.md").read_text()
CODE = re.findall(r"`([^`]+)`", PAGE)
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
TOP = ("platform/", "tests/", "docs/", "helm/", "requirements/", "terraform/", "tenants/")


def paths(text: str) -> list[str]:
    return [each for each in re.findall(r"`([^`\s]+)`", text) if each.startswith(TOP)]


def test_every_file_that_the_patterns_name_exists() -> None:
    assert len(paths(PAGE)) > 20
    assert [name for name in paths(PAGE) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("thing", ["A route", "A table", "A setting", "A metric", "An engine", "A command"])
def test_each_pattern_begins_with_a_file_or_a_commit_as_its_example(thing: str) -> None:
    first = SECTIONS[thing].strip().split("\n\n")[0]
    assert first.startswith("Example: ")
    assert [name for name in paths(first) if (ROOT / name).is_file()] or re.search(r"commit `[0-9a-f]{7}`", first)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("create_tenant", "platform/finpool/tenancy"),
        ("DoorRoute", "platform/finpool/kernel"),
        ("TenantSession", "platform/finpool/kernel"),
        ("SectorSession", "platform/finpool/kernel"),
        ("DomainError", "platform/finpool/kernel"),
        ("observe_lag", "platform/finpool/kernel"),
        ("LlamaCppEngine", "platform/finpool/catalogue"),
        ("VllmEngine", "platform/finpool/catalogue"),
        ("Engine", "platform/finpool/serving"),
        ("build_app", "platform/finpool/serving"),
        ("operator_api()", "platform/finpool"),
        ("regulator_api()", "platform/finpool"),
        ("JsonOption", "platform/finpool"),
        ("CliError", "platform/finpool"),
        ("ExitCode", "platform/finpool"),
        ("DatabaseServer", "tests/samples"),
        ("SET_BY_THE_CHART", "tests/integration/deployment"),
    ],
)
def test_what_the_patterns_call_by_name_is_defined_where_they_say(name: str, where: str) -> None:
    assert any(name in each for each in CODE)
    defined = re.compile(rf"^(class |def |async def )?{re.escape(name.removesuffix('()'))}\b", flags=re.MULTILINE)
    assert any(defined.search(path.read_text()) for path in (ROOT / where).rglob("*.py"))


def test_the_setting_that_is_the_example_exists() -> None:
    (name,) = re.findall(r"`(\w+)` in `platform/finpool/kernel/settings.py`", SECTIONS["A setting"])
    assert name in Settings.model_fields
