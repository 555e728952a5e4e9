"""The threads of llama.cpp sleep while they wait for each other, unless an operator decides otherwise."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("set_by_the_operator", "in_force"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_at_a_barrier(set_by_the_operator: str | None, in_force: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if set_by_the_operator is not None:
        environment["OMP_WAIT_POLICY"] = set_by_the_operator
    # OpenMP prints the policy that it read when its library was loaded.
    program = (
        "from finpool.serving.llamacpp.threads import let_threads_sleep\n"
        "let_threads_sleep()\n"
        "import finpool.serving.llamacpp.engine"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"OMP_WAIT_POLICY = '{in_force}'" in ended.stderr
