"""Without what it needs, make says in one line what is missing and makes nothing."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Variables of the make that runs these tests would reach this one through the environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment.pop("PYTHON", None)
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing was set up yet."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("target", ["up", "test", "check", "lock"])
def test_a_python_that_is_too_old_is_named_in_one_line(checkout: Path, target: str) -> None:
    ended = make(checkout, target, "PYTHON=/bin/false")
    assert ended.returncode != 0
    ours = [line for line in ended.stderr.splitlines() if not line.startswith("make:")]
    assert ours == ["/bin/false is not Python 3.11 or 3.12: name one that is with PYTHON=/path/to/python3."]
    assert not (checkout / ".venv").exists()


def test_no_python_at_all_is_one_line(checkout: Path) -> None:
    ended = make(checkout, "up", "PYTHON=")
    assert ended.returncode != 0
    ours = [line for line in ended.stderr.splitlines() if not line.startswith("make:")]
    assert ours == [
        "Python 3.11 or 3.12 is needed and was not found: install it, or name it with PYTHON=/path/to/python3."
    ]


def test_down_without_an_installation_is_no_error(checkout: Path) -> None:
    ended = make(checkout, "down")
    assert (ended.returncode, ended.stdout) == (0, "Nothing to stop: the platform is not installed here.\n")


def test_help_names_every_target(checkout: Path) -> None:
    shown = make(checkout, "help").stdout
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert [line.split()[1] for line in shown.splitlines()] == targets.split()
    assert {"up", "down", "test", "check"} <= set(targets.split())
