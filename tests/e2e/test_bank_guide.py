"""Each Python block of the banks' guide runs by itself, as a reader would copy it."""

import os
import re
import subprocess
import sys

import pytest
from installation import Installation
from source_files import ROOT

GUIDE = (ROOT / "docs" / "bank.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {number}" for number in range(1, len(BLOCKS) + 1)])
def test_a_block_of_the_guide_runs_by_itself(installation: Installation, block: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env={**os.environ, **installation.demo_env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_the_guide_names_the_client_that_its_blocks_run_with() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tested,) = re.findall(r'"(openai>=[\d.]+)"', project)
    assert f'pip install "{tested}"' in GUIDE
    assert len(BLOCKS) >= 3
