"""Every domain's README teaches its concept with an example, says what it owns, and names files that exist."""

import re
from pathlib import Path

import pytest

from finpool.kernel.settings import Settings

PACKAGE = Path(__file__).parents[2] / "platform" / "finpool"
DOMAINS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
SETTING = re.compile(r"FINPOOL_([A-Z_]*[A-Z])")
FROM_OUTSIDE = {"OPERATOR_URL", "REGULATOR_URL"}
"""Variables of people's shells, which no process of the platform reads as a setting."""


def missing_files(folder: Path, text: str) -> list[str]:
    """Return each Python file that a README names and that its domain does not have."""
    return [name for name in re.findall(r"`([\w./]+\.py)`", text) if not (folder / name).is_file()]


@pytest.mark.parametrize("folder", DOMAINS, ids=lambda folder: str(folder.name))
def test_a_domains_readme_teaches_by_example_and_says_what_it_owns(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert text.startswith(f"# {folder.name}\n")
    headings = [re.sub(r":.*", "", heading) for heading in re.findall(r"^## (.+)$", text, flags=re.MULTILINE)]
    order = [heading for heading in dict.fromkeys(headings) if heading in ("Example", "Owns", "Does not own", "Files")]
    assert order == ["Example", "Owns", "Does not own", "Files"]
    assert 30 <= len(text.splitlines()) <= 70


@pytest.mark.parametrize("folder", DOMAINS, ids=lambda folder: str(folder.name))
def test_a_domains_readme_names_files_and_settings_that_exist(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert missing_files(folder, text) == []
    assert {name.lower() for name in SETTING.findall(text) if name not in FROM_OUTSIDE} <= set(Settings.model_fields)


@pytest.mark.parametrize("folder", DOMAINS, ids=lambda folder: str(folder.name))
def test_a_domains_readme_names_every_noun_of_the_domain(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    nouns = [path.parent.name for path in folder.glob("*/__init__.py")]
    assert [noun for noun in nouns if f"`{noun}/" not in text] == []


def test_a_file_that_is_not_there_is_found() -> None:
    assert missing_files(PACKAGE / "quota", "`limits.py` and `limit/nowhere.py`") == ["limit/nowhere.py"]
