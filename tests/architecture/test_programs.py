"""The programs that the Makefile runs beside pytest find their modules; only pytest adds the folder of samples."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r"^\t@(?:PYTHONPATH=(\S+) )?\$\(BIN\)/python (tests/\S+\.py)", flags=re.MULTILINE)
PROGRAMS = PROGRAM.findall((ROOT / "Makefile").read_text())
FAULT_RUN = "tests/faultrun/fault_run.py"


def loaded(folder: str, program: str) -> subprocess.CompletedProcess[str]:
    """Import a program as its recipe starts it, without running it."""
    path = ROOT / program
    code = f"import sys; sys.path[0] = {str(path.parent)!r}; import {path.stem}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONPATH": folder}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_programs_of_the_makefile_are_found() -> None:
    assert {"tests/bench/hot_path.py", "tests/bench/fairness.py", FAULT_RUN} <= {program for _, program in PROGRAMS}


@pytest.mark.parametrize(("folder", "program"), PROGRAMS)
def test_a_program_of_the_makefile_finds_its_modules(folder: str, program: str) -> None:
    assert loaded(folder, program).returncode == 0, loaded(folder, program).stderr


def test_a_recipe_without_the_folder_of_samples_is_noticed() -> None:
    assert "ModuleNotFoundError" in loaded("", FAULT_RUN).stderr
