"""Running a client's program in the environment of that client, and reading its report."""

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from client_matrix import FOLDER, NODE, ROOT, Client

PROGRAM_SECONDS_MAX = 300
SHOWN_CHARACTERS_MAX = 3000

ENVIRONMENTS = ROOT / ".venv-clients"
FAILURES = ("failure", "error")

NODE_CLASS = "test"
"""The class that Node's report names for every test; the suite is the check there."""


@dataclass
class Outcome:
    """The tests of one check: how many passed, which were left out, and the reports of those that failed."""

    passed: int = 0
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Runs:
    """Runs each program once, when the first of its checks is wanted."""

    def __init__(self, folder: Path, bank: dict[str, str]) -> None:
        self._folder = folder
        self._bank = bank
        self._outcomes: dict[str, dict[str, Outcome]] = {}

    def of(self, client: Client) -> dict[str, Outcome]:
        """Return the outcome of each check of a client."""
        if client.name not in self._outcomes:
            self._outcomes[client.name] = self._run(client)
        return self._outcomes[client.name]

    def _run(self, client: Client) -> dict[str, Outcome]:
        home = self._folder / re.sub(r"\W+", "-", client.name)
        home.mkdir()
        report = home / "report.xml"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FINPOOL_", "PYTEST_"))}
        ended = subprocess.run(
            _command(client, report),
            cwd=home,
            env={**kept, **self._bank, "HOME": str(home), "OPENAI_PACKAGE": client.package},
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS_MAX,
            check=False,
        )
        if not report.is_file():
            said = f"{ended.stdout}{ended.stderr}"[-SHOWN_CHARACTERS_MAX:]
            return {check: Outcome(failed=[said]) for check in client.checks}
        outcomes = read(ET.parse(report).getroot())
        failures = [each for outcome in outcomes.values() for each in outcome.failed]
        unmade = Outcome(failed=failures or ["No test made this check."])
        return dict.fromkeys(client.checks, unmade) | outcomes


def _command(client: Client, report: Path) -> list[str]:
    program = FOLDER / client.program
    if client.environment == NODE:
        reporter = ["--test-reporter=junit", f"--test-reporter-destination={report}"]
        return ["node", "--test", *reporter, str(program)]
    python = ENVIRONMENTS / client.environment / "bin" / "python"
    settings = ["-c", str(program.parent / "pytest.ini"), "--rootdir", str(program.parent)]
    return [
        str(python),
        "-m",
        "pytest",
        *settings,
        f"--confcutdir={program.parent}",
        f"--junitxml={report}",
        str(program),
    ]


def read(report: ET.Element) -> dict[str, Outcome]:
    """Return the outcomes by check: the class of a test in Python, the suite of a test in Node."""
    outcomes: dict[str, Outcome] = defaultdict(Outcome)
    for check, case in _cases(report):
        outcome = outcomes[check]
        failures = [each for each in case if each.tag in FAILURES]
        if failures:
            said = str(failures[0].text or failures[0].get("message"))[-SHOWN_CHARACTERS_MAX:]
            outcome.failed.append(f"{case.get('name')}:\n{said}")
        elif case.find("skipped") is not None:
            outcome.left_out.append(str(case.get("name")))
        else:
            outcome.passed += 1
    return dict(outcomes)


def _cases(report: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    for suite in report.iter("testsuite"):
        for case in suite.findall("testcase"):
            name = str(case.get("classname")).rpartition(".Test")[2]
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
            yield (str(suite.get("name")) if words == NODE_CLASS else words), case
