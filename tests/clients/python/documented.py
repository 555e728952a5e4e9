"""The examples of docs/clients.md: each block under a client's heading runs by itself, as readers copy it."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "clients.md"


def blocks(heading: str, language: str = "python") -> list[str]:
    """Return the blocks of one language between this second-level heading and the next."""
    _, found, rest = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    assert found, f"{PAGE.name} has no heading {heading!r}"
    section = rest.partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


def printed(block: str) -> str:
    """Run a block with no name defined before it, and return its printed text."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(block, PAGE.name, "exec"), {"__name__": "__main__"})
    return output.getvalue()


def said(script: str, folder: Path) -> str:
    """Run a block of shell in a folder of its own, beside this interpreter's commands; return all of its output."""
    commands = str(Path(sys.executable).parent)
    ended = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "PATH": f"{commands}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout
