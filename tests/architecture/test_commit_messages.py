"""The check of commit messages, which git runs as a hook and the hosted CI on every pull request."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / ".ci" / "check_commit_messages.py"
BODY = "\n\nA restart lost them, so reconciliation left out every model.\n"
GOOD = "serving: persist engine counters across restarts" + BODY


def check(argument: str, directory: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHECK, argument], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )


def faults(message: str, directory: Path) -> str:
    """Return what the check says about one message, as git's hook hands it over."""
    file = directory / "COMMIT_EDITMSG"
    file.write_text(message)
    ended = check(str(file))
    assert ended.returncode == (1 if ended.stderr else 0)
    return ended.stderr


@pytest.mark.parametrize(
    "message",
    [
        GOOD,
        "docs: explain leases with a timeline" + BODY,
        "all: embed the version in every answer" + BODY,
        "release: make 0.2.0" + BODY,
        "quota: pass the limit on" + BODY,
        GOOD + "# Please enter the commit message\n# ------------------------ >8 ------------------------\ndiff\n",
        "fixup! anything that goes into another commit before it is sent\n",
    ],
)
def test_a_message_by_the_rules_passes(message: str, tmp_path: Path) -> None:
    assert faults(message, tmp_path) == ""


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("serving: " + "persist " * 9 + BODY, "at most 72"),
        ("Persist engine counters" + BODY, "area: verb what"),
        ("serving: Persist engine counters" + BODY, "area: verb what"),
        ("serving: persist engine counters." + BODY, "without a full stop"),
        ("engines: persist counters" + BODY, "`engines` is no area"),
        ("serving: persisted engine counters" + BODY, "not the imperative"),
        ("serving: persists engine counters" + BODY, "not the imperative"),
        ("serving: persisting engine counters" + BODY, "not the imperative"),
        ("serving: persist engine counters\nBecause." + BODY, "second line is empty"),
        ("serving: persist engine counters\n", "says why"),
        ("serving: persist engine counters\n\n# Only git's own comment.\n", "says why"),
        ("", "area: verb what"),
    ],
)
def test_a_message_against_a_rule_is_refused_with_the_rule(message: str, said: str, tmp_path: Path) -> None:
    assert said in faults(message, tmp_path)


def test_a_range_names_each_commit_that_breaks_a_rule(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / ".ci").mkdir(parents=True)
    domain = project / "platform" / "finpool" / "serving"
    domain.mkdir(parents=True)
    (domain / "__init__.py").touch()
    copied = project / ".ci" / CHECK.name
    copied.write_text(CHECK.read_text())
    git = ["git", "-C", str(project), "-c", "user.name=A", "-c", "user.email=a@example.invalid"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for message in (GOOD, GOOD, "fixup! left over", "serving: fixes it" + BODY):
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", message], check=True)
    ended = subprocess.run(
        [sys.executable, copied, "HEAD~3..HEAD"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "fixup! left over" in ended.stderr
    assert "serving: fixes it" in ended.stderr
    assert "persist" not in ended.stderr
