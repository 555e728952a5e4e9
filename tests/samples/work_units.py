"""How xdist hands out the tests: by file, what takes longest first, and files with one installation to one process."""

import pytest
from xdist.scheduler import LoadFileScheduling

SHARED = {
    "tests/e2e/test_make_up.py": "the installation",
    "tests/e2e/test_main_job.py": "the installation",
    "tests/integration/engine/test_engine_pool.py": "the pool",
    "tests/integration/engine/test_engine_processes.py": "the pool",
}
"""Files whose tests use the same started processes: a second process of the run would start them once more."""

LONGEST_FIRST = (
    "tests/e2e/test_model_versions.py",
    "tests/e2e",
    "tests/integration/engine/test_scaling.py",
    "tests/faultrun",
    "tests/integration/engine",
    "tests/integration/gateway/test_embeddings.py",
    "tests/integration/faults",
    "tests/integration/invariants",
    "tests/integration/deployment",
    "tests/integration",
)


def place(path: str) -> tuple[int, str]:
    """Return where a file comes in the order of the run; files that share processes come one after the other."""
    at = next((number for number, each in enumerate(LONGEST_FIRST) if path.startswith(each)), len(LONGEST_FIRST))
    return at, SHARED.get(path, "")


class WorkUnits(LoadFileScheduling):
    """Gives each process of the run one unit after the other: a file, or all files that share processes."""

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return SHARED.get(path, path)


def scheduler(config: pytest.Config, log: object) -> WorkUnits | None:
    """Return the scheduler for `--dist loadfile`; xdist alone would begin with the files that hold the most tests."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return WorkUnits(config, log)  # type: ignore[arg-type]  # xdist does not publish the type of its logs.
