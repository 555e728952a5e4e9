"""The README's commands, run as they stand, in order and in one shell; they end with `make down`."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from installation import Installation, Installations

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
MAKE_RUNS_HERE = BIN == ROOT / ".venv" / "bin"
WITHIN_THEMSELVES = ("make test", "make check")
"""Commands that run this test cannot be run by it; CI runs exactly these, and the longer suites."""

LONGER_SUITES = ("make test-clients", "make test-faults", "make test-vllm")

SECONDS_MAX = 300
STEP = "\x1e"
SHOWN_CHARACTERS = 4000

UNTIL_SETTLED = """
for _ in $(seq 200); do
  account=$(curl -s "$FINPOOL_OPERATOR_URL/v1/tenants/bank-a/account" -H "Authorization: Bearer $OPERATOR_TOKEN")
  if [[ $account == *'"pending_micros":0'* ]]; then break; fi
  sleep 0.1
done
"""
"""Usage shows up about a second after an answer; a machine that runs tests meanwhile may take longer."""


@dataclass(frozen=True)
class Transcript:
    """The commands, as the README writes them, and the output of each."""

    installation: Installation
    steps: list[tuple[str, str]]
    processes_left: list[int]
    ports_left: list[int]

    def output(self, fragment: str) -> str:
        """Return what the one command that holds `fragment` printed."""
        found = [output for command, output in self.steps if fragment in command]
        assert len(found) == 1, f"{len(found)} commands of README.md hold {fragment!r}"
        return found[0]


def blocks() -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """Split a shell block into commands; a line that ends in a backslash goes on."""
    return [command for command in re.split(r"(?<!\\)\n", block) if command]


def make_target(target: str) -> str:
    """Return the command that stands for `make <target>`: the Makefile itself, kept from installing anything."""
    if MAKE_RUNS_HERE:
        return f"make -C {ROOT} -o .venv/dev.stamp -o .venv/engines.stamp {target}"
    return f"{BIN}/finpool {target}"


def script(installation: Installation, directory: Path) -> tuple[list[str], str]:
    """Return the README's commands, and the shell script that runs them one after another."""
    shown: list[str] = []
    lines: list[str] = []

    def step(command: str, runnable: str) -> None:
        shown.append(command)
        lines.extend((f"printf '{STEP}'", runnable))

    for number, (language, block) in enumerate(blocks()):
        if language == "python":
            program = directory / f"block_{number}.py"
            program.write_text(block)
            step(block, f"{sys.executable} {program}")
        if "/organization/usage/" in block and language == "sh":
            step("", UNTIL_SETTLED)
        for command in commands(block) if language == "sh" else ():
            if command in WITHIN_THEMSELVES:
                continue
            make = re.fullmatch(r"make (up|down)", command)
            runnable = make_target(make[1]) if make else command
            step(command, runnable.replace(".finpool/", f"{installation.home}/").replace(".venv/bin/", f"{BIN}/"))
    return shown, "\n".join(lines)


@pytest.fixture(scope="session")
def transcript(installations: Installations, tmp_path_factory: pytest.TempPathFactory) -> Transcript:
    """Run the whole README once, in one shell, on an installation of its own."""
    installation = installations.new()
    shown, text = script(installation, tmp_path_factory.mktemp("readme"))
    # Variables of the make that runs these tests would reach this one through the environment.
    inherited = {name: value for name, value in installation.environment.items() if not name.startswith("MAKE")}
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env=inherited,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    outputs = ended.stdout.split(STEP)[1:]
    if ended.returncode != 0:
        failed = shown[len(outputs) - 1] if outputs else "the shell"
        end = (ended.stdout + ended.stderr)[-SHOWN_CHARACTERS:]
        pytest.fail(f"{failed}\nended with {ended.returncode}:\n{end}{installation.logs()}", pytrace=False)
    steps = list(zip(shown, outputs, strict=True))
    return Transcript(installation, steps, installation.processes(), installation.ports_in_use())
