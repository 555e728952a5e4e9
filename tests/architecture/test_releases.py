"""One file names the version; the released, shown and documented versions agree with it."""

import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

from finpool.kernel.door.door import new_door
from finpool.kernel.version import VERSION

ROOT = Path(__file__).parents[2]
VERSION_FILE = "platform/finpool/kernel/version.py"
RELEASE = re.compile(r"(\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})")


def headings(name: str) -> list[str]:
    """Return the second-level headings of a page, in order."""
    return re.findall(r"^## (.+)$", (ROOT / name).read_text(), flags=re.MULTILINE)


def ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_the_package_takes_its_version_from_the_one_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"] == {"path": VERSION_FILE}
    assert re.search(rf'^VERSION = "{re.escape(VERSION)}"$', (ROOT / VERSION_FILE).read_text(), re.MULTILINE)


def test_the_chart_installs_this_version() -> None:
    chart = yaml.safe_load((ROOT / "helm" / "finpool" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_the_command_line_prints_the_version() -> None:
    finpool = Path(sys.executable).with_name("finpool")
    ended = subprocess.run([finpool, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == (f"finpool {VERSION}\n", "")


@pytest.mark.parametrize("door", ["inference", "tenant", "operator", "regulator"])
def test_the_openapi_document_of_a_door_says_the_version(door: str) -> None:
    app = new_door(door, body_bytes_max=1, lifespan=None, gate=())  # type: ignore[arg-type]  # Nothing starts here.
    assert app.openapi()["info"]["version"] == VERSION


def test_the_changelog_lists_releases_from_the_newest_and_begins_with_this_version() -> None:
    unreleased, *released = headings("CHANGELOG.md")
    assert unreleased == "Unreleased"
    matches = [RELEASE.fullmatch(each) for each in released]
    assert all(matches), f"each heading of a release is `## X.Y.Z - YYYY-MM-DD`: {released}"
    versions = [match[1] for match in matches if match]
    dates = [date.fromisoformat(match[2]) for match in matches if match]
    assert versions[0] == VERSION
    assert versions == sorted(set(versions), key=ordered, reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_every_release_has_upgrade_notes() -> None:
    released = [each.split()[0] for each in headings("CHANGELOG.md") if each != "Unreleased"]
    notes = [each.removeprefix("To ") for each in headings("docs/upgrading.md") if each.startswith("To ")]
    assert notes == released
