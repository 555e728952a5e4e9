"""A command that only calls an API starts without the libraries that only other commands need."""

import subprocess
import sys

HEAVY = ("sqlalchemy", "asyncpg", "jsonschema", "fastapi", "ray", "reportlab")


def test_the_command_line_loads_no_library_that_most_commands_do_not_need() -> None:
    program = f"import sys, finpool.cli.main; print([each for each in {HEAVY} if each in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
