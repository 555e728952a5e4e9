"""Git's hooks run what is installed here, and `make check` holds no less than they do."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INSTALLED = ".venv/bin/"


def hooks() -> list[dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in config["repos"]} == {"local"}, (
        "a hook from elsewhere needs the network"
    )
    return [hook for repository in config["repos"] for hook in repository["hooks"]]


def test_hooks_run_installed_tools_and_fetch_nothing() -> None:
    assert {hook["language"] for hook in hooks()} == {"system"}
    programs = {hook["entry"].split()[0] for hook in hooks()}
    assert {program for program in programs if not program.startswith(INSTALLED)} == {"make"}


def test_every_file_that_a_hook_names_exists() -> None:
    words = [word for hook in hooks() for word in hook["entry"].split()]
    files = [word for word in words if "/" in word and not word.startswith(INSTALLED)]
    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_what_is_pushed_passes_make_check_first() -> None:
    assert [hook["entry"] for hook in hooks() if hook.get("stages") == ["pre-push"]] == ["make check"]
